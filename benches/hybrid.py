#!/usr/bin/env python3
"""Whether trees gain by starting from a linear model: log-loss and macro recall of rows held out of the training files, of
`cbfit` linear, boosted, and boosted with `--init linear`. JSON lines. README.md beside this file says what came out."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ARMS = {"linear": "--missing mean", "boost": "--learner boost", "hybrid": "--learner boost --init linear"}
HELD_OUT = 0.25
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared", "data")


def split(table, seed):
    """A stratified quarter of the rows; classes of a few rows keep two for training."""
    labels = np.array([str(label) for label in table["label"].to_pylist()])
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == name))
        held[rows[: min(round(HELD_OUT * len(rows)), max(len(rows) - 2, 0))]] = True
    return [table.filter(pa.array(part)) for part in (~held, held)]


def made(classes, features, interactions, rows, seed):
    """Logits that are linear in Gaussian features, with a long tail, plus `interactions` times random logits for the signs
    of six products of two features."""
    rng = np.random.default_rng(100 + seed)
    linear = rng.normal(size=(features, classes)) * 2 / np.sqrt(features)
    pairs = [rng.choice(features, 2, replace=False) for _ in range(6)]
    products = rng.normal(size=(6, classes)) * interactions
    x = rng.normal(size=(rows, features)).astype(np.float32)
    signs = np.stack([np.sign(x[:, a] * x[:, b]) for a, b in pairs], 1)
    logits = x @ linear + signs @ products - np.log(np.arange(1, classes + 1))
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    labels = (chances.cumsum(1) > rng.random((rows, 1))).argmax(1)
    return pa.table({**{f"x{at}": x[:, at] for at in range(features)}, "label": labels})


def read(name, data, seed):
    if name.startswith("made:"):
        classes, features, interactions, rows = name[5:].split(",")
        return made(int(classes), int(features), float(interactions), int(rows), seed)
    path = os.path.join(data, name + ".parquet")
    if not os.path.exists(path):
        sys.exit(f"{path} is not there")
    return pq.read_table(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", help="files of --data without .parquet, or made:CLASSES,FEATURES,INTERACTIONS,ROWS")
    parser.add_argument("--data", default=DATA, help="folder of the files [../shared/data beside the repository]; their column label is the class")
    parser.add_argument("--program", default="target/release/cbfit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--flags", default="--weighting none --metric log_loss")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, held, model = (os.path.join(folder, name) for name in ("train.parquet", "held.parquet", "m.cbfit"))
        for name in args.sets:
            for seed in range(args.seeds):
                for path, part in zip((train, held), split(read(name, args.data, seed), seed)):
                    pq.write_table(part, path)
                for arm, flags in ARMS.items():
                    line = f"--train {train} --test {held} {flags} {args.flags} --seed {seed} -o {model} --json --quiet"
                    run = subprocess.run([args.program, *line.split()], capture_output=True, text=True)
                    if run.returncode:
                        sys.exit(f"{name} {arm}: {run.stderr}")
                    report = json.loads(run.stdout)
                    scores = report["test"]["trained"]
                    result = {"set": name, "seed": seed, "arm": arm, "seconds": report["seconds"]}
                    result |= {metric: scores[metric] for metric in ("log_loss", "macro_recall")}
                    result["rounds"] = (report.get("boost") or {}).get("rounds")
                    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
