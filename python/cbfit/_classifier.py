"""What the linear and the boosted estimator share."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Optional

import numpy as np
from numpy.typing import NDArray

from . import _core, _rules
from ._base import BaseEstimator, ClassifierMixin, ConvergenceWarning, NotFittedError
from ._features import Rows, rows_of
from ._labels import class_names, classes_of, codes_among, encoded, labels_of, row_weights

# Tables of so many values are put into one order before they are fitted.
_SMALL = 1 << 20


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A class-balanced classifier. Users have `LinearClassifier` and `BoostClassifier`."""

    _takes_missing: ClassVar[bool] = False

    # Parameters of all, which the constructors of the estimators set.
    loss: str
    gamma: Optional[float]
    weighting: _rules.Weighting
    beta: _rules.Beta
    ratio: Optional[float]
    logit_adjust: float
    prior: _rules.Prior
    warm_start: bool
    random_state: Any
    n_jobs: Optional[int]

    model_: _core.Model
    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits rows `X` with labels `y`.

        Parameters
        ----------
        X : array, sparse matrix, data frame, Arrow table or tensor, (n_samples, n_features)
            Numbers; C-ordered arrays of float32 and float16 are used where they lie.
        y : array of shape (n_samples,)
            Labels: numbers, text or booleans.
        sample_weight : array of shape (n_samples,), optional
            Weights of rows beside those of their classes. Rows of weight 0 are left out. In tables of up to a million
            values a whole number k stands for k rows, exactly.
        """
        owner = type(self).__name__
        labels = labels_of(y, owner)
        rows = rows_of(X, owner)
        if len(labels) != rows.shape[0]:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{[rows.shape[0], len(labels)]}"
            )
        weights = row_weights(sample_weight, len(labels))
        if weights is not None and not weights.all():
            used = weights > 0
            rows, labels, weights = rows.take(used), labels[used], weights[used]
        classes, codes = encoded(labels)
        if len(classes) < 2:
            raise ValueError("y has only one class: a classifier needs at least two classes")
        rows, codes, weights = _in_order(rows, codes, weights)
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        if start is not None and (
            not np.array_equal(self.classes_, classes) or self.n_features_in_ != rows.shape[1]
        ):
            raise ValueError("warm_start=True goes on with a model of other classes or features: set it to False")
        common = {
            "loss": self.loss,
            "gamma": _rules.focus(self.loss, self.gamma),
            "weighting": _rules.rule(self.weighting, self.beta, self.ratio, classes),
            "logit_adjust": float(self.logit_adjust),
            "seed": _rules.seed(self.random_state),
            "threads": _rules.threads(self.n_jobs),
        }
        model = self._fit_codes(rows, codes, weights, common, start)
        self._keep(model, classes, rows.names)
        if not model.report()["converged"]:
            warnings.warn(
                f"{owner} ended after {self.n_iter_} iterations before it came within its tolerance; "
                "raise max_iter or tol, or put the features on one scale (standardize=True)",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _fit_codes(
        self,
        rows: Rows,
        codes: NDArray[np.uint32],
        weights: Optional[NDArray[np.float64]],
        common: dict[str, Any],
        start: Optional[_core.Model],
    ) -> _core.Model:
        raise NotImplementedError

    def _keep(self, model: _core.Model, classes: NDArray[Any], names: Optional[NDArray[np.object_]]) -> None:
        self.model_ = model
        self.classes_ = classes
        self.n_features_in_ = model.features
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    # What was fitted

    @property
    def n_iter_(self) -> int:
        """Iterations of the solver, or rounds of trees."""
        return int(self._fitted().report()["steps"])

    @property
    def class_weight_(self) -> NDArray[np.float64]:
        """Weight of a row of each class, where the mean over rows is 1."""
        return self._fitted().class_weights()

    @property
    def l2_(self) -> float:
        """Strength of the penalty, given or chosen."""
        return float(self._fitted().report()["l2"])

    def _fitted(self) -> _core.Model:
        try:
            return self.model_
        except AttributeError:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with "
                "appropriate arguments before using this estimator."
            ) from None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # Predictions

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Scores of the classes, of two classes that of the second one.

        They are logits as trained; with another `prior` of the estimator, logarithms of probabilities under it. Offsets of
        decisions are not in them.
        """
        scores = self._fitted().decision(self._rows(X).native(), self._shares(None))
        if len(self.classes_) > 2:
            return scores
        difference: NDArray[np.float32] = scores[:, 1] - scores[:, 0]
        return difference

    def predict_proba(self, X: Any, prior: _rules.Prior = None) -> NDArray[np.float32]:
        """Probabilities of the classes.

        Parameters
        ----------
        X : rows as for `fit`
        prior : {"trained", "natural", "uniform"}, dict or array of shares by class, optional
            What class frequencies they are stated for: as trained (weights tilt them towards rare classes), the frequencies of
            the training rows, all classes alike, or the given ones. Without it, the `prior` of the estimator. A calibration,
            which a model file may have, acts under all of them but "trained".
        """
        return self._fitted().probabilities(self._rows(X).native(), self._shares(prior))

    def predict_log_proba(self, X: Any, prior: _rules.Prior = None) -> NDArray[np.float32]:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            logs: NDArray[np.float32] = np.log(self.predict_proba(X, prior))
        return logs

    def predict(self, X: Any, prior: _rules.Prior = None) -> NDArray[Any]:
        """The most probable class of each row, under a prior as in `predict_proba`.

        Under the prior "uniform" that is the class which maximises macro recall (balanced accuracy). Where a model file came
        with offsets of decisions, these decide under every prior.
        """
        codes = self._fitted().codes(self._rows(X).native(), self._shares(prior))
        found: NDArray[Any] = self.classes_[codes]
        return found

    def _shares(self, prior: _rules.Prior) -> Any:
        return _rules.shares(self.prior if prior is None else prior, self.classes_)

    def _rows(self, X: Any) -> Rows:
        self._fitted()
        rows = rows_of(X, type(self).__name__)
        self._check_names(rows.names)
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return rows

    def _check_names(self, names: Optional[NDArray[np.object_]]) -> None:
        """Warns where only one side has names of features, and refuses other names or another order."""
        fitted = getattr(self, "feature_names_in_", None)
        owner = type(self).__name__
        if names is None and fitted is None:
            return
        if fitted is None:
            warnings.warn(f"X has feature names, but {owner} was fitted without feature names", stacklevel=4)
            return
        if names is None:
            warnings.warn(
                f"X does not have valid feature names, but {owner} was fitted with feature names", stacklevel=4
            )
            return
        if np.array_equal(names, fitted):
            return
        message = "The feature names should match those that were passed during fit.\n"
        unexpected, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
        for what, which in (("unseen at fit time", unexpected), ("seen at fit time, yet now missing", missing)):
            if which:
                message += f"Feature names {what}:\n" + "".join(f"- {name}\n" for name in which[:5])
                message += "- ...\n" if len(which) > 5 else ""
        if not unexpected and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)

    # Files

    def _names(self) -> dict[str, Any]:
        kind, classes = class_names(self.classes_)
        columns = getattr(self, "feature_names_in_", None)
        return {"kind": kind, "classes": classes, "columns": None if columns is None else list(columns)}

    def save(self, path: Any) -> None:
        """Writes a model file, which `cbfit.load` and the command `cbfit predict` read. Classes are numbers, text or booleans."""
        self._fitted().save(str(path), self._names())

    def to_onnx(self, path: Any, prior: _rules.Prior = None) -> None:
        """Writes an ONNX file with labels and probabilities under a prior as in `predict_proba`."""
        self._fitted().save_onnx(str(path), self._names(), self._shares(prior))

    def _report(self, X: Any, y: Any, path: Any, prior: _rules.Prior, title: str) -> None:
        labels = labels_of(y, type(self).__name__)
        rows = self._rows(X)
        codes = codes_among(labels, self.classes_)
        model = self._fitted()
        _core.write_report(model, self._names(), rows.native(), codes, self._shares(prior), str(path), title)

    @classmethod
    def _of_file(cls, model: _core.Model, names: tuple[str, list[str], Optional[list[str]]]) -> Any:
        """An estimator around a model, with those of its parameters that a file has."""
        kind, classes, columns = names
        report = model.report()
        estimator = cls()
        found = classes_of(kind, classes)
        told: dict[str, Any] = {"loss": report["loss"], "prior": model.own_prior}
        # A file need not say.
        if np.isfinite(report["l2"]):
            told["l2"] = report["l2"]
        if report["loss"] in ("focal", "softmax-focal"):
            told["gamma"] = report["gamma"]
        if report["weighting"] == "effective":
            told["beta"] = report["beta"]
        elif report["weighting"] == "custom":
            told["weighting"] = dict(zip(found.tolist(), model.class_weights().tolist()))
        elif report["weighting"] != "none":
            told["weighting"] = report["weighting"]
        estimator.set_params(**told, **cls._told(report))
        estimator._keep(model, found, None if columns is None else np.asarray(columns, dtype=object))
        return estimator

    @classmethod
    def _told(cls, report: dict[str, Any]) -> dict[str, Any]:
        return {}

    # scikit-learn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._takes_missing
        return tags


