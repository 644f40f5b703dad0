"""Planted label noise: which scores of `cbfit influence` find it.

    python benches/influence.py BINARY TRAIN.parquet CLEAN.parquet [--rate 0.05] [--tail] [--seed 0] [--l2 1e-4]

Flips labels of TRAIN (a label column and one vector column) at random to another class, everywhere or with --tail only
those of the rarest half of the classes, fits, and prints the precision among the k = number of flips and the 50 rows that
each score ranks first. A random order has the share of the flips among all rows as its precision.

The clean rows are split in two by class: half of them is what the influence is asked of, so it knows something that the
other scores do not. `mixed` takes the sum of the ranks of self-influence and influence.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def flipped(labels, rate, tail, rng):
    names, counts = np.unique(labels, return_counts=True)
    rare = names[np.argsort(counts)][: len(names) // 2] if tail else names
    places = np.flatnonzero(np.isin(labels, rare))
    chosen = rng.choice(places, max(1, round(rate * len(places))), replace=False)
    noisy = labels.copy()
    for row in chosen:
        noisy[row] = rng.choice(names[names != labels[row]])
    return noisy, np.isin(np.arange(len(labels)), chosen)


def run(*command):
    subprocess.run([str(word) for word in command], check=True)


def fit_and_score(binary, folder, train, valid, l2, *flags):
    model, rows = folder / "m.cbfit", folder / "rows.parquet"
    run(binary, "--train", train, "--valid-fraction", 0, "--l2", l2, "--beta", 0.999, "-o", model, "-q")
    run(binary, "influence", model, "--train", train, "--valid", valid, "-o", rows, "--top", 0, *flags)
    return pq.read_table(rows).to_pydict()


def out_of_fold(binary, folder, table, l2, seed, folds=5):
    """Loss of each row under a model of the other folds."""
    fold = np.random.default_rng(seed).integers(folds, size=table.num_rows)
    loss = np.full(table.num_rows, np.nan)
    for k in range(folds):
        pq.write_table(table.filter(pa.array(fold != k)), folder / "rest.parquet")
        pq.write_table(table.filter(pa.array(fold == k)), folder / "fold.parquet")
        run(binary, "--train", folder / "rest.parquet", "--valid-fraction", 0, "--l2", l2, "--beta", 0.999,
            "-o", folder / "fold.cbfit", "-q")
        run(binary, "predict", folder / "fold.cbfit", folder / "fold.parquet", "--proba", "-q",
            "-o", folder / "p.jsonl")
        with open(folder / "p.jsonl") as lines:
            p = [json.loads(line) for line in lines]
        rows = np.flatnonzero(fold == k)
        labels = table["label"].to_pylist()
        loss[rows] = [-np.log(max(p[i].get(f"p_{labels[row]}", 0.0), 1e-30)) for i, row in enumerate(rows)]
    return loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("train")
    parser.add_argument("clean")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--tail", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--l2", type=float, default=1e-4)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    table, clean = pq.read_table(args.train), pq.read_table(args.clean)
    labels = np.array(table["label"].to_pylist(), dtype=object).astype(str)
    noisy, is_flipped = flipped(labels, args.rate, args.tail, rng)
    table = table.set_column(table.column_names.index("label"), "label", pa.array(noisy.tolist()))
    half = np.sort(rng.permutation(clean.num_rows)[: clean.num_rows // 2])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "train.parquet")
        pq.write_table(clean.take(half), folder / "valid.parquet")
        rows = fit_and_score(args.binary, folder, folder / "train.parquet", folder / "valid.parquet", args.l2,
                             "--self", "--balanced")
        scores = {
            "influence, balanced": np.array(rows["influence"]),
            "self-influence": np.array(rows["self_influence"]),
            "own loss (lowest p_y)": np.array(rows["own_loss"]),
            "margin": -np.array(rows["margin"]),
            "out-of-fold loss": out_of_fold(args.binary, folder, table, args.l2, args.seed),
        }
        ranks = sum(np.argsort(np.argsort(scores[s])) for s in ("influence, balanced", "self-influence"))
        scores["mixed"] = ranks.astype(float)
    flips = int(is_flipped.sum())
    print(f"{Path(args.train).stem}{' tail' if args.tail else ''}: {flips} of {len(labels)} flipped")
    for name, score in scores.items():
        order = np.argsort(-score, kind="stable")
        print(f"  {name:24} at {flips}: {is_flipped[order[:flips]].mean():.3f}   at 50: {is_flipped[order[:50]].mean():.3f}")
    print(f"  {'random':24} {is_flipped.mean():.3f}")


if __name__ == "__main__":
    main()
