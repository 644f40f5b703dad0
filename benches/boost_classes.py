"""LightGBM on the rows that `boost_classes --export FOLDER` wrote: one JSON line a reading, seconds without scoring.

python benches/boost_classes.py FOLDER [--rounds 100] [--lambda 1] [--bins 255] [--threads 2]
"""

import argparse
import json
import pathlib
import resource
import time

import lightgbm
import numpy as np


def scores(logits, labels):
    peak = logits.max(1, keepdims=True)
    loss = np.log(np.exp(logits - peak).sum(1)) + peak[:, 0] - logits[np.arange(len(labels)), labels]
    hits = np.bincount(labels[logits.argmax(1) == labels], minlength=logits.shape[1])
    rows = np.bincount(labels, minlength=logits.shape[1])
    return loss.mean(), (hits[rows > 0] / rows[rows > 0]).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--leaves", type=int, default=63)
    parser.add_argument("--bins", type=int, default=255)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lambda", type=float, default=1.0, dest="l2", help="0, its default, diverges on rare classes")
    args = parser.parse_args()
    shape = json.loads((args.folder / "shape.json").read_text())
    part = lambda name: (
        np.fromfile(args.folder / f"{name}.f32", np.float32).reshape(-1, shape["features"]),
        np.fromfile(args.folder / f"{name}.u32", np.uint32).astype(np.int64),
    )
    (x, y), (test_x, test_y) = part("train"), part("test")
    params = dict(
        objective="multiclass", num_class=shape["classes"], num_leaves=args.leaves, learning_rate=args.lr,
        max_bin=args.bins, min_data_in_leaf=20, lambda_l2=args.l2, num_threads=args.threads, metric="None", verbose=-1,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    booster = lightgbm.Booster(params, lightgbm.Dataset(x, y, params=params))
    fitting = time.perf_counter() - start
    for number in range(1, args.rounds + 1):
        start = time.perf_counter()
        booster.update()
        fitting += time.perf_counter() - start
        if number == 1 or number % args.every == 0 or number == args.rounds:
            start = time.perf_counter()
            logits = booster.predict(test_x, raw_score=True, num_threads=args.threads)
            predicting = time.perf_counter() - start
            loss, recall = scores(logits, test_y)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps(dict(round=number, seconds=round(fitting, 3), log_loss=loss, macro_recall=recall,
                                  predict_seconds=round(predicting, 3), peak_kb=peak, start_kb=before)), flush=True)


if __name__ == "__main__":
    main()