def _in_order(
    rows: Rows, codes: NDArray[np.uint32], weights: Optional[NDArray[np.float64]]
) -> tuple[Rows, NDArray[np.uint32], Optional[NDArray[np.float64]]]:
    """Small tables with whole weights as copies of rows, in an order that depends on the rows alone.

    Sums in float32 depend on the order of rows in their last digits, and what is held out on how rows are counted. Here both
    are the same for a weight of k and k copies, and for rows that are shuffled.
    """
    count, columns = rows.shape
    if count * columns > _SMALL:
        return rows, codes, weights
    if weights is not None and (weights == np.floor(weights)).all() and weights.sum() * columns <= _SMALL:
        copies = np.repeat(np.arange(count), weights.astype(np.intp))
        rows, codes, weights = rows.take(copies), codes[copies], None
        count = len(codes)
    order = np.argsort(_keys(rows, codes, weights), kind="stable")
    return rows.take(order), codes[order], None if weights is None else weights[order]


def _keys(
    rows: Rows, codes: NDArray[np.uint32], weights: Optional[NDArray[np.float64]]
) -> NDArray[np.uint64]:
    """A number for each row that depends on its values, label and weight alone."""
    dense = rows.values if isinstance(rows.values, np.ndarray) else rows.values.toarray()
    # Adding 0 makes one zero of two.
    bits = (dense.astype(np.float32) + 0).view(np.uint32).astype(np.uint64)
    more = [codes] if weights is None else [codes, weights.view(np.uint64)]
    words: NDArray[np.uint64] = np.column_stack([bits, *more])
    # The finaliser of splitmix64 over words that are told apart by their columns; sums wrap around.
    words = words * np.uint64(0x9E3779B97F4A7C15) + np.arange(words.shape[1], dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    keys: NDArray[np.uint64] = (words ^ (words >> np.uint64(31))).sum(axis=1, dtype=np.uint64)
    return keys
