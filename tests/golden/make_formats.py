"""Writes the small files of tests/golden/formats, one or more for every producer and type. Values are stated again in
tests/formats_*.rs. Needs pyarrow, polars, pandas and numpy; run from the repository root."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

OUT = Path("tests/golden/formats")
OUT.mkdir(parents=True, exist_ok=True)
HF = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}})}


def scalars():
    """Every scalar type, three rows, the middle one null."""
    columns = {
        kind: pa.array([1, None, 3], kind)
        for kind in "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
    }
    columns["int32"] = pa.array([-5, None, 2**31 - 1], "int32")
    columns["uint32"] = pa.array([7, None, 2**32 - 1], "uint32")
    columns["bool"] = pa.array([True, None, False])
    columns["string"] = pa.array(["b", None, "ä"])
    columns["large_string"] = pa.array(["b", None, "a"], "large_string")
    columns["dictionary"] = pa.array(["x", None, "x"]).dictionary_encode()
    return columns


def lists(kind="float32"):
    """A list with a null row and a null element."""
    return pa.array([[1, 2], None, [3, None]], pa.list_(pa.field("item", kind)))


def write_ipc(table, name, stream=False, codec=None):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(OUT / name), "wb") as sink, make(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)


def parquet():
    columns = scalars()
    names = list(columns)
    thin = {"write_statistics": False, "store_schema": False, "compression": "none"}
    pq.write_table(pa.table({n: columns[n] for n in names[:6]}), OUT / "scalars_a.parquet", **thin)
    pq.write_table(pa.table({n: columns[n] for n in names[6:11]}), OUT / "scalars_b.parquet", **thin)
    pq.write_table(pa.table({n: columns[n] for n in names[11:]}), OUT / "scalars_c.parquet", **thin)
    for kind in ("float16", "float32", "float64", "int32", "uint64", "bool"):
        values = [True, False] if kind == "bool" else [1, 2]
        table = pa.table({"v": pa.array([values, None, [values[0], None]], pa.list_(pa.field("item", kind)))})
        pq.write_table(table, OUT / f"list_{kind}.parquet", **thin)
    fixed = pa.array([[1, 2], [3, 4]], pa.list_(pa.float16(), 2))
    pq.write_table(pa.table({"v": fixed}), OUT / "fixed_half_dict.parquet", store_schema=False)
    pq.write_table(pa.table({"v": fixed}), OUT / "fixed_half_plain.parquet", use_dictionary=False, store_schema=False)
    pq.write_table(
        pa.table({"v": fixed}), OUT / "fixed_half_split.parquet", use_dictionary=False,
        column_encoding={"v.list.element": "BYTE_STREAM_SPLIT"}, store_schema=False,
    )
    pq.write_table(
        pa.table({"v": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))}), OUT / "fixed_single_split.parquet",
        use_dictionary=False, column_encoding={"v.list.element": "BYTE_STREAM_SPLIT"}, store_schema=False,
    )
    required = pa.schema([
        pa.field("v", pa.list_(pa.field("item", pa.float16(), nullable=False)), nullable=False),
        pa.field("h", pa.float16(), nullable=False), pa.field("n", pa.int64(), nullable=False),
    ])
    rows = pa.table([[[1, 2], [3, 4], [5, 6]], [1, 2, 3], [1, 2, 3]], schema=required)
    pq.write_table(rows, OUT / "required.parquet", **thin)
    rows = pa.table({"v": pa.array([[1, 2], [3, 4], [5]], pa.list_(pa.float32()))})
    pq.write_table(rows, OUT / "ragged.parquet", row_group_size=2, **thin)
    for name, values in (
        ("empty_lists", [[], []]), ("null_lists", [None, None]), ("late_vector", [None, None, [1, 2], None])
    ):
        table = pa.table({"v": pa.array(values, pa.list_(pa.float32())), "n": range(len(values))})
        pq.write_table(table, OUT / f"{name}.parquet", row_group_size=1, **thin)
    table = pa.table({"label": pa.array([0, 1, 0]), "x": pa.array([1.5, 2.5, 3.5])}).replace_schema_metadata(HF)
    pq.write_table(table, OUT / "class_label.parquet", compression="none", write_statistics=False)
    long = pa.table({"n": pa.array(range(600)), "s": pa.array(["ab"] * 600)})
    for codec in ("snappy", "zstd", "gzip", "lz4"):
        pq.write_table(long, OUT / f"codec_{codec}.parquet", compression=codec, row_group_size=250,
                       use_dictionary=["s"], column_encoding={"n": "DELTA_BINARY_PACKED"},
                       write_statistics=False, store_schema=False)
    delta = {"s": "DELTA_LENGTH_BYTE_ARRAY", "t": "DELTA_BYTE_ARRAY"}
    rows = pa.table({"s": ["a", "bc", "a"], "t": ["ab", "abc", "ab"]})
    pq.write_table(rows, OUT / "delta_text.parquet", use_dictionary=False, column_encoding=delta, **thin)
    pq.write_table(rows, OUT / "page_v2.parquet", data_page_version="2.0", write_statistics=False,
                   store_schema=False, compression="zstd")
    pq.write_table(pa.table({"v": lists("float16")}), OUT / "page_v2_half.parquet", data_page_version="2.0", **thin)
    pq.write_table(pa.table({"u": pa.array([1, 2**63], "uint64")}), OUT / "huge_u64.parquet", **thin)
    others = pa.table({
        "date": pa.array([0], pa.date32()), "decimal": pa.array([1], pa.decimal128(5, 2)),
        "struct": pa.array([{"a": 1, "b": 2}]), "nested": pa.array([[[1]]]), "texts": pa.array([["a"]]),
        "binary": pa.array([b"\xff\x00"]), "n": [1],
    })
    pq.write_table(others, OUT / "others.parquet", **thin)
    bytes_as_text = pa.table({"s": pa.array([b"a", b"b"])})
    pq.write_table(bytes_as_text, OUT / "raw_text.parquet", **thin)
    pq.write_table(pa.table({"n": pa.array([], "int64")}), OUT / "no_rows.parquet", **thin)

    frame = pl.DataFrame(
        {"label": ["a", "b"], "v": [[1.0, 2.0], [3.0, 4.0]]}, schema={"label": pl.Categorical, "v": pl.Array(pl.Float32, 2)}
    )
    frame.write_parquet(OUT / "polars.parquet", statistics=False, compression="zstd")
    frame.write_ipc(OUT / "polars.arrow", compression="zstd")
    frame = pd.DataFrame({"label": pd.Categorical(["a", "b"]), "v": [np.float32([1, 2]), np.float32([3, 4])]})
    frame.to_parquet(OUT / "pandas.parquet", index=False)


def vectors():
    """Vectors of one length in the layouts that are decoded page by page; pages of some values, so that they end within
    rows. Value v of row r is (7 r + v) % 50."""
    rows, cols = 40, 7
    values = np.array([[(7 * r + v) % 50 for v in range(cols)] for r in range(rows)])

    def write(name, kind="float32", fixed=True, null=None, **options):
        lists = [None if row == null else list(numbers) for row, numbers in enumerate(values.astype(kind))]
        column = pa.array(lists, pa.list_(pa.from_numpy_dtype(kind), *([cols] if fixed else [])))
        pq.write_table(pa.table({"v": column}), OUT / f"pages_{name}.parquet", data_page_size=64, write_batch_size=10,
                       store_schema=False, **{"write_statistics": False, **options})

    split = {"use_dictionary": False, "column_encoding": {"v.list.element": "BYTE_STREAM_SPLIT"}}
    write("plain", fixed=False, use_dictionary=False, compression="none", row_group_size=25)
    write("dictionary", row_group_size=25, write_statistics=True)
    write("fallback", fixed=False, dictionary_pagesize_limit=64)
    write("split", compression="zstd", **split)
    write("v2", compression="zstd", data_page_version="2.0")
    write("half", "float16", compression="gzip")
    write("half_v2", "float16", compression="lz4", data_page_version="2.0", use_dictionary=False)
    write("null", fixed=False, null=33, row_group_size=25)


def ipc():
    columns = scalars()
    names = list(columns)
    write_ipc(pa.table({n: columns[n] for n in names[:6]}), "numbers_a.arrow")
    write_ipc(pa.table({n: columns[n] for n in names[6:11]}), "numbers_b.arrow")
    columns["string_view"] = pa.array(["b", None, "longer than twelve bytes"], "string_view")
    columns["numbers"] = pa.array([30, None, 10]).dictionary_encode()
    columns["nothing"] = pa.array([None, None, None], pa.dictionary(pa.int8(), pa.string()))
    names = list(columns)
    write_ipc(pa.table({n: columns[n] for n in names[11:14]}), "texts_a.arrow", stream=True)
    write_ipc(pa.table({n: columns[n] for n in names[14:]}), "texts_b.arrow", stream=True)
    vectors = {
        "list": lists(), "large": lists("float64").cast(pa.large_list(pa.float64())), "half": lists("float16"),
        "fixed": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int16(), 2)),
    }
    write_ipc(pa.table(vectors), "vectors.arrow", stream=True)
    ragged = pa.table({"v": pa.array([[1, 2], [3]], pa.list_(pa.float32()))})
    write_ipc(ragged, "ragged.arrow")
    numbers = [[7 * r % 50, (7 * r + 1) % 50] for r in range(5)]
    mixed = pa.table({
        "s": pa.array(["a", "b", None, "c", "d"]), "list": pa.array(numbers, pa.list_(pa.float32())),
        "nested": pa.array([{"a": [1]}] * 5), "fixed": pa.array(numbers, pa.list_(pa.float16(), 2)),
        "large": pa.array(numbers, pa.large_list(pa.float32())), "n": range(5),
    })
    write_ipc(mixed, "mixed_file.arrow")
    write_ipc(mixed, "mixed_stream.arrow", stream=True)
    # Small enough for the tests of damage.
    write_ipc(mixed.select(["s", "fixed"])[:2], "vectors_file.arrow")
    write_ipc(mixed.select(["list"])[:2], "vectors_stream.arrow", stream=True)
    late = pa.table({"v": pa.array([None, None, [1, 2], None], pa.list_(pa.float32())), "n": range(4)})
    write_ipc(late, "late_vector.arrow", stream=True)
    table = pa.table({"label": [0, 1, 0], "x": [1.5, 2.5, 3.5]}).replace_schema_metadata(HF)
    write_ipc(table, "class_label.arrow", stream=True)
    long = pa.table({"n": pa.array([1] * 300)})
    for codec in ("lz4", "zstd"):
        for stream in (False, True):
            with pa.OSFile(str(OUT / f"{codec}_{'stream' if stream else 'file'}.arrow"), "wb") as sink:
                options = pa.ipc.IpcWriteOptions(compression=codec)
                make = pa.ipc.new_stream if stream else pa.ipc.new_file
                with make(sink, long.schema, options=options) as writer:
                    writer.write_table(long)
    schema = pa.schema([pa.field("s", pa.dictionary(pa.int8(), pa.string()))])
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.OSFile(str(OUT / "delta_dictionary.arrow"), "wb") as sink:
        with pa.ipc.new_stream(sink, schema, options=options) as writer:
            for keys, values in (([0, 1], ["a", "b"]), ([2, 0], ["a", "b", "c"])):
                array = pa.DictionaryArray.from_arrays(pa.array(keys, "int8"), pa.array(values))
                writer.write_batch(pa.record_batch([array], schema=schema))


def numpy():
    matrix = np.arange(6).reshape(3, 2)
    for kind in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8".split():
        np.save(OUT / f"matrix_{kind}.npy", matrix.astype("<" + kind))
    np.save(OUT / "matrix_bool.npy", matrix % 2 == 1)
    np.save(OUT / "matrix_big_endian.npy", matrix.astype(">f4"))
    np.save(OUT / "matrix_fortran.npy", np.asfortranarray(matrix.astype("f8")))
    for name, array in {
        "vector_f2": np.array([1.5, -2], "f2"), "vector_i4": np.array([1, -2], ">i4"), "vector_u1": np.array([1, 255], "u1"),
        "vector_bool": np.array([True, False]), "vector_text": np.array(["b", "äö", ""]),
        "vector_bytes": np.array([b"b", b"a"]), "vector_text_big": np.array(["b", "äö"]).astype(">U2"),
        "vector_u8": np.array([1, 2**63], "u8"),
    }.items():
        np.save(OUT / f"{name}.npy", array)
    for version in ((2, 0), (3, 0)):
        with open(OUT / f"version_{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, matrix.astype("f4"), version=version)
    np.save(OUT / "objects.npy", np.array(["a", 1], object))
    np.save(OUT / "cube.npy", np.zeros((2, 2, 2), "f4"))
    np.save(OUT / "empty.npy", np.zeros((0, 3), "f4"))
    np.savez(OUT / "archive.npz", X=matrix)


parquet()
vectors()
ipc()
numpy()
sizes = {path.name: path.stat().st_size for path in OUT.iterdir()}
print(len(sizes), "files,", sum(sizes.values()), "bytes; largest:", max(sizes.items(), key=lambda item: item[1]))
