"""Fits: what they refuse, how they end, what goes on while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import numpy as np
import pytest

import cbfit
from cbfit import BoostClassifier, ConvergenceWarning, LinearClassifier, effective_weights, sample_weights
from conftest import long_tail


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (LinearClassifier(loss="hinge"), "loss.*hinge"),
        (LinearClassifier(gamma=2), "gamma has no effect with loss='softmax'"),
        (LinearClassifier(loss="focal", gamma=-1), "gamma"),
        (LinearClassifier(beta=1.0), "beta.*1"),
        (LinearClassifier(beta="0,999"), "comma"),
        (LinearClassifier(beta=0.9, ratio=2), "one of them"),
        (LinearClassifier(beta=0.9, weighting="inverse"), "no effect"),
        (LinearClassifier(weighting="effective"), "needs beta"),
        (LinearClassifier(weighting="balanced"), "inverse"),
        (LinearClassifier(weighting={0: 1.0, 1: 2.0}), "lacks"),
        (LinearClassifier(weighting={0: 1.0, 1: 2.0, 2: -1.0}), "weigh"),
        (LinearClassifier(weighting={0: 1.0, 1: 2.0, 2: 3.0, 9: 1.0}), "names"),
        (LinearClassifier(ratio=1e9), "ratio"),
        (LinearClassifier(l2=-1), "l2"),
        (LinearClassifier(l2=float("nan")), "l2"),
        (LinearClassifier(tol=0), "tol "),
        (LinearClassifier(max_iter=0), "max_iter"),
        (LinearClassifier(max_iter=True), "max_iter"),
        (LinearClassifier(metric="beauty"), "beauty"),
        (LinearClassifier(validation_fraction=1.5), "validation_fraction"),
        (LinearClassifier(n_jobs=0), "n_jobs"),
        (LinearClassifier(random_state=-1), "random_state"),
        (LinearClassifier(logit_adjust=float("inf")), "logit_adjust"),
        (BoostClassifier(n_estimators=0), "n_estimators"),
        (BoostClassifier(learning_rate=0), "learning_rate"),
        (BoostClassifier(max_leaves=1), "max_leaves"),
        (BoostClassifier(max_bins=10_000), "max_bins"),
        (BoostClassifier(row_sample=2), "row_sample"),
        (BoostClassifier(trees="oak"), "oak"),
        (BoostClassifier(curvature="flat"), "flat"),
        (BoostClassifier(categorical_features=[7]), "categorical_features"),
        (BoostClassifier(categorical_features=["a"]), "categorical_features"),
    ],
)
def test_values_out_of_range_are_refused_by_name(rows, estimator, match):
    with pytest.raises(ValueError, match=match) as caught:
        estimator.fit(*rows)
    assert "--" not in str(caught.value), "flags of the command are no help in Python"


def test_priors_out_of_range_are_refused(rows):
    X, y = rows
    model = LinearClassifier(l2=1e-2).fit(X, y)
    for prior in ("flat", [0.5, 0.5], [0.5, -1, 0.5], {0: 1.0}, [np.nan] * 3):
        with pytest.raises(ValueError, match="prior|share"):
            model.predict_proba(X, prior=prior)
    shares = model.predict_proba(X, prior=[1, 1, 1])
    assert np.allclose(shares, model.predict_proba(X, prior="uniform"), atol=1e-6)
    assert np.array_equal(shares, model.predict_proba(X, prior={2: 1.0, 0: 1.0, 1: 1.0}))


def test_the_natural_prior_is_that_of_the_rows(rows):
    X, y = rows
    for model in (LinearClassifier(weighting="inverse", l2=1e-3), BoostClassifier(weighting="inverse")):
        model.fit(X, y)
        natural = model.predict_proba(X, prior="natural").mean(axis=0)
        assert np.allclose(natural, np.bincount(y) / len(y), atol=0.03)
        assert model.predict_proba(X)[:, 2].mean() > 1.5 * natural[2]


def test_scores_and_labels_agree(rows):
    X, y = rows
    for prior in ("trained", "natural", "uniform"):
        for loss in ("softmax", "sigmoid", "focal", "softmax-focal"):
            model = LinearClassifier(loss=loss, l2=1e-2, prior=prior, ratio=4).fit(X, y)
            assert np.array_equal(model.classes_[model.decision_function(X).argmax(axis=1)], model.predict(X))
            model.fit(X, y > 0)
            assert np.array_equal(model.decision_function(X) > 0, model.predict(X))
            assert model.coef_.shape == (1, 5) and model.intercept_.shape == (1,)


def test_a_fit_that_ends_early_warns(rows):
    X, y = rows
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = LinearClassifier(l2=1e-6, tol=1e-9, max_iter=2).fit(X, y)
    assert model.n_iter_ == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LinearClassifier(l2=1e-2).fit(X, y).gap_ <= 1e-3


def test_fits_go_on(rows):
    X, y = rows
    whole = BoostClassifier(n_estimators=12, min_rows=5).fit(X, y)
    parts = BoostClassifier(n_estimators=7, min_rows=5, warm_start=True).fit(X, y)
    parts.set_params(n_estimators=12).fit(X, y)
    assert np.array_equal(parts.predict_proba(X), whole.predict_proba(X)) and parts.n_iter_ == 12
    with pytest.warns(UserWarning, match="without increasing"):
        parts.fit(X, y)
    with pytest.raises(ValueError, match="larger or equal"):
        parts.set_params(n_estimators=3).fit(X, y)
    linear = LinearClassifier(l2=1e-3, warm_start=True).fit(X, y)
    assert linear.n_iter_ > 0 and linear.fit(X, y).n_iter_ == 0
    with pytest.raises(ValueError, match="warm_start"):
        linear.fit(X[:, :2], y)


def test_the_same_rows_give_the_same_model_on_any_number_of_threads(many_rows):
    X, y = many_rows
    for estimator in (LinearClassifier(beta=0.999, l2=1e-3), BoostClassifier(n_estimators=5, row_sample=0.5)):
        found = [estimator.set_params(n_jobs=jobs).fit(X, y).predict_proba(X[:500]) for jobs in (1, 2, 3)]
        assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


SLOW = """
import numpy as np, sys, time
from cbfit import LinearClassifier, BoostClassifier, compare
rng = np.random.default_rng(0)
X = rng.normal(size=(60_000, 100)).astype(np.float32)
y = rng.integers(0, 12, len(X))
print("ready", flush=True)
try:
    {call}
    print("finished")
