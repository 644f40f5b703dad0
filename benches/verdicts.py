#!/usr/bin/env python3
"""What `cbfit compare` finds on many data sets, and whether it was right on test rows it did not see: JSON lines and a
Markdown table. README.md beside this file says what the figures mean."""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
# Data set: training file, test file (None: a stratified 30 % of the rows), feature selector.
SETS = {
    "cifar10_lt100": ("cifar10_lt100_mobilenet_train", "cifar10_mobilenet_test", None),
    "clinc150imb": ("clinc150imb_minilm_train", "clinc150_minilm_test", None),
    "banking77": ("banking77_minilm_train", "banking77_minilm_test", None),
    "covertype_20k": ("covertype_20k", None, None),
    "shuttle": ("shuttle_train", "shuttle_test", None),
    "yeast": ("yeast", None, None),
    "abalone": ("abalone", None, None),
}
TEST_SHARE = 0.3


def split(table, seed):
    """A stratified 30 % of the rows: at least one of every class of two rows or more, never its last one."""
    labels = np.asarray(table["label"].to_pylist())
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), bool)
    for name in sorted(set(labels.tolist())):
        rows = rng.permutation(np.flatnonzero(labels == name))
        given = min(max(round(TEST_SHARE * len(rows)), 1), len(rows) - 1)
        test[rows[:given]] = True
    return table.filter(pa.array(~test)), table.filter(pa.array(test))


def files_of(name, args, folder):
    train, test, _ = SETS.get(name, (os.path.join("keel", name), None, None))
    path = os.path.join(args.data, train + ".parquet")
    if not os.path.exists(path):
        return None
    if test is not None:
        return path, os.path.join(args.data, test + ".parquet")
    parts = [os.path.join(folder, f"{part}.parquet") for part in ("train", "test")]
    for part, rows in zip(parts, split(pq.read_table(path), args.seed)):
        pq.write_table(rows, part)
    return parts


def compare(name, args):
    with tempfile.TemporaryDirectory() as folder:
        files = files_of(name, args, folder)
        if files is None:
            print(f"{name}: no such file, skipped", file=sys.stderr)
            return None
        out = os.path.join(folder, "c.json")
        command = [args.program, "compare", files[0], "--test", files[1], "-o", out, "-q", "--repeats", str(args.repeats)]
        begun = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True)
        took = time.perf_counter() - begun
        if run.returncode != 0:
            print(f"{name}: {run.stderr.strip()}", file=sys.stderr)
            return None
        with open(out, encoding="utf-8") as file:
            report = json.load(file)
    candidates = report["candidates"]
    chosen = candidates[report["verdict"]["recommended"]]
    none, best = candidates[0], max(candidates, key=lambda c: c["test"]["value"])
    return {
        "data": name,
        "rows": report["rows"],
        "classes": len(report["class_rows"]),
        "imbalance": max(report["class_rows"]) / min(n for n in report["class_rows"] if n),
        "candidates": len(candidates),
        "fits": report["fits"],
        "passes": report["passes"],
        "seconds": took,
        "l2": float(np.median(none["l2"])),
        "chosen": chosen["name"],
        "chosen_test": chosen["test"]["value"],
        "none_test": none["test"]["value"],
        "best": best["name"],
        "best_test": best["test"]["value"],
        "best_error": best["test"]["standard_error"],
        "within_one_error": best["test"]["value"] - chosen["test"]["value"] <= best["test"]["standard_error"],
        "warnings": len(report["warnings"]),
        "verdict": report["verdict"]["sentence"],
    }


def scikit_learn(name, args, middle, betas=(0.9, 0.99, 0.999, 0.9999)):
    """Seconds of one fold of the same grid with scikit-learn: the fits of 5 folds take five times as long."""
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    warnings.filterwarnings("ignore")
    train = SETS[name][0]
    table = pq.read_table(os.path.join(args.data, train + ".parquet"))
    values = table["embedding"].combine_chunks()
    x = values.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float32)
    y = np.unique(table["label"].to_pylist(), return_inverse=True)[1]
    fold = next(StratifiedKFold(5, shuffle=True, random_state=0).split(x, y))[0]
    x, y = x[fold], y[fold]
    counts = np.bincount(y).astype(float)
    schemes = [np.ones_like(counts), counts**-0.5, 1 / counts]
    schemes += [(1 - beta) / (1 - beta**counts) for beta in betas]
    schemes = schemes[: args.schemes]
    begun, fits = time.perf_counter(), 0
    for alpha in schemes:
        w = alpha[y] / alpha[y].mean()
        for l2 in (3.3 * middle, middle, middle / 3.3):
            model = LogisticRegression(C=1 / (l2 * w.sum()), max_iter=1000, tol=1e-4)
            model.fit(x, y, sample_weight=w)
            fits += 1
    return {"data": name, "peer": "scikit-learn lbfgs", "fits": fits, "seconds": time.perf_counter() - begun}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.path.join(HERE, "..", "..", "shared", "data")
    parser.add_argument("--data", default=data, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--program", default=os.path.join(HERE, "..", "target", "release", "cbfit"))
    parser.add_argument("--set", action="append", help="a data set by name; all of them without")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help="time one fold of the grid with scikit-learn as well")
    parser.add_argument("--schemes", type=int, default=7, help="weightings of the peer's grid")
    args = parser.parse_args()
    keel = sorted(os.path.basename(p)[: -len(".parquet")] for p in glob.glob(os.path.join(args.data, "keel", "*.parquet")))
    results = []
    for name in args.set or list(SETS) + keel:
        result = compare(name, args)
        if result is None:
            continue
        results.append(result)
        print(json.dumps(result), flush=True)
        if args.peer and name in ("cifar10_lt100", "clinc150imb", "banking77"):
            print(json.dumps(scikit_learn(name, args, result["l2"])), flush=True)
    head = "| data | rows | classes | imbalance | recommended | its test | none | best on test | s |"
    print(head + "\n|" + "---|" * 9, file=sys.stderr)
    for r in results:
        mark = "" if r["within_one_error"] else " (!)"
        cells = [r["data"], f"{r['rows']:,}", r["classes"], f"{r['imbalance']:.0f}", r["chosen"] + mark]
        cells += [f"{r['chosen_test']:.3f}", f"{r['none_test']:.3f}"]
        cells += [f"{r['best_test']:.3f} +-{r['best_error']:.3f} {r['best']}", f"{r['seconds']:.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |", file=sys.stderr)
    right = sum(r["within_one_error"] for r in results)
    print(f"\nwithin one standard error of the best on test: {right} of {len(results)}", file=sys.stderr)


if __name__ == "__main__":
    main()
