"""Features of any kind as rows: C-contiguous arrays of float32 and float16 are taken as they lie, all else is copied once."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray

Sparse = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], int]
Native = Union[NDArray[np.float32], NDArray[np.float16], Sparse]


class Rows(NamedTuple):
    """Rows as an array or a scipy CSR matrix, and the names of their columns where all are text."""

    values: Any
    names: Optional[NDArray[np.object_]]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return int(rows), int(columns)

    def native(self) -> Native:
        """As the native module takes them."""
        if isinstance(self.values, np.ndarray):
            return self.values
        starts = np.ascontiguousarray(self.values.indptr, dtype=np.int64)
        columns = np.ascontiguousarray(self.values.indices, dtype=np.int64)
        return starts, columns, np.ascontiguousarray(self.values.data, dtype=np.float32), self.shape[1]

    def take(self, places: NDArray[Any]) -> Rows:
        """The rows at these places, or where a mask is true."""
        return self._replace(values=self.values[places])


def rows_of(X: Any, owner: str) -> Rows:
    """Reads features.

    Parameters
    ----------
    X : array, sparse matrix, data frame, table or tensor of numbers
    owner : name of the estimator, for messages
    """
    if hasattr(X, "tocsr"):
        return _checked(Rows(_compressed(X), None), owner)
    if hasattr(X, "__arrow_c_stream__") and not (hasattr(X, "__array__") or hasattr(X, "columns")):
        X = _arrow(X)
    names = column_names(X)
    values = _dense(X)
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{values}\n")
    if values.dtype.kind in "USmM":
        raise ValueError(
            f"dtype='numeric' is not compatible with arrays of type {values.dtype}. "
            "Convert your data to numeric values explicitly instead."
        )
    if values.ndim < 2:
        shape = "scalar" if values.ndim == 0 else "1D"
        raise ValueError(
            f"Expected 2D array, got {shape} array instead:\narray={values}.\n"
            "Reshape your data either using array.reshape(-1, 1) if your data has a single feature "
            "or array.reshape(1, -1) if it contains a single sample."
        )
    if values.ndim > 2:
        raise ValueError(f"Found array with dim {values.ndim}, while dim <= 2 is required by {owner}.")
    # What float32 cannot hold becomes infinite, which is refused by name.
    with np.errstate(over="ignore"):
        kind = np.float16 if values.dtype == np.float16 else np.float32
        return _checked(Rows(np.ascontiguousarray(values, dtype=kind), names), owner)


def column_names(X: Any) -> Optional[NDArray[np.object_]]:
    """Names of the columns of a frame or table, where all of them are text."""
    names = None
    for attribute in ("column_names", "columns"):
        names = getattr(X, attribute, None)
        if names is not None:
            break
    if isinstance(X, np.ndarray) or names is None or callable(names):
        return None
    names = list(names)
    are_text = [isinstance(name, str) for name in names]
    if any(are_text) and not all(are_text):
        kinds = sorted({type(name).__qualname__ for name in names})
        raise TypeError(
            "Feature names are only supported if all input features have string names, "
            f"but your input has {kinds} as feature name / column name types. If you want feature names "
            "to be stored and validated, you must convert them all to strings, by using "
            "X.columns = X.columns.astype(str) for example. Otherwise you can remove feature / column "
            "names from your input data, or convert them all to a non-string data type."
        )
    if not names or not all(are_text) or _is_vector(X, names):
        return None
    return np.asarray(names, dtype=object)


def _is_vector(X: Any, names: list[str]) -> bool:
    """Whether a frame has one column, of lists."""
    return len(names) == 1 and _column(X, names[0]).ndim == 2


def _dense(X: Any) -> NDArray[Any]:
    if isinstance(X, np.ndarray):
        return _numbers(X)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        return np.asarray(X.float() if X.dtype == torch.bfloat16 else X)
    if hasattr(X, "fetchnumpy"):  # a relation of DuckDB
        found = X.fetchnumpy()
        return _filled([np.ma.filled(found[name].astype(np.float32), np.nan) for name in X.columns])
    is_frame = hasattr(X, "iloc") or hasattr(X, "column_names") or type(X).__module__.startswith("polars")
    if is_frame and len(getattr(X, "shape", ())) == 2:
        names = list(X.column_names if hasattr(X, "column_names") else X.columns)
        if hasattr(X, "iloc"):
            if len({str(kind) for kind in X.dtypes}) == 1 and X.dtypes.iloc[0].kind in "fiub":
                found = np.asarray(X)
                if found.dtype != object:
                    return found
            return _filled([_series(X.iloc[:, place]) for place in range(len(names))], len(X))
        return _filled([_column(X, name) for name in names], X.shape[0])
    return _numbers(np.asarray(X))


def _arrow(X: Any) -> Any:
    """A table from anything that exports an Arrow stream."""
    try:
        import pyarrow
    except ImportError:
        raise TypeError(f"X is a {type(X).__name__}, an Arrow stream: reading it needs pyarrow") from None
    return pyarrow.table(X)


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Objects as numbers."""
    return values.astype(np.float64) if values.dtype == object else values


def _column(X: Any, name: str) -> NDArray[Any]:
    """A column of a frame or table; two-dimensional where it holds lists."""
    return _series(X.column(name) if hasattr(X, "column_names") else X[name])


def _series(column: Any) -> NDArray[Any]:
    if hasattr(column, "combine_chunks"):  # of pyarrow
        width = getattr(column.type, "list_size", None)
        if width is not None:
            column = column.combine_chunks()
            column = column if hasattr(column, "flatten") and not hasattr(column, "chunks") else column.chunk(0)
            return np.asarray(column.flatten()).reshape(-1, width)
        return _numbers(np.asarray(column))
    if hasattr(column, "isna"):  # of pandas, where missing values of some types are no numbers
        if column.dtype.kind in "fiub" and isinstance(column.dtype, np.dtype):
            return np.asarray(column)
        if getattr(column.dtype, "name", "") == "category":
            column = column.astype(column.cat.categories.dtype)
        found = column.to_numpy()
        if len(found) and isinstance(found.flat[0], np.ndarray):
            return np.stack(list(found))
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    found = np.asarray(column)
    if found.dtype == object and len(found) and isinstance(found.flat[0], np.ndarray):
        return np.stack(list(found))
    return _numbers(found)


def _filled(columns: list[NDArray[Any]], rows: Optional[int] = None) -> NDArray[Any]:
    """Columns as rows of float32, each copied once; a single column of lists is the matrix."""
    if len(columns) == 1 and columns[0].ndim == 2:
        return columns[0]
    if rows is None:
        rows = len(columns[0]) if columns else 0
    out = np.empty((rows, len(columns)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for place, column in enumerate(columns):
            if column.dtype.kind == "c":
                raise ValueError("Complex data not supported")
            out[:, place] = column
    return out


def _compressed(X: Any) -> Any:
    """A sparse matrix as CSR with ascending columns, each once."""
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported")
    rows = X.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is X else rows
        rows.sum_duplicates()
    return rows


def _checked(rows: Rows, owner: str) -> Rows:
    for place, what in enumerate(("sample", "feature")):
        if rows.values.shape[place] == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={rows.values.shape}) "
                f"while a minimum of 1 is required by {owner}."
            )
    return rows
