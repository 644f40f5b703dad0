#!/usr/bin/env python3
"""Macro recall by beta at several imbalance factors and losses, after figure 5 of Cui et al. 2019, on features of CIFAR-10:
a Markdown table. The long-tailed training file is cut to n_c = n_max IF^(-c/9) with n_max = min(50 IF, 5000)."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
BETAS = ["0.9", "0.99", "0.999", "0.9999"]


def cut(table, factor, seed):
    labels = np.asarray(table["label"].to_pylist())
    names, counts = np.unique(labels, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    most = min(50 * factor, counts.max())
    rng = np.random.default_rng(seed)
    kept = np.zeros(len(labels), bool)
    for place, name in enumerate(order):
        wanted = int(most * factor ** (-place / (len(order) - 1)) + 1e-9)
        kept[rng.permutation(np.flatnonzero(labels == name))[:wanted]] = True
    return table.filter(pa.array(kept))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.path.join(HERE, "..", "..", "shared", "data")
    parser.add_argument("--data", default=data, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--program", default=os.path.join(HERE, "..", "target", "release", "cbfit"))
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 50, 100, 200])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train = os.path.join(args.data, "cifar10_lt100_mobilenet_train.parquet")
    if not os.path.exists(train):
        sys.exit(f"{train} is not there")
    train = pq.read_table(train)
    test = os.path.join(args.data, "cifar10_mobilenet_test.parquet")
    columns = ["none"] + [f"effective {beta}" for beta in BETAS] + ["inverse", "none + adjust"]
    print("| imbalance | rows | loss | " + " | ".join(columns) + " |\n|" + "---|" * (3 + len(columns)))
    for factor in args.factors:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "train.parquet")
            rows = cut(train, factor, args.seed)
            pq.write_table(rows, path)
            schemes = ",".join([f"effective:{beta}" for beta in BETAS] + ["inverse"])
            command = [args.program, "compare", path, "--test", test, "--schemes", schemes, "--json", "-q"]
            run = subprocess.run(command + ["--losses", "softmax,sigmoid,focal"], capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(run.stderr)
        candidates = {c["name"]: c for c in json.loads(run.stdout)["candidates"]}
        for loss in ["softmax", "sigmoid", "focal"]:
            cells = [candidates.get(f"{loss} {name}") for name in columns]
            shown = ["" if c is None else f"{c['test']['value']:.3f}" for c in cells]
            print(f"| {factor} | {len(rows):,} | {loss} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
