"""Data sets and problems of the comparison, and their reading through pyarrow."""

import os
from dataclasses import dataclass

import numpy as np

from . import made

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# name: (training file, test file, feature selector of cbfit). Files of the repository itself start with "data/".
FILES = {
    "digits_lt": ("data/digits_lt_train.parquet", "data/digits_lt_test.parquet", None),
    "cifar10_lt100": ("cifar10_lt100_mobilenet_train.parquet", "cifar10_mobilenet_test.parquet", None),
    "clinc150imb": ("clinc150imb_minilm_train.parquet", "clinc150_minilm_test.parquet", None),
    "banking77": ("banking77_minilm_train.parquet", "banking77_minilm_test.parquet", None),
    "kdd99_10pct": ("kdd99_10pct_train.parquet", "kdd99_corrected_test.parquet", "!label5"),
}
# name: rows, features, classes, class counts, stored width.
MADE = {
    "made_100k": "100000,768,1000,zipf,f32",
    "made_inat": "60000,1024,8142,zipf,f32",
    "made_imagenet": "1281167,1024,1000,even,f16",
}
# The values of l2 among which every tuned model is chosen, strong to weak.
L2_VALUES = [float(f"{mantissa}e{exponent}") for exponent in range(-1, -7, -1) for mantissa in (3, 1)]


@dataclass(frozen=True)
class Case:
    kind: str  # "fit", "tune" or "pass"
    data: str
    loss: str
    beta: str  # "none": all classes weigh 1
    l2: float | None = None
    by_name_only: bool = False
    quick: bool = False

    @property
    def name(self):
        weighting = "unweighted" if self.beta == "none" else f"beta={self.beta}"
        l2 = [] if self.l2 is None else [f"l2={self.l2:g}"]
        return ":".join([self.kind, self.data, self.loss, weighting, *l2])


CASES = [
    Case("fit", "digits_lt", "softmax", "0.9999", 1e-2, quick=True),
    Case("fit", "cifar10_lt100", "softmax", "0.9999", 1e-2, quick=True),
    Case("fit", "cifar10_lt100", "softmax", "0.9999", 1e-3),
    Case("fit", "clinc150imb", "softmax", "0.99", 1e-5, quick=True),
    Case("fit", "banking77", "softmax", "0.999", 1e-5),
    Case("fit", "kdd99_10pct", "softmax", "0.9999", 1e-4),
    Case("fit", "cifar10_lt100", "sigmoid", "0.9999", 1e-2, quick=True),
    Case("fit", "clinc150imb", "sigmoid", "0.99", 1e-5),
    # linfa and smartcore take no weights.
    Case("fit", "digits_lt", "softmax", "none", 1e-2),
    Case("fit", "cifar10_lt100", "softmax", "none", 1e-2),
    Case("fit", "clinc150imb", "softmax", "none", 1e-5, quick=True),
    Case("tune", "cifar10_lt100", "softmax", "0.9999"),
    Case("tune", "clinc150imb", "softmax", "0.99", quick=True),
    Case("tune", "banking77", "softmax", "0.999"),
    Case("pass", "cifar10_lt100", "softmax", "0.9999", quick=True),
    Case("pass", "made_100k", "softmax", "0.999"),
    Case("pass", "made_inat", "softmax", "0.999"),
    Case("pass", "made_imagenet", "softmax", "none", by_name_only=True),
    Case("fit", "made_100k", "softmax", "0.999", 1e-4, by_name_only=True),
]


@dataclass
class Data:
    x: object  # N x D, f32 or f16
    y: np.ndarray  # class codes
    classes: int
    test_x: object = None
    test_y: np.ndarray = None  # -1 where training lacks the class

    @property
    def counts(self):
        return np.bincount(self.y, minlength=self.classes)


def paths(name, folder):
    """Training and test file of a data set."""
    place = lambda file: os.path.join(REPOSITORY if file.startswith("data/") else folder, file)
    train, test, _ = FILES[name]
    return place(train), place(test)


def missing(name, folder):
    """Why a data set cannot be read, or None."""
    absent = [] if name in MADE else [path for path in paths(name, folder) if not os.path.exists(path)]
    return f"{', '.join(absent)} is not there" if absent else None


def read(name, folder, test=True):
    if name in MADE:
        x, y = made.make(MADE[name])
        return Data(x, y, int(y.max()) + 1)
    import pyarrow.parquet as pq

    train_path, test_path = paths(name, folder)
    table = pq.read_table(train_path)
    names = sorted(set(table["label"].to_pylist()))
    code_of = {name: code for code, name in enumerate(names)}
    codes = lambda t: np.array([code_of.get(name, -1) for name in t["label"].to_pylist()])
    encode, scale = encoder(table)
    data = Data(scale(encode(table)), codes(table), len(names))
    if test:
        table = pq.read_table(test_path)
        data.test_x, data.test_y = scale(encode(table)), codes(table)
    return data


def encoder(table):
    """cbfit's features: a vector as it is; else numbers and one-hot texts (levels in order), standardised."""
    import pyarrow as pa

    if "embedding" in table.column_names:
        def vectors(t):
            column = t["embedding"].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False)
            return np.ascontiguousarray(values.reshape(len(column), -1))
        return vectors, lambda x: x

    columns = [name for name in table.column_names if not name.startswith("label")]
    is_text = {name: pa.types.is_string(table.schema.field(name).type)
               or pa.types.is_large_string(table.schema.field(name).type) for name in columns}
    levels = {name: sorted(set(table[name].to_pylist())) for name in columns if is_text[name]}

    def encode(t):
        parts = []
        for name in columns:
            if is_text[name]:
                values = np.array(t[name].to_pylist(), dtype=object)
                parts += [(values == level).astype(np.float32) for level in levels[name]]
            else:
                parts.append(t[name].to_numpy().astype(np.float32))
        return np.column_stack(parts)

    x = encode(table)
    mean = x.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.mean((x - mean) ** 2, axis=0)).astype(np.float32)
    constant = (x == x[0]).all(axis=0) | (deviation == 0)
    mean, deviation = mean.astype(np.float32), np.where(constant, np.float32(1), deviation)
    return encode, lambda x: ((x.astype(np.float64) - mean) / deviation).astype(np.float32)
