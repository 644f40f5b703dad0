"""Makes the example data of this folder: a long-tailed cut of scikit-learn's copy of the UCI digits.

Requirements: python >= 3.10, numpy >= 2, scikit-learn >= 1.4, pyarrow >= 15.
Run from anywhere: python data/make_data.py [FOLDER]   (default: the folder of this script)
The same rows are drawn every time as long as numpy keeps its PCG64 permutations; the Parquet files also carry the version
of their writer.
"""

import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

SEED = 20190115
TEST_ROWS_PER_CLASS = 30
LARGEST_CLASS = 145
IMBALANCE = 20


def long_tail(classes: int) -> list[int]:
    """Profile of Cui et al. 2019: n_c = int(n_max * mu^(c/(C-1))), mu = 1 / imbalance factor."""
    return [int(LARGEST_CLASS * (1 / IMBALANCE) ** (c / (classes - 1))) for c in range(classes)]


def draw(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training part (long tail) and of the balanced test part, both shuffled."""
    rng = np.random.default_rng(SEED)
    counts = long_tail(labels.max() + 1)
    train, test = [], []
    for label, count in enumerate(counts):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test.append(rows[:TEST_ROWS_PER_CLASS])
        train.append(rows[TEST_ROWS_PER_CLASS : TEST_ROWS_PER_CLASS + count])
        assert len(train[-1]) == count, f"class {label} has too few rows"
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def vector_table(features: np.ndarray, labels: np.ndarray) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), pa.float32()), features.shape[1])
    return pa.table({"label": pa.array(labels, pa.int64()), "embedding": vectors})


def wide_table(features: np.ndarray, labels: np.ndarray) -> pa.Table:
    # Whole numbers 0..16: written without ".0" the file is half as long.
    columns = {f"pixel_{row}_{col}": features[:, 8 * row + col].astype(np.int64) for row in range(8) for col in range(8)}
    return pa.table({"label": labels, **columns})


def main(folder: pathlib.Path) -> None:
    digits = load_digits()
    features = digits.data.astype(np.float32)
    labels = digits.target.astype(np.int64)
    train, test = draw(labels)
    for name, rows in (("train", train), ("test", test)):
        table = vector_table(features[rows], labels[rows])
        pq.write_table(table, folder / f"digits_lt_{name}.parquet", compression="zstd")
        print(f"{name}: {len(rows)} rows, by class {np.bincount(labels[rows]).tolist()}")
    pa.csv.write_csv(wide_table(features[train], labels[train]), folder / "digits_lt_train.csv")
    np.save(folder / "digits_lt_train_features.npy", features[train])
    np.save(folder / "digits_lt_train_labels.npy", labels[train])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
