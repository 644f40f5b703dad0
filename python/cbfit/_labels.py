"""Labels and weights of rows, and the names of classes in model files."""

from __future__ import annotations

import warnings
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from ._base import DataConversionWarning

Codes = NDArray[np.uint32]


def labels_of(y: Any, owner: str) -> NDArray[Any]:
    """Reads labels, one a row."""
    if y is None:
        raise ValueError(f"This {owner} estimator requires y to be passed, but the target y is None.")
    if hasattr(y, "detach"):
        y = y.detach().cpu()
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. "
            "Please change the shape of y to (n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=4,
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {labels.shape} instead.")
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{labels}\n")
    if labels.dtype.kind == "f":
        if np.isnan(labels).any():
            raise ValueError("Input y contains NaN.")
        if np.isinf(labels).any():
            raise ValueError(f"Input y contains infinity or a value too large for {labels.dtype!r}.")
        if (labels != np.floor(labels)).any():
            raise ValueError(
                "Unknown label type: continuous. Maybe you are trying to fit a classifier, which expects "
                "discrete classes on a regression target with continuous values."
            )
    elif labels.dtype == object and any(label is None or label != label for label in labels):
        raise ValueError("Input y contains NaN.")
    return labels


def encoded(labels: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """The classes, ascending, and the place of each label among them."""
    kind = labels.dtype.kind
    if kind in "iu" and len(labels):
        least, most = int(labels.min()), int(labels.max())
        if most - least <= 4 * len(labels) + 1024:
            seen = np.bincount((labels - labels.dtype.type(least)).astype(np.intp)) > 0
            codes = (np.cumsum(seen) - 1).astype(np.uint32)
            classes = (np.flatnonzero(seen) + least).astype(labels.dtype)
            return classes, codes[(labels - labels.dtype.type(least)).astype(np.intp)]
    if kind in "OU":
        # Sorting every row, as numpy does, takes longer than hashing them.
        names = labels.tolist()
        try:
            found = sorted(set(names))
        except TypeError:
            kinds = sorted({type(name).__name__ for name in names})
            raise TypeError(f"labels of different types have no order: {', '.join(kinds)}") from None
        codes_of = {name: code for code, name in enumerate(found)}
        codes = np.fromiter(map(codes_of.__getitem__, names), np.uint32, len(names))
        return np.array(found, dtype=labels.dtype), codes
    classes, places = np.unique(labels, return_inverse=True)
    return classes, places.astype(np.uint32)


def codes_among(labels: NDArray[Any], classes: NDArray[Any]) -> Codes:
    """The place of each label among `classes`; the largest code for others."""
    codes_of = {name: code for code, name in enumerate(classes.tolist())}
    unseen = np.iinfo(np.uint32).max
    codes = (codes_of.get(name, unseen) for name in labels.tolist())
    return np.fromiter(codes, np.uint32, len(labels))


def row_weights(sample_weight: Any, rows: int) -> Optional[NDArray[np.float64]]:
    """Weights of rows, none of them negative."""
    if sample_weight is None:
        return None
    weights = np.array(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    if len(weights) != rows:
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}!")
    if not np.isfinite(weights).all():
        what = "NaN" if np.isnan(weights).any() else "infinity"
        raise ValueError(f"Input sample_weight contains {what}.")
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def class_names(classes: NDArray[Any]) -> tuple[str, list[str]]:
    """Kind and names of classes in a model file."""
    values = classes.tolist()
    if all(isinstance(value, bool) for value in values):
        return "bool", [str(value).lower() for value in values]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "int", [str(int(value)) for value in values]
    if all(isinstance(value, str) for value in values):
        return "text", values
    kinds = sorted({type(value).__name__ for value in values})
    raise ValueError(f"a model file has numbers, text or booleans as classes, not {', '.join(kinds)}")


def classes_of(kind: str, names: list[str]) -> NDArray[Any]:
    """Classes from a model file."""
    if kind == "int":
        return np.array([int(name) for name in names], dtype=np.int64)
    if kind == "bool":
        return np.array([name == "true" for name in names])
    return np.array(names)
