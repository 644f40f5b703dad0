#!/usr/bin/env python3
"""Files of vectors read by cbfit, pyarrow and numpy in one run: a Markdown table. README.md beside this file says what
the figures mean."""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
COLUMN = "embedding"


def column(values, kind):
    """Rows of a matrix as a column of lists."""
    rows, cols = values.shape
    flat = pa.array(values.reshape(-1))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, cols)
    if kind == "required":
        field = pa.field("element", flat.type, nullable=False)
        return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(field, cols))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * cols, "int32"), flat)


def write_files(folder, rows, cols):
    """(id, path, way pyarrow or numpy read it); files that are there are kept."""
    single = half = labels = None
    files = []

    def matrix(width):
        nonlocal single, half, labels
        if single is None:
            generator = np.random.default_rng(0)
            single = generator.standard_normal((rows, cols), dtype=np.float32)
            half = single.astype(np.float16)
            labels = generator.integers(0, 10, rows)
        return {"f32": single, "f16": half, "f32-of-f16": half.astype(np.float32)}[width]

    def path_of(name, end):
        path = os.path.join(folder, f"{name}-{rows}x{cols}.{end}")
        files.append((name, path))
        return path, not os.path.exists(path)

    def parquet(name, width="f32", kind="fixed", **options):
        path, absent = path_of(name, "parquet")
        if absent:
            values = matrix(width)
            table = pa.table({COLUMN: column(values, kind), "label": pa.array(labels)})
            if kind == "required":
                schema = table.schema.set(0, table.schema.field(0).with_nullable(False))
                table = table.cast(schema)
            pq.write_table(table, path, **options)

    def ipc(name, width="f32", kind="fixed", chunk=None):
        path, absent = path_of(name, "arrow")
        if absent:
            table = pa.table({COLUMN: column(matrix(width), kind), "label": pa.array(labels)})
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=chunk)

    split = {"use_dictionary": ["label"], "column_encoding": {f"{COLUMN}.list.element": "BYTE_STREAM_SPLIT"}}
    parquet("default")
    parquet("list", kind="list")
    parquet("required", kind="required")
    parquet("uncompressed", compression="none")
    parquet("uncompressed-plain", compression="none", use_dictionary=["label"])
    parquet("zstd", compression="zstd")
    parquet("groups", row_group_size=max(rows // 10, 1))
    parquet("split-zstd", compression="zstd", **split)
    parquet("pages-v2", data_page_version="2.0")
    parquet("dictionary", width="f32-of-f16")
    parquet("half", width="f16")
    parquet("half-plain", width="f16", use_dictionary=["label"])
    if polars_is_there():
        import polars as pl

        path, absent = path_of("polars", "parquet")
        if absent:
            matrix("f32")
            frame = pl.DataFrame({COLUMN: pl.Series(single, dtype=pl.Array(pl.Float32, cols)), "label": labels})
            frame.write_parquet(path)
    for width in ("f32", "f16"):
        path, absent = path_of(f"npy-{width}", "npy")
        if absent:
            np.save(path, matrix(width))
    ipc("ipc")
    ipc("ipc-list", kind="list")
    ipc("ipc-batches", chunk=max(rows // 10, 1))
    ipc("ipc-half", width="f16")
    label_file = os.path.join(folder, f"labels-{rows}.npy")
    if not os.path.exists(label_file):
        matrix("f32")
        np.save(label_file, labels)
    return files, label_file


def polars_is_there():
    try:
        import polars  # noqa: F401
    except ImportError:
        print("no polars: its file is left out", file=sys.stderr)
        return False
    return True


def to_numpy(table):
    flat = table[COLUMN].combine_chunks().flatten()
    return flat.to_numpy().reshape(table.num_rows, -1)


def read_parquet(path, threads):
    return to_numpy(pq.read_table(path, columns=[COLUMN], use_threads=threads))


def read_ipc(path):
    with pa.memory_map(path) as source:
        # A copy: the matrix outlives the file.
        return np.array(to_numpy(pa.ipc.open_file(source).read_all()))


def ways(path):
    """The ways of the other side to read a file."""
    if path.endswith(".parquet"):
        return {f"pyarrow, {name}": (lambda t=t: read_parquet(path, t)) for name, t in (("1 thread", False), ("threads", True))}
    if path.endswith(".npy"):
        return {"np.load": lambda: np.load(path), "np.load mapped, copied": lambda: np.array(np.load(path, mmap_mode="r"))}
    return {"pyarrow mapped, copied": lambda: read_ipc(path)}


def best(run, repeat):
    least = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        result = run()
        least = min(least, time.perf_counter() - start)
        del result
    return least


def build():
    command = ["cargo", "bench", "--bench", "reading", "--no-run", "--message-format=json"]
    said = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout
    artifacts = [json.loads(line) for line in said.splitlines()]
    return next(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "reading" and a.get("executable"))


def ours(args, path, label_file):
    command = [args.program, path, "--repeat", str(args.repeat)]
    command += ["--label-file", label_file] if path.endswith(".npy") else []
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [json.loads(line) for line in said.splitlines()]
    return lines[0], lines[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--cols", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each side, of which the best counts [5]")
    parser.add_argument("--rounds", type=int, default=3, help="times the sides take turns at a file [3]")
    parser.add_argument("--case", action="append", default=[], metavar="TEXT", help="only files with TEXT in the name")
    parser.add_argument("--program", metavar="FILE", help="benches/reading, built [cargo builds it]")
    parser.add_argument("--cache", default=os.path.join(REPOSITORY, "target", "bench"), metavar="DIR", help="[target/bench]")
    args = parser.parse_args()
    os.makedirs(args.cache, exist_ok=True)
    files, label_file = write_files(args.cache, args.rows, args.cols)
    chosen = [(name, path) for name, path in files if not args.case or any(text in name for text in args.case)]
    if not chosen:
        parser.error(f"no file with {' or '.join(args.case)} in its name; there are: {', '.join(name for name, _ in files)}")
    args.program = args.program or build()
    table = [f"{args.rows} x {args.cols}; ms, the best of {args.repeat * args.rounds} runs", "",
             "| file | MB | cbfit | whole training set | peak MB | other side | ms | ratio |", "|---|---|---|---|---|---|---|---|"]
    for name, path in chosen:
        readers = ways(path)
        times, mine = dict.fromkeys(readers, float("inf")), {}
        for _ in range(args.rounds):
            machine, line = ours(args, path, label_file)
            mine = {key: min(line[key], mine.get(key, line[key])) for key in ("matrix_s", "training_s", "peak_kb")}
            for way, run in readers.items():
                times[way] = min(times[way], best(run, args.repeat))
        total = next(iter(readers.values()))().sum(dtype=np.float64)
        if abs(total - line["sum"]) > 1e-9 * max(abs(total), 1.0) * args.rows:
            print(f"SELF-CHECK: {name}: the sum of values is {line['sum']} here, {total} there", file=sys.stderr)
        way = min(times, key=times.get)
        table.append(f"| {name} | {os.path.getsize(path) / 2**20:.0f} | {mine['matrix_s'] * 1e3:.1f} | {mine['training_s'] * 1e3:.1f} "
                     f"| {mine['peak_kb'] / 1024:.0f} | {way} | {times[way] * 1e3:.1f} | {times[way] / mine['matrix_s']:.2f} |")
        print(table[-1], file=sys.stderr, flush=True)
    table.insert(1, f"{machine['cpu']}, {machine['threads']} threads, pyarrow {pa.__version__}, numpy {np.__version__}")
    print("\n".join(table))


if __name__ == "__main__":
    main()
