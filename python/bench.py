"""Seconds of fits from arrays in memory: cbfit, scikit-learn and LightGBM on the same rows, in one run.

python bench.py FOLDER [threads]    after `maturin develop --release` in this folder; FOLDER has
                                    cifar10_lt100_mobilenet_train.parquet, clinc150imb_minilm_train.parquet and
                                    kdd99_10pct_train.parquet with their test files
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss

from cbfit import BoostClassifier, LinearClassifier

EMBEDDINGS = [
    ("cifar10_lt100", "cifar10_lt100_mobilenet_train", "cifar10_mobilenet_test", 1e-2),
    ("clinc150imb", "clinc150imb_minilm_train", "clinc150_minilm_test", 1e-5),
]


def vectors(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(path)
    column = table["embedding"].combine_chunks()
    values = np.asarray(column.flatten()).reshape(len(column), -1).astype(np.float32)
    return values, np.asarray(table["label"].to_pylist())


def kdd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The 38 numbers, and the five classes."""
    table = pq.read_table(path)
    names = [field.name for field in table.schema if not field.name.startswith("label") and field.type != "string"]
    columns = [table[name].to_numpy() for name in names]
    numbers = [column.astype(np.float32) for column in columns if column.dtype.kind in "iufb"]
    return np.ascontiguousarray(np.column_stack(numbers)), np.asarray(table["label5"].to_pylist())


def measure(name: str, model, train, test) -> None:
    times = []
    for _ in range(2):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(*train)
        times.append(time.perf_counter() - start)
        if times[0] > 60:
            break
    start = time.perf_counter()
    probabilities = model.predict_proba(test[0])
    predicting = time.perf_counter() - start
    places = {label: place for place, label in enumerate(model.classes_.tolist())}
    codes = np.array([places[label] for label in test[1].tolist()])
    loss = log_loss(codes, np.clip(probabilities, 1e-15, 1), labels=range(len(places)))
    recall = balanced_accuracy_score(codes, probabilities.argmax(axis=1))
    print(f"  {name:42} fit {min(times):8.2f} s  predict {predicting:6.2f} s  log-loss {loss:.4f}  recall {recall:.4f}", flush=True)


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    for name, train, test, l2 in EMBEDDINGS:
        X, y = vectors(folder / f"{train}.parquet")
        held = vectors(folder / f"{test}.parquet")
        known = np.isin(held[1], y)
        held = held[0][known], held[1][known]
        print(f"{name}: {X.shape[0]} x {X.shape[1]}, {len(set(y.tolist()))} classes, l2 {l2}")
        c = 1 / (l2 * len(y))
        measure("cbfit LinearClassifier", LinearClassifier(l2=l2, n_jobs=threads), (X, y), held)
        measure("cbfit LinearClassifier, l2 chosen", LinearClassifier(n_jobs=threads), (X, y), held)
        measure("scikit-learn LogisticRegression (lbfgs)", LogisticRegression(C=c, max_iter=1000), (X, y), held)
    X, y = kdd(folder / "kdd99_10pct_train.parquet")
    rng = np.random.default_rng(0)
    part = rng.random(len(y)) < 0.7
    train, test = (np.ascontiguousarray(X[part]), y[part]), (np.ascontiguousarray(X[~part]), y[~part])
    print(f"kdd99, a random 70 %: {train[0].shape[0]} x {X.shape[1]}, {len(set(y.tolist()))} classes, 100 rounds")
    measure("cbfit BoostClassifier", BoostClassifier(n_jobs=threads), train, test)
    lightgbm = LGBMClassifier(n_jobs=threads, verbose=-1)
    measure("LightGBM LGBMClassifier", lightgbm, train, test)
    measure("scikit-learn HistGradientBoosting", HistGradientBoostingClassifier(early_stopping=False), train, test)
    scale = LinearClassifier(l2=1e-4, standardize=True, n_jobs=threads)
    measure("cbfit LinearClassifier, standardised", scale, train, test)


if __name__ == "__main__":
    main()
