"""Models of the command in Python: all that their files hold is applied, and is in the files that are written again."""

from __future__ import annotations

import csv
import pickle

import numpy as np
import pytest

import cbfit
from cbfit import BoostClassifier, LinearClassifier
from conftest import told

NAMES = np.array(["common", "rare", "rarest"])
COLUMNS = ["a", "b", "c", "d", "e"]
LINEAR = ["--l2", "1e-3"]
HYBRID = ["--learner", "boost", "--rounds", "6", "--init", "linear:0.01"]
WEIGHTED = ["--beta", "0.99"]
PLAIN = ["--weighting", "none"]
# Flags, and whether rows may have gaps.
MODELS = {
    "temperature": ([*LINEAR, *WEIGHTED, "--calibrate", "temperature"], False),
    "vector": ([*LINEAR, *WEIGHTED, "--calibrate", "vector"], False),
    "offsets": ([*LINEAR, *PLAIN, "--offsets", "macro_recall"], False),
    "mean": ([*LINEAR, *WEIGHTED, "--missing", "mean"], True),
    "zero": ([*LINEAR, *WEIGHTED, "--missing", "zero", "--calibrate", "temperature"], True),
    "hybrid": ([*HYBRID, *WEIGHTED], True),
    "trees": (["--learner", "boost", "--rounds", "6", *PLAIN, "--calibrate", "vector", "--offsets", "macro_recall"], True),
}


@pytest.fixture
def with_gaps(rows):
    """Rows with missing values, and the codes of their classes."""
    X, y = rows
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.05] = np.nan
    return X, y


def trained(name, folder, rows, with_gaps):
    """A model of the command and the rows it was trained on, whose columns have names."""
    flags, may_have_gaps = MODELS[name]
    X, y = with_gaps if may_have_gaps else rows
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "label"])
        # What float32 prints is read back as it was; a gap is an empty cell.
        cells = [["" if np.isnan(value) else str(value) for value in row] for row in X]
        writer.writerows([*row, label] for row, label in zip(cells, NAMES[y]))
    told("--train", "rows.csv", *flags, "--valid-fraction", "0", "-o", "m.cbfit", folder=folder)
    return cbfit.load(folder / "m.cbfit"), X


def of_the_command(folder, model, *asked):
    """Probabilities and labels as `cbfit predict` writes them."""
    told("predict", model, "rows.csv", "--proba", *asked, "-o", "out.npy", folder=folder)
    told("predict", model, "rows.csv", *asked, "-o", "out.csv", folder=folder)
    with (folder / "out.csv").open(newline="") as file:
        table = csv.DictReader(file)
        labels = [row["prediction"] for row in table]
    return np.load(folder / "out.npy"), labels


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", MODELS)
def test_python_predicts_the_bytes_of_the_command(tmp_path, rows, with_gaps, name):
    model, X = trained(name, tmp_path, rows, with_gaps)
    assert isinstance(model, BoostClassifier if "boost" in MODELS[name][0] else LinearClassifier)
    assert model.prior == ("natural" if "--calibrate" in MODELS[name][0] else "trained")
    assert model.feature_names_in_.tolist() == COLUMNS
    model.save(tmp_path / "again.cbfit")
    others = [model, cbfit.load(tmp_path / "again.cbfit"), pickle.loads(pickle.dumps(model))]
    for prior in (None, "trained", "natural", "uniform"):
        asked = [] if prior is None else ["--prior", prior]
        probabilities, labels = of_the_command(tmp_path, "m.cbfit", *asked)
        for other in others:
            assert other.predict_proba(X, prior).tobytes() == probabilities.tobytes()
            assert other.predict(X, prior).tolist() == labels
        again, labels_again = of_the_command(tmp_path, "again.cbfit", *asked)
        assert again.tobytes() == probabilities.tobytes() and labels_again == labels
    # Written again, it is the same file to the last byte.
    assert (tmp_path / "again.cbfit").read_bytes() == (tmp_path / "m.cbfit").read_bytes()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", ["offsets", "trees"])
def test_offsets_decide_and_scores_are_without_them(tmp_path, rows, with_gaps, name):
    model, X = trained(name, tmp_path, rows, with_gaps)
    assert "offsets of decisions" in model.model_.extras
    decided = model.predict(X)
    assert (decided == model.predict(X, "uniform")).all()
    assert (decided != NAMES[model.predict_proba(X).argmax(axis=1)]).any()
    assert np.array_equal(model.decision_function(X).argmax(axis=1), model.predict_proba(X).argmax(axis=1))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_what_other_libraries_have_no_place_for_is_refused(tmp_path, rows, with_gaps):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    for name, what in (("vector", "a calibration"), ("offsets", "offsets of decisions"), ("mean", "missing ones")):
        model, _ = trained(name, tmp_path, rows, with_gaps)
        assert model.coef_.shape == (3, 5)
        with pytest.raises(ValueError, match=what):
            model.to_sklearn()
    told("--train", "rows.csv", *LINEAR, "--missing", "mean", "--head", "tau-norm:0.5", "-o", "t.cbfit", folder=tmp_path)
    with pytest.raises(ValueError, match="scaled or shifted"):
        cbfit.load(tmp_path / "t.cbfit").to_sklearn()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_trees_on_linear_functions_are_not_taken_for_trees_alone(tmp_path, rows, with_gaps):
    model, X = trained("hybrid", tmp_path, rows, with_gaps)
    assert not hasattr(model, "coef_") and not hasattr(model, "feature_importances_")
    y = model.predict(X)
    model.set_params(warm_start=True, n_estimators=10)
    with pytest.raises(ValueError, match="start from linear functions"):
        model.fit(X, y)
    # A new fit is one of trees alone, and says what its features gain.
    model.set_params(warm_start=False).fit(X, y)
    assert model.feature_importances_.shape == (5,)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_has_it_all(tmp_path, rows, with_gaps, name):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, X = trained(name, tmp_path, rows, with_gaps)
    model.to_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes())
    labels, probabilities = session.run(["label", "probabilities"], {"features": X})
    expected, names = of_the_command(tmp_path, "m.cbfit")
    assert np.allclose(probabilities, expected, atol=1e-5)
    assert (labels == np.array(names)).mean() > 0.99


def test_a_report_is_under_the_prior_of_the_model(tmp_path, rows, with_gaps):
    model, X = trained("trees", tmp_path, rows, with_gaps)
    table = {name: X[:, place] for place, name in enumerate(COLUMNS)}
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    cbfit.report(model, pd.DataFrame(table), model.predict(pd.DataFrame(table)), tmp_path / "r.html")
    assert "natural prior" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("flags", [["--learner", "boost", "--rounds", "3"], HYBRID, LINEAR])
def test_text_columns_are_refused_by_name(tmp_path, flags):
    lines = ["size,colour,label", *(f"{at % 7},{'red' if at % 3 else 'blue'},{'x' if at % 5 else 'y'}" for at in range(200))]
    (tmp_path / "text.csv").write_text("\n".join(lines) + "\n")
    told("--train", "text.csv", *WEIGHTED, *flags, "--valid-fraction", "0", "-o", "m.cbfit", folder=tmp_path)
    with pytest.raises(ValueError, match='text columns: .*"colour" as text; use cbfit predict'):
        cbfit.load(tmp_path / "m.cbfit")