except KeyboardInterrupt:
    print("interrupted", time.time())
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "call",
    [
        "while True: LinearClassifier(loss='focal', tol=1e-9, max_iter=100_000).fit(X, y)",
        "while True: LinearClassifier(standardize=True).fit(X, y)",
        "BoostClassifier(n_estimators=100_000).fit(X, y)",
        "compare(X, y, learners=['boost'])",
    ],
)
def test_ctrl_c_ends_a_fit(call):
    process = subprocess.Popen([sys.executable, "-c", SLOW.format(call=call)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    answer = process.communicate(timeout=60)[0]
    assert answer.startswith("interrupted") and process.returncode == 0


def test_other_threads_run_during_a_fit(many_rows):
    X, y = many_rows
    worker = threading.Thread(target=LinearClassifier(l2=1e-8, tol=1e-10, max_iter=200).fit, args=(X, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worker.start()
        turns = 0
        while worker.is_alive():
            turns += 1
            time.sleep(0.001)
        worker.join()
    assert turns > 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_children_of_a_process_that_has_fitted_can_fit(rows):
    X, y = rows
    model = LinearClassifier(l2=1e-2).fit(X, y)
    child = os.fork()
    if child == 0:
        same = np.array_equal(LinearClassifier(l2=1e-2).fit(X, y).coef_, model.coef_)
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("a child process hangs")


def test_effective_weights_are_those_of_the_paper():
    counts = np.array([5000, 500, 50])
    beta = 0.999
    paper = (1 - beta) / (1 - beta**counts)
    assert np.allclose(effective_weights(counts, beta=beta, normalise="classes"), paper / paper.sum() * 3)
    assert np.allclose(effective_weights(counts, beta=beta, normalise="none"), paper)
    samples = effective_weights(counts, beta="1-1e-3")
    assert np.isclose(samples @ counts, counts.sum())
    assert effective_weights(counts, ratio=7)[2] / effective_weights(counts, ratio=7)[0] == pytest.approx(7)
    assert effective_weights({"a": 3, "b": 1}, ratio=2).keys() == {"a", "b"}
    y = np.repeat(["x", "y"], [30, 10])
    weights = sample_weights(y, beta=0.9)
    assert np.isclose(weights.mean(), 1)
    assert effective_weights(y=y, beta=0.9)["y"] == weights[-1]
    for wrong in ({"counts": [1, 2]}, {"counts": [1, -2], "beta": 0.9}, {"counts": [0, 0], "beta": 0.9}):
        with pytest.raises(ValueError):
            effective_weights(**wrong)
    with pytest.raises(ValueError, match="normalise"):
        effective_weights([1, 2], beta=0.9, normalise="all")


def test_weights_of_classes_are_those_of_a_fit(rows):
    X, y = rows
    expected = effective_weights(np.bincount(y), beta=0.99)
    for estimator in (LinearClassifier(beta=0.99, l2=1e-2), BoostClassifier(beta=0.99, n_estimators=2)):
        assert np.allclose(estimator.fit(X, y).class_weight_, expected)
    given = LinearClassifier(weighting={2: 5.0, 1: 2.0, 0: 1.0}, l2=1e-2).fit(X, y).class_weight_
    assert np.allclose(given / given[0], [1, 2, 5])


def test_importing_is_light():
    code = textwrap.dedent("""
        import sys, cbfit
        assert "sklearn" not in sys.modules and "numpy" not in sys.modules, "lazy"
        cbfit.LinearClassifier
        assert "torch" not in sys.modules
    """)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scikit_learn_is_not_needed():
    code = textwrap.dedent("""
        import sys
        sys.modules["sklearn"] = sys.modules["sklearn.base"] = None
        import numpy as np, pickle
        from cbfit import LinearClassifier, BoostClassifier, ConvergenceWarning
        X = np.random.default_rng(0).normal(size=(60, 3)); y = (X[:, 0] > 0).astype(int)
        for model in (LinearClassifier(ratio=1.0), BoostClassifier(n_estimators=3)):
            assert model.fit(X, y).score(X, y) > .7
            assert model.get_params()["loss"] == "softmax" and "Classifier(" in repr(model)
            assert pickle.loads(pickle.dumps(model)).predict(X).shape == (60,)
            try:
                model.set_params(nonsense=1)
            except ValueError as error:
                assert "nonsense" in str(error)
            else:
                raise SystemExit("no such parameter")
            try:
                type(model)().predict(X)
            except ValueError as error:
                assert "not fitted" in str(error)
    """)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_panic_is_an_exception(rows):
    """No input is known that panics: what the native module does with one is seen at its own checks."""
    X, y = rows
    core = cbfit._core
    with pytest.raises((TypeError, ValueError)):
        core.fit_linear(X.astype(np.float64), y.astype(np.uint32), None, {}, {}, None)
    sparse = (np.array([0, 9]), np.array([1]), np.array([1.0], dtype=np.float32), 2)
    model = LinearClassifier(l2=1e-2).fit(X[:, :2], y).model_
    for bad in (
        sparse,
        (np.array([0, -1]), *sparse[1:]),
        (np.array([0, 1]), np.array([5]), *sparse[2:]),
        (np.array([0, 1]), np.array([-5]), *sparse[2:]),
        (np.array([0, 2]), np.array([1, 1]), np.ones(2, dtype=np.float32), 2),
        (np.array([0, 2]), np.array([1, 0]), np.ones(2, dtype=np.float32), 2),
    ):
        with pytest.raises(ValueError, match="sparse X"):
            model.decision(bad, "trained")
