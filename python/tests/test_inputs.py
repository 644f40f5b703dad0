"""The same rows in any form give the same model."""

from __future__ import annotations

import numpy as np
import pytest

from cbfit import BoostClassifier, LinearClassifier, compare
from conftest import long_tail

NAMES = list("abcde")


def forms(X):
    """The rows by the name of their form; ValueError-free, skipped where a library is absent."""
    yield "float64", X.astype(np.float64)
    yield "Fortran order", np.asfortranarray(X)
    yield "every second column", np.repeat(X, 2, axis=1)[:, ::2]
    yield "lists", X.tolist()
    yield "objects", X.astype(object)
    try:
        import pandas as pd

        yield "pandas", pd.DataFrame(X, columns=NAMES)
        mixed = pd.DataFrame(X, columns=NAMES).astype({"a": "float64", "b": "Float64"})
        yield "pandas, several types", mixed
        yield "pandas, Arrow types", pd.DataFrame(X, columns=NAMES).convert_dtypes(dtype_backend="pyarrow")
    except ImportError:
        pass
    try:
        import pyarrow as pa

        table = pa.table({name: X[:, place] for place, name in enumerate(NAMES)})
        yield "pyarrow", table
        yield "pyarrow batch", table.to_batches()[0]
        yield "pyarrow lists", pa.table({"embedding": pa.FixedSizeListArray.from_arrays(X.ravel(), X.shape[1])})

        class Stream:
            def __arrow_c_stream__(self, requested_schema=None):
                return table.__arrow_c_stream__(requested_schema)

        yield "an Arrow stream", Stream()
    except ImportError:
        pass
    try:
        import polars as pl

        yield "polars", pl.DataFrame(X, schema=NAMES)
        yield "polars arrays", pl.DataFrame({"v": X}, schema={"v": pl.Array(pl.Float32, X.shape[1])})
    except ImportError:
        pass
    try:
        import duckdb
        import pyarrow as pa

        arrow = pa.table({name: X[:, place] for place, name in enumerate(NAMES)})
        yield "duckdb", duckdb.from_arrow(arrow)
    except ImportError:
        pass
    try:
        import torch

        yield "torch", torch.from_numpy(X.copy()).requires_grad_()
    except ImportError:
        pass


@pytest.mark.parametrize("estimator", [LinearClassifier(ratio=3), BoostClassifier(ratio=3, n_estimators=5)])
@pytest.mark.filterwarnings("ignore:X (has|does not have) (valid )?feature names")
def test_forms_of_rows_do_not_matter(rows, estimator):
    X, y = rows
    expected = estimator.fit(X, y).predict_proba(X)
    seen = []
    for name, form in forms(X):
        model = estimator.fit(form, y)
        assert np.array_equal(model.predict_proba(form), expected), name
        assert np.array_equal(model.predict_proba(X), expected), name
        seen.append(name)
    assert len(seen) >= 5, seen


def test_half_precision_stays_where_it_lies():
    X, y = long_tail()
    half = X.astype(np.float16)
    a, b = (LinearClassifier(l2=1e-2, tol=1e-6).fit(rows, y).coef_ for rows in (half, half.astype(np.float32)))
    assert np.allclose(a, b, atol=1e-3)
    trees = [BoostClassifier(n_estimators=4).fit(rows, y) for rows in (half, half.astype(np.float32))]
    assert np.array_equal(trees[0].predict_proba(half), trees[1].predict_proba(X.astype(np.float16).astype(np.float32)))


def test_rows_in_place_are_not_changed_and_not_needed_writeable(many_rows):
    X, y = many_rows
    X = X.copy()
    X.flags.writeable = False
    before = X.copy()
    LinearClassifier(l2=1e-2, standardize=True).fit(X, y).predict(X)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_array", "coo_array"])
# Two fits within a thousandth of the lowest J may differ by a hundredth in a probability.
@pytest.mark.parametrize("estimator", [LinearClassifier(l2=1e-2, tol=1e-6), BoostClassifier(n_estimators=5, min_rows=3)])
def test_sparse_rows_are_the_dense_ones(kind, estimator):
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    X, y = long_tail()
    X = np.where(X > 0.5, X, 0)
    rows = getattr(sparse, kind)(X)
    model = estimator.fit(X, y)
    expected = model.predict_proba(X)
    assert np.allclose(model.predict_proba(rows), expected, atol=1e-6)
    assert np.allclose(estimator.fit(rows, y).predict_proba(X), expected, atol=1e-5)


def test_sparse_rows_with_entries_twice_and_out_of_order():
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    rows = sparse.csr_matrix((np.ones(5), [3, 0, 1, 1, 2], [0, 2, 4, 5]), shape=(3, 4))
    before = rows.copy()
    model = LinearClassifier(l2=1e-2).fit(rows, [0, 1, 1])
    assert np.array_equal(model.predict_proba(rows), model.predict_proba(rows.toarray()))
    assert np.array_equal(rows.indices, before.indices)


@pytest.mark.parametrize(
    "labels",
    [
        [3, -7, 12],
        [0.0, 1.0, 5.0],
        ["common", "rare", "Ünrare"],
        [True, False, True],
        [10**15, 5, -(10**15)],
        np.array(["a", "b", "c"], dtype=object),
        np.array([1, 2, 3], dtype=np.uint8),
    ],
)
def test_labels_of_any_type_come_back(rows, labels):
    X, codes = rows
    y = np.asarray(labels)[codes]
    model = LinearClassifier(l2=1e-2).fit(X, y)
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    assert model.classes_.dtype == y.dtype
    assert (model.predict(X) == y).mean() > 0.5


def test_series_as_labels(rows):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    X, codes = rows
    y = pd.Series(["common", "rare", "rarest"]).iloc[codes]
    expected = LinearClassifier(l2=1e-2).fit(X, y.to_list()).predict(X).tolist()
    for series in (y, y.astype("category"), y.astype(object)):
        assert LinearClassifier(l2=1e-2).fit(X, series).predict(X).tolist() == expected


def test_names_of_features_are_kept_and_checked(rows):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = rows
    table = pd.DataFrame(X, columns=NAMES)
    model = BoostClassifier(n_estimators=3, categorical_features=["a"]).fit(table.round(), y)
    assert model.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="same order"):
        model.predict(table[NAMES[::-1]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- z"):
        model.predict(table.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


def test_missing_values_are_for_trees(rows):
    X, y = rows
    X[::3, 1] = np.nan
    assert BoostClassifier(n_estimators=5).fit(X, y).predict_proba(X).shape == (len(y), 3)
    with pytest.raises(ValueError, match="Input X contains NaN.*BoostClassifier"):
        LinearClassifier().fit(X, y)


def test_a_comparison_is_a_table(rows):
    X, y = rows
    found = compare(X, y, learners=["linear", "boost"], weightings=["inverse", 0.99], folds=3)
    assert len(found) == len(found["value"]) == 8
    assert found.recommended in found["name"] and found.best in found["name"]
    assert found["difference"][0] is None and all(low <= high for low, high in zip(found["low"][1:], found["high"][1:]))
    assert str(found).endswith(found.verdict) and "<table>" in found._repr_html_()
    assert found["name"] == compare(X, y, learners=["linear", "boost"], weightings=["inverse", 0.99], folds=3)["name"]
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    assert isinstance(found.to_pandas(), pd.DataFrame)
    with pytest.raises(ValueError, match="metric"):
        compare(X, y, metric="beauty")
