"""The pages of docs/ that have ```python blocks between ```sh blocks, run in order; what they compute, held against cbfit.

    python -m pytest examples/test_documents.py -q -rs
"""

import csv
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from test_examples import cbfit  # noqa: F401  (a fixture)

np = pytest.importorskip("numpy")
ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("sklearn", "onnxruntime", "lightgbm")


def predicted(cbfit, model, data, *flags):  # noqa: F811
    done = subprocess.run([cbfit, "predict", model, data, "--proba", *flags], check=True, capture_output=True, text=True)
    head, *lines = csv.reader(done.stdout.splitlines())
    return [line[0] for line in lines], np.array([line[2:] for line in lines], dtype=float)


def test_models_elsewhere_say_what_cbfit_says(cbfit, tmp_path, monkeypatch):  # noqa: F811
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{cbfit.resolve().parent}{os.pathsep}{os.environ['PATH']}")
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```", (ROOT / "docs" / "exports.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") == 6
    has, missing = {}, []
    for kind, block in blocks:
        if kind == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", block], check=True, capture_output=True)
            continue
        absent = [name for name in PACKAGES if re.search(rf"\b(import|from) {name}\b", block) and not importlib.util.find_spec(name)]
        missing += absent
        if not absent and not ("logistic_regression" in block and "sklearn" in missing):
            exec(compile(block, "exports.md", "exec"), has)

    rows = np.load("data/digits_lt_train_features.npy")
    # f32 in cbfit, f64 here: logits of up to 30 over sums of 64 products differ by some 1e-5.
    close = lambda ours, theirs: np.allclose(ours, theirs, rtol=0, atol=2e-5)
    data = "data/digits_lt_train.parquet"
    for prior in ("trained", "natural", "uniform"):
        _, ours = predicted(cbfit, "digits.cbfit", data, "--prior", prior)
        bias = has["bias"] if prior == "trained" else has[prior]
        assert close(ours, has["softmax"](rows @ has["weight"].T + bias)), prior
    labels, natural = predicted(cbfit, "digits.cbfit", data, "--prior", "natural")
    if "sklearn" not in missing:
        assert close(has["digits"].predict_proba(rows), natural)
        assert has["digits"].predict(rows).astype(str).tolist() == labels
        pixel_labels, pixels = predicted(cbfit, "pixels.cbfit", "data/digits_lt_train.csv")
        with open("data/digits_lt_train.csv", newline="") as file:
            head, *lines = csv.reader(file)
        assert has["pixels"].feature_names_in_.tolist() == head[1:]
        table = np.array([line[1:] for line in lines], dtype=float)
        has["pixels"].__dict__.pop("feature_names_in_")  # a matrix has none, and scikit-learn would warn
        assert close(has["pixels"].predict_proba(table), pixels)
        assert has["pixels"].predict(table).astype(str).tolist() == pixel_labels
        two_classes(cbfit, has["logistic_regression"], tmp_path)
    if "onnxruntime" not in missing:
        assert close(has["probabilities"], natural) and has["labels"].astype(str).tolist() == labels
    if "lightgbm" not in missing:
        _, trees = predicted(cbfit, "trees.cbfit", "data/digits_lt_train.csv")
        assert close(has["booster"].predict(np.array([line[1:] for line in csv.reader(open("data/digits_lt_train.csv"))][1:], float)), trees)
    if missing:
        pytest.skip(f"blocks left out, since these are not installed: {', '.join(sorted(set(missing)))}")


def two_classes(cbfit, logistic_regression, folder):  # noqa: F811
    """scikit-learn has one row of weights for two classes."""
    rng = np.random.default_rng(4)
    rows = np.round(rng.normal(size=(120, 3)), 3)
    labels = np.where(rows[:, 0] + 0.3 * rng.normal(size=120) > 0.8, "rare", "common")
    lines = [",".join([*map(str, row), label]) for row, label in zip(rows, labels)]
    (folder / "two.csv").write_text("a,b,c,label\n" + "\n".join(lines) + "\n")
    subprocess.run([cbfit, "--train", "two.csv", "--beta", "0.9", "--l2", "1e-2", "-q", "-o", "two.cbfit"], check=True)
    subprocess.run([cbfit, "export", "two.cbfit", "--to", "csv", "-q", "-o", "two.weights.csv"], check=True)
    head, *lines = csv.reader((folder / "two.weights.csv").read_text().splitlines())
    table = np.array([line[1:] for line in lines], dtype=float)
    twin = logistic_regression(head[1:], table[1:].T, table[0])
    found, ours = predicted(cbfit, "two.cbfit", "two.csv")
    assert np.allclose(twin.predict_proba(rows), ours, rtol=0, atol=2e-5)
    assert twin.predict(rows).tolist() == found
