"""Boosting of many classes: cbfit's trees for all classes beside LightGBM, one fit a process, on the very same rows.

    cargo bench --no-run --bench boost_classes
    python benches/boost_classes.py [--data DIR] [--case made100] [--threads 1] [--out results.jsonl]

Both have 63 leaves, 20 rows a leaf and l2 of 1 (with its default of 0 LightGBM diverges where classes are rare), and each
its own learning rate and bins. Of LightGBM's two ways to build histograms the one of fewer processor seconds over the first
rounds is taken. Processor seconds are those of the fit, binning included and scoring of test rows excluded. `--data` is the
folder of the data sets, ../shared/data beside the repository by default; a case whose files it lacks is skipped with a message.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

# Data set: rows, features, classes; or the files to fit and to test. Then LightGBM's rounds, and ours.
CASES = {
    "made20": ("2000,16,20", 20, 40),
    "made100": ("20000,128,100", 100, 100),
    "made1000": ("20000,128,1000", 5, 100),
    "banking77": (("banking77_minilm_train", "banking77_minilm_test"), 100, 100),
    "clinc150imb": (("clinc150imb_minilm_train", "clinc150_minilm_test"), 50, 100),
}
LEAVES = 63
DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


def prepare(case, args):
    """The folder of the raw rows of a case."""
    folder = args.cache / case
    source = CASES[case][0]
    if (folder / "shape.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, str):
        subprocess.run([*args.program, "--made", source, "--export", folder], check=True)
        return folder
    import pyarrow.parquet as pq

    tables = [pq.read_table(args.data / f"{file}.parquet") for file in source]
    names = sorted(set(tables[0]["label"].to_pylist()))
    code = {name: at for at, name in enumerate(names)}
    for part, table in zip(("train", "test"), tables):
        # Test rows of classes that training lacks are left out.
        y = np.array([code.get(name, -1) for name in table["label"].to_pylist()])
        x = np.stack(table["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)
        x[y >= 0].tofile(folder / f"{part}.f32")
        y[y >= 0].astype(np.uint32).tofile(folder / f"{part}.u32")
    (folder / "shape.json").write_text(json.dumps({"features": x.shape[1], "classes": len(names)}))
    return folder


def scores(logits, labels):
    peak = logits.max(1, keepdims=True)
    loss = np.log(np.exp(logits - peak).sum(1)) + peak[:, 0] - logits[np.arange(len(labels)), labels]
    hits = np.bincount(labels[logits.argmax(1) == labels], minlength=logits.shape[1])
    rows = np.bincount(labels, minlength=logits.shape[1])
    return float(loss.mean()), float((hits[rows > 0] / rows[rows > 0]).mean())


def peer(folder, mode, rounds, every, threads):
    """LightGBM in this process: a JSON line a reading."""
    import lightgbm

    shape = json.loads((folder / "shape.json").read_text())
    part = lambda name: (
        np.fromfile(folder / f"{name}.f32", np.float32).reshape(-1, shape["features"]),
        np.fromfile(folder / f"{name}.u32", np.uint32).astype(np.int64),
    )
    (x, y), (test_x, test_y) = part("train"), part("test")
    settings = dict(
        objective="multiclass", num_class=shape["classes"], num_leaves=LEAVES, learning_rate=0.1, max_bin=255,
        min_data_in_leaf=20, lambda_l2=1.0, num_threads=threads, metric="None", verbose=-1, seed=0,
        force_col_wise=mode == "col", force_row_wise=mode == "row",
    )
    cpu_of = lambda: (lambda used: used.ru_utime + used.ru_stime)(resource.getrusage(resource.RUSAGE_SELF))
    peak_of = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_kb = peak_of()
    clock, cpu = time.perf_counter(), cpu_of()
    booster = lightgbm.Booster(settings, lightgbm.Dataset(x, y, params=settings))
    seconds, spent = time.perf_counter() - clock, cpu_of() - cpu
    for number in range(1, rounds + 1):
        clock, cpu = time.perf_counter(), cpu_of()
        booster.update()
        seconds, spent = seconds + time.perf_counter() - clock, spent + cpu_of() - cpu
        if number == 1 or number % every == 0 or number == rounds:
            peak = peak_of()
            loss, recall = scores(booster.predict(test_x, raw_score=True, num_threads=threads), test_y)
            print(json.dumps(dict(round=number, seconds=round(seconds, 3), cpu=round(spent, 3), log_loss=loss,
                                  macro_recall=recall, peak_kb=peak, start_kb=start_kb)), flush=True)


def run(command):
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def lightgbm(folder, rounds, every, args):
    """Its readings in the mode that took fewer processor seconds for three rounds."""
    command = lambda mode, rounds, every: [
        sys.executable, __file__, "--peer", mode, "--rows", folder, "--rounds", rounds, "--every", every,
        "--threads", args.threads,
    ]
    trials = {mode: run(command(mode, 3, 3))[-1]["cpu"] for mode in ("col", "row")}
    mode = min(trials, key=trials.get)
    return mode, run(command(mode, rounds, every))


def compare(case, args):
    folder = prepare(case, args)
    _, theirs_rounds, rounds = CASES[case]
    theirs_rounds, rounds = args.peer_rounds or theirs_rounds, args.our_rounds or rounds
    mode, theirs = lightgbm(folder, theirs_rounds, 1 if theirs_rounds <= 10 else 5, args)
    ours = run([*args.program, "--rows", folder, "--rounds", rounds, "--every", 1, "--leaves", LEAVES,
                "--threads", args.threads, *args.ours.split()])
    summary, ours = ours[-1], ours[:-1]
    best = min(theirs, key=lambda reading: reading["log_loss"])
    line = dict(case=case, mode=mode, threads=args.threads, ours=args.ours, summary=summary, lightgbm=theirs, cbfit=ours)
    loses_less = lambda reading, goal: reading["log_loss"] <= goal["log_loss"]
    recalls_no_less = lambda reading, goal: reading["macro_recall"] >= goal["macro_recall"]
    for name, goal, reached in [
        ("last log-loss", theirs[-1], loses_less),
        ("best log-loss", best, loses_less),
        ("last log-loss and recall", theirs[-1], lambda *at: loses_less(*at) and recalls_no_less(*at)),
    ]:
        there = next((reading for reading in ours if reached(reading, goal)), None)
        line[name] = dict(lightgbm=goal, cbfit=there, ratio=there and goal["cpu"] / max(there["cpu"], 0.01))
    line["memory"] = dict(lightgbm_kb=theirs[-1]["peak_kb"] - theirs[-1]["start_kb"],
                          cbfit_kb=summary["peak_kb"] - summary["start_kb"])
    with open(args.out, "a") as out:
        out.write(json.dumps(line) + "\n")
    return line


def table(lines):
    print("| rows | goal | LightGBM: rounds, log-loss, macro recall, CPU s | cbfit: rounds, log-loss, macro recall, CPU s "
          "| times faster | peak MB over the rows: LightGBM, cbfit |\n|---|---|---|---|---|---|")
    cells = lambda at: at and f"{at['round']}, {at['log_loss']:.3f}, {at['macro_recall']:.3f}, {at['cpu']:.1f}"
    for line in lines:
        memory = line["memory"]
        for name in ("last log-loss", "best log-loss", "last log-loss and recall"):
            goal = line[name]
            ratio = f"{goal['ratio']:.1f}" if goal["ratio"] else "not reached"
            print(f"| {line['case']} ({line['mode']}) | its {name} | {cells(goal['lightgbm'])} | {cells(goal['cbfit'])} "
                  f"| {ratio} | {memory['lightgbm_kb'] / 1e3:.0f}, {memory['cbfit_kb'] / 1e3:.0f} |")
        end = line["cbfit"][-1]
        print(f"| | cbfit's end | | {cells(end)} | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=DATA, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--program", default=None, help="a built benches/boost_classes; cargo bench otherwise")
    parser.add_argument("--ours", default="", help="further flags of boost_classes")
    parser.add_argument("--peer-rounds", type=int, help="LightGBM's rounds; its hundred take minutes to hours")
    parser.add_argument("--our-rounds", type=int, help="cbfit's rounds")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("target/bench/classes"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench/classes.jsonl"))
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--every", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.rows, args.peer, args.rounds, args.every, args.threads)
    args.program = [args.program] if args.program else ["cargo", "bench", "--quiet", "--bench", "boost_classes", "--"]
    lines = []
    for case in args.case or list(CASES)[1:]:
        source = CASES[case][0]
        files = [] if isinstance(source, str) else [args.data / f"{file}.parquet" for file in source]
        absent = next((file for file in files if not file.exists()), None)
        if absent:
            print(f"{case}: skipped, {absent} is not there", file=sys.stderr)
            continue
        lines.append(compare(case, args))
    table(lines)


if __name__ == "__main__":
    main()
