"""scikit-learn's multinomial fits of small tables, for tests/linear_peers.rs: tests/golden/linear_peers.json.

    J(W, b) = [ sum_i w_i loss(z_i, y_i) ] / [ sum_i w_i ] + (l2 / 2) ||W||_F^2,   w_i = alpha_{y_i},   b not penalised

so scikit-learn's C is 1 / (l2 * sum w). Its Newton solver ends at a gradient of about 1e-12, which is checked here on J
itself. Columns are divided by the power of two at or above their largest magnitude: exact in f32, so that Rust and Python
see the same numbers. `yeast_outliers` and `glass_outliers` are these tables after that, with the rows 0, 50, 100, ... times
1000, rounded to f32.

Requirements: python >= 3.10, numpy >= 2, scikit-learn >= 1.6, pyarrow >= 15.
Run: CBFIT_SHARED_DATA=folder python tests/golden/make_linear_peers.py   (seconds)
The folder defaults to `../shared/data` beside the repository.
"""

import json
import os
import pathlib
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("CBFIT_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
# Name, file, every which row, l2.
DATASETS = [
    ("digits_lt", REPOSITORY / "data" / "digits_lt_train.parquet", 1, 1e-3),
    ("ecoli", SHARED / "ecoli.parquet", 1, 1e-3),
    ("glass", SHARED / "glass.parquet", 1, 1e-3),
    ("yeast", SHARED / "yeast.parquet", 1, 1e-3),
    ("shuttle", SHARED / "shuttle_train.parquet", 30, 1e-4),
    ("yeast_outliers", SHARED / "yeast.parquet", 1, 1e-3),
    ("glass_outliers", SHARED / "glass.parquet", 1, 1e-3),
]


def read(path, step):
    table = pq.read_table(path)
    labels = np.array(table.column("label").to_pylist())[::step]
    if "embedding" in table.column_names:
        column = table.column("embedding").combine_chunks()
        x = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    else:
        x = np.column_stack([table.column(name).to_numpy() for name in table.column_names if name != "label"])
    return x.astype(np.float32).astype(np.float64)[::step], np.unique(labels, return_inverse=True)[1]


def scaled(x):
    largest = np.abs(x).max(axis=0)
    return x / np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))))


def with_outliers(x):
    x = x.copy()
    x[::50] *= 1000.0
    return x.astype(np.float32).astype(np.float64)


def value_and_gradient(x, y, w, l2, weight, bias):
    z = x @ weight.T + bias
    lse = np.logaddexp.reduce(z, axis=1)
    share = w / w.sum()
    value = share @ (lse - z[np.arange(len(y)), y]) + 0.5 * l2 * np.sum(weight**2)
    error = (np.exp(z - lse[:, None]) - np.eye(len(bias))[y]) * share[:, None]
    return value, max(np.abs(error.T @ x + l2 * weight).max(), np.abs(error.sum(axis=0)).max())


def main():
    results = []
    for name, path, step, l2 in DATASETS:
        x, y = read(path, step)
        x = scaled(x)
        if name.endswith("outliers"):
            x = with_outliers(x)
        counts = np.bincount(y)
        for scheme in ("none", "inverse"):
            w = np.ones(len(y)) if scheme == "none" else (len(y) / len(counts) / counts)[y]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what was reached is judged by the gradient below
                fit = LogisticRegression(C=1.0 / (l2 * w.sum()), solver="newton-cholesky", tol=1e-12, max_iter=500).fit(x, y, sample_weight=w)
            value, gradient = value_and_gradient(x, y, w, l2, fit.coef_, fit.intercept_)
            print(f"{name} {scheme}: {x.shape} {counts.tolist()} J {value:.12f}, gradient {gradient:.1e}", file=sys.stderr)
            results.append({
                "dataset": name, "scheme": scheme, "l2": l2, "rows": len(y), "objective": value, "gradient": gradient,
                "weight": fit.coef_.ravel().tolist(), "bias": fit.intercept_.tolist(),
            })
    lines = ",\n".join(json.dumps(entry) for entry in results)
    (pathlib.Path(__file__).parent / "linear_peers.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
