"""The estimators among those of scikit-learn."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from cbfit import BoostClassifier, LinearClassifier
from conftest import long_tail

ESTIMATORS = [LinearClassifier, BoostClassifier]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_check_of_scikit_learn_passes(estimator):
    results = check_estimator(estimator(), on_fail=None, on_skip=None)
    failed = {result["check_name"]: repr(result["exception"])[:500] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) > 50


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_tools_of_scikit_learn_take_them(rows, estimator):
    X, y = rows
    pipeline = make_pipeline(StandardScaler(), estimator(weighting="inverse"))
    assert pipeline.fit(X, y).score(X, y) > 0.5
    calibrated = CalibratedClassifierCV(estimator(), cv=3).fit(X, y)
    assert np.allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    search = GridSearchCV(estimator(), {"ratio": [None, 3.0]}, scoring="balanced_accuracy", cv=3).fit(X, y)
    assert search.best_score_ > 0.5
    assert cross_val_predict(estimator(), X, y, method="predict_proba", cv=3).shape == (len(y), 3)
    voting = VotingClassifier([("a", estimator()), ("b", LogisticRegression())], voting="soft").fit(X, y)
    assert voting.score(X, y) > 0.5


def test_jobs_of_joblib_find_the_same(rows):
    X, y = rows
    scores = [cross_validate(LinearClassifier(l2=1e-2), X, y, cv=4, n_jobs=jobs)["test_score"] for jobs in (1, 2)]
    assert np.array_equal(*scores)


def test_weights_of_rows_are_routed(rows):
    X, y = rows
    weights = np.where(y == 2, 20.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, LinearClassifier(l2=1e-2).set_fit_request(sample_weight=True))
        routed = pipeline.fit(X, y, sample_weight=weights)
        plain = make_pipeline(StandardScaler(), LinearClassifier(l2=1e-2)).fit(X, y)
    assert (routed.predict(X) == 2).sum() > (plain.predict(X) == 2).sum()


def test_macro_recall_is_what_the_uniform_prior_is_for(rows):
    (X, y), (other_X, other_y) = long_tail(counts=(2000, 100, 20)), long_tail(1, counts=(300, 300, 300))
    recall = {
        prior: LinearClassifier(l2=1e-3, prior=prior).fit(X, y).score(other_X, other_y) for prior in ("trained", "uniform")
    }
    assert recall["uniform"] > recall["trained"] + 0.05


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pickles_and_clones_predict_the_same(rows, estimator):
    X, y = rows
    names = np.array(["common", "rare", "rarest"])[y]
    model = estimator(beta=0.99).fit(X, names)
    back = pickle.loads(pickle.dumps(model))
    assert np.array_equal(back.predict_proba(X), model.predict_proba(X))
    assert back.get_params() == model.get_params() and back.classes_.tolist() == model.classes_.tolist()
    assert not hasattr(clone(model), "model_")
    assert np.array_equal(clone(model).fit(X, names).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [0.05, 5.0])
def test_logistic_regression_finds_the_same_minimum(classes, c):
    counts = (150, 60, 30, 20)[:classes]
    X, y = long_tail(3, counts)
    weight = {code: 1.0 / count for code, count in enumerate(counts)}
    row = np.array([weight[code] for code in y])
    row *= len(y) / row.sum()
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(X, y, sample_weight=row)
    ours = LinearClassifier(weighting="inverse", l2=1 / (c * len(y)), tol=1e-7).fit(X, y)
    if classes == 2:
        # Its two classes share one weight vector w of penalty |w|^2; here they are w/2 and -w/2 of half that.
        ours = LinearClassifier(weighting="inverse", l2=2 / (c * len(y)), tol=1e-7).fit(X, y)
    assert np.allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-3)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-2, rtol=1e-2)

    def objective(probabilities, coef):
        loss = -np.log(probabilities[np.arange(len(y)), y].astype(float)) @ row / len(y)
        return loss + (coef.astype(float) ** 2).sum() / (2 * c * len(y))

    least = objective(theirs.predict_proba(X), theirs.coef_)
    assert objective(ours.predict_proba(X), ours.coef_) <= least * (1 + 1e-4)


@pytest.mark.parametrize("prior", ["trained", "natural", "uniform"])
@pytest.mark.parametrize("counts", [(300, 15), (300, 60, 15)])
def test_a_logistic_regression_is_made_of_it(prior, counts):
    X, y = long_tail(counts=counts)
    model = LinearClassifier(ratio=5, standardize=True, logit_adjust=0.5, l2=1e-3).fit(X, y)
    twin = model.to_sklearn(prior)
    assert np.allclose(twin.predict_proba(X), model.predict_proba(X, prior), atol=1e-5)
    with pytest.raises(ValueError, match="softmax"):
        LinearClassifier(loss="sigmoid", l2=1e-2).fit(X, y).to_sklearn()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_weights_of_rows_are_copies(many_rows, estimator):
    X, y = long_tail(5)
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    places = np.random.default_rng(1).permutation(np.repeat(np.arange(len(y)), weights))
    a = estimator().fit(X, y, sample_weight=weights).predict_proba(X)
    assert np.array_equal(a, estimator().fit(X[places], y[places]).predict_proba(X))
    # Beyond small tables they are the same up to rounding.
    if estimator is LinearClassifier:
        X, y = many_rows
        weights = np.random.default_rng(0).integers(0, 3, len(y))
        model = LinearClassifier(l2=1e-2, tol=1e-7)
        a = clone(model).fit(X, y, sample_weight=weights).predict_proba(X)
        b = clone(model).fit(np.repeat(X, weights, 0), np.repeat(y, weights)).predict_proba(X)
        assert np.allclose(a, b, atol=1e-3)


def test_lightgbm_is_no_better():
    lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    from sklearn.metrics import balanced_accuracy_score, log_loss

    (X, y), (other_X, other_y) = long_tail(7, (6000, 1500, 300), 8), long_tail(8, (3000, 750, 150), 8)
    common = {"n_estimators": 60, "learning_rate": 0.1}
    ours = BoostClassifier(max_leaves=15, **common).fit(X, y)
    theirs = lightgbm.LGBMClassifier(num_leaves=15, verbose=-1, **common).fit(X, y)
    losses = [log_loss(other_y, model.predict_proba(other_X)) for model in (ours, theirs)]
    assert losses[0] < 1.05 * losses[1], losses
    recall = [balanced_accuracy_score(other_y, model.predict(other_X)) for model in (ours, theirs)]
    assert recall[0] > recall[1] - 0.03, recall
