"""Model files between Python and the command, reports, ONNX, and files that are none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cbfit
from cbfit import BoostClassifier, LinearClassifier, ModelError
from conftest import command, told

ESTIMATORS = [
    LinearClassifier(ratio=4, l2=1e-3, standardize=True),
    LinearClassifier(loss="focal", gamma=0.5, weighting="inverse", l2=1e-3),
    LinearClassifier(loss="sigmoid", beta="1-1e-3", logit_adjust=0.5, l2=1e-3),
    BoostClassifier(weighting="sqrt", n_estimators=6),
]


@pytest.mark.parametrize("prior", ["trained", "natural", "uniform"])
@pytest.mark.parametrize("model", ESTIMATORS)
def test_the_command_predicts_the_same_bytes(tmp_path, rows, model, prior):
    X, y = rows
    model = model.fit(X, np.array(["common", "rare", "rarest"])[y])
    model.save(tmp_path / "m.cbfit")
    np.save(tmp_path / "rows.npy", X)
    asked = [] if prior == "trained" else ["--prior", prior]
    told("predict", "m.cbfit", "rows.npy", "--proba", *asked, "-o", "out.npy", folder=tmp_path)
    theirs = np.load(tmp_path / "out.npy")
    assert theirs.tobytes() == model.predict_proba(X, prior).tobytes()


@pytest.mark.parametrize("learner", ["linear", "boost"])
def test_models_of_the_command_are_read(tmp_path, rows, learner):
    X, y = rows
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "labels.npy", y * 10)
    settings = ["--l2", "1e-3"] if learner == "linear" else ["--rounds", "5"]
    train = ["--train", "rows.npy", "--label-file", "labels.npy", "--beta", "0.99", "--valid-fraction", "0"]
    told(*train, "--learner", learner, *settings, "-o", "m.cbfit", folder=tmp_path)
    told("predict", "m.cbfit", "rows.npy", "--proba", "-o", "out.npy", folder=tmp_path)
    model = cbfit.load(tmp_path / "m.cbfit")
    assert isinstance(model, LinearClassifier if learner == "linear" else BoostClassifier)
    assert model.classes_.tolist() == [0, 10, 20] and str(model.beta) == "0.99"
    assert model.predict_proba(X).tobytes() == np.load(tmp_path / "out.npy").tobytes()
    model.save(tmp_path / "again.cbfit")
    assert cbfit.load(tmp_path / "again.cbfit").predict_proba(X).tobytes() == model.predict_proba(X).tobytes()


@pytest.mark.parametrize("model", ESTIMATORS)
def test_files_bring_estimators_back(tmp_path, rows, model):
    X, y = rows
    for labels in (y, y.astype(float) - 1, np.array(["a", "b", "ü"])[y], np.array([True, False, True])[y]):
        model.fit(X, labels)
        model.save(tmp_path / "m.cbfit")
        back = cbfit.load(tmp_path / "m.cbfit")
        assert back.classes_.tolist() == model.classes_.tolist()
        assert np.array_equal(back.predict(X), model.predict(X))
        assert np.array_equal(back.predict_proba(X, "uniform"), model.predict_proba(X, "uniform"))
        assert np.array_equal(back.class_weight_, model.class_weight_)
        assert (back.loss, back.gamma, back.n_iter_) == (model.loss, model.gamma, model.n_iter_)
    # What was read can be fitted again.
    back.fit(X, labels)


def test_names_of_features_travel(tmp_path, rows):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = rows
    table = pd.DataFrame(X, columns=["a", "b", "c", "d", "e"])
    model = LinearClassifier(l2=1e-2).fit(table, y)
    cbfit.save(model, tmp_path / "m.cbfit")
    assert cbfit.load(tmp_path / "m.cbfit").feature_names_in_.tolist() == ["a", "b", "c", "d", "e"]
    table[["e", "c", "a", "b", "d"]].to_csv(tmp_path / "rows.csv", index=False)
    told("predict", "m.cbfit", "rows.csv", "--proba", "-o", "out.npy", folder=tmp_path)
    assert np.load(tmp_path / "out.npy").tobytes() == model.predict_proba(table).tobytes()


def test_vectors_of_tables_are_scored_by_the_command(tmp_path, rows):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    X, y = rows
    vectors = pa.FixedSizeListArray.from_arrays(X.ravel(), X.shape[1])
    table = pa.table({"embedding": vectors})
    pq.write_table(table, tmp_path / "rows.parquet")
    model = LinearClassifier(l2=1e-2).fit(table, y)
    model.save(tmp_path / "m.cbfit")
    told("predict", "m.cbfit", "rows.parquet", "--proba", "-o", "out.npy", folder=tmp_path)
    assert np.load(tmp_path / "out.npy").tobytes() == model.predict_proba(table).tobytes()


@pytest.mark.parametrize("model", ESTIMATORS)
def test_damaged_files_and_pickles_are_errors(tmp_path, rows, model):
    X, y = rows
    model.fit(X, y)
    path = tmp_path / "m.cbfit"
    model.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.3:
            damaged = damaged[: int(rng.integers(len(damaged)))]
        path.write_bytes(bytes(damaged))
        try:
            cbfit.load(path).predict_proba(X)
        except (ModelError, ValueError):
            pass
    for text in (b"", b"\xff" * 100, whole[:-1], whole + b"x"):
        path.write_bytes(text)
        with pytest.raises(ModelError, match="m.cbfit"):
            cbfit.load(path)
        with pytest.raises(ModelError, match="memory"):
            cbfit._core.model_from_bytes(text)
    state = pickle.dumps(model)
    for _ in range(50):
        damaged = bytearray(state)
        place = state.find(whole[:8]) if whole[:8] in state else len(state) // 2
        damaged[int(rng.integers(place, len(state)))] ^= 0xFF
        try:
            pickle.loads(bytes(damaged))
        except Exception as error:  # what pickle itself raises is its own affair
            assert "internal error" not in str(error)


def test_missing_files_and_folders_are_os_errors(tmp_path, rows):
    with pytest.raises(FileNotFoundError) as caught:
        cbfit.load(tmp_path / "absent.cbfit")
    assert caught.value.filename.endswith("absent.cbfit")
    X, y = rows
    model = LinearClassifier(l2=1e-2).fit(X, y)
    with pytest.raises(OSError):
        model.save(tmp_path / "no folder" / "m.cbfit")
    with pytest.raises(IsADirectoryError):
        cbfit.load(tmp_path)
    assert issubclass(ModelError, ValueError)


@pytest.mark.parametrize("prior", ["trained", "natural", "uniform"])
@pytest.mark.parametrize("model", ESTIMATORS)
def test_onnx_runtimes_give_the_same(tmp_path, rows, model, prior):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    X, y = rows
    names = np.array(["common", "rare", "rarest"])[y]
    model.fit(X, names).to_onnx(tmp_path / "m.onnx", prior=prior)
    session = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes())
    labels, probabilities = session.run(["label", "probabilities"], {"features": X})
    assert np.allclose(probabilities, model.predict_proba(X, prior), atol=1e-5)
    assert (labels == model.predict(X, prior)).mean() > 0.99


def test_a_report_is_a_page(tmp_path, rows):
    X, y = rows
    names = np.array(["common", "rare", "<b>&"])[y]
    model = LinearClassifier(l2=1e-2).fit(X[:300], names[:300])
    cbfit.report(model, X, np.where(np.arange(len(y)) == 0, "unknown", names), tmp_path / "r.html", prior="uniform")
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!") and "uniform" in page and "<b>&" not in page


def test_the_command_is_there(tmp_path):
    assert told("--version", folder=tmp_path).strip() == f"cbfit {cbfit.__version__}"
    done = command("predict", "absent.cbfit", "x.npy", folder=tmp_path)
    assert done.returncode == 4 and "error[E0401]" in done.stderr
    assert command("--nonsense", folder=tmp_path).returncode == 2
    path = tmp_path / "counts.csv"
    path.write_text("class,count\na,500\nb,20\n")
    assert "a" in told("weights", path, "--beta", "0.99", folder=tmp_path)
    installed = Path(sys.executable).with_name("cbfit")
    if installed.exists():
        done = subprocess.run([installed, "--version"], capture_output=True, text=True)
        assert done.stdout.startswith("cbfit ")
