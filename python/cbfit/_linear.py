"""Linear classifiers."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from . import _core, _rules
from ._classifier import Classifier
from ._features import Rows


class LinearClassifier(Classifier):
    """Multinomial logistic, one-vs-rest or focal regression with class-balanced weights.

    The fit is the minimum of ``sum_i w_i loss(W x_i + b, y_i) / sum_i w_i + l2/2 ||W||^2``, where ``w_i`` is the weight of the
    row times that of its class: no weighting changes the strength of the penalty. scikit-learn's ``C`` is
    ``1 / (l2 * sum of w)``. Convex fits end with a certified bound on their distance from the minimum.

    Parameters
    ----------
    loss : {"softmax", "sigmoid", "focal", "softmax-focal"}
        Of all classes together, or of each against the others.
    weighting : {None, "inverse", "sqrt"} or dict of weights by class
        How classes are weighted. None weighs all rows alike.
    beta : float or str, optional
        Weights by the inverse effective number of samples ``(1 - beta^n) / (1 - beta)``: .9999, "1-1e-7" or "N=10000".
    ratio : float, optional
        The same with the beta whose largest weight is so many times the smallest.
    l2 : float, optional
        Strength of the penalty. Without it, it is chosen on held-out rows along a warm-started path, and the fit is repeated on
        all rows; where classes are too small to hold a row out, it is 1 / n_samples.
    gamma : float, optional
        Exponent of the focal losses [1].
    logit_adjust : float
        tau of the logit adjustment inside the loss (Menon et al., ICLR 2021).
    standardize : bool
        Whether columns are standardised for the fit; coefficients are over the features as they are given.
    prior : {"trained", "natural", "uniform"}, dict or array of shares
        What class frequencies predictions are for, where they are not told otherwise.
    tol : float
        Relative distance from the minimum to come within.
    max_iter : int
        Iterations at most.
    metric : str
        What chooses `l2`: "macro_recall", "macro_f1", "top1", "worst_class", "g_mean", "mcc", "log_loss", ...
    validation_fraction : float
        Share of each class that is held out to choose `l2`.
    warm_start : bool
        Whether `fit` starts from the parameters of the earlier one.
    random_state : int, RandomState or None
        Key of the draws: equal keys and data give equal models, on any number of threads. None is 0.
    n_jobs : int, optional
        Threads of a fit [all].

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_
        Of the rows fitted on.
    coef_, intercept_
        Weights and biases by class, of two classes those of the second one.
    class_weight_
        Weights of the classes in force, where the mean row weighs 1.
    n_iter_, l2_, gap_
        Iterations, the strength of the penalty, and the certified relative distance from the minimum.

    Examples
    --------
    >>> import numpy as np
    >>> from cbfit import LinearClassifier
    >>> y = np.repeat([0, 1, 2], [60, 20, 5])
    >>> X = np.eye(3)[y] + np.random.default_rng(0).normal(scale=.3, size=(85, 3))
    >>> model = LinearClassifier(ratio=4, l2=1e-2).fit(X, y)
    >>> float(round(model.class_weight_[2] / model.class_weight_[0], 6))
    4.0
    >>> model.predict_proba(X, prior="uniform").shape
    (85, 3)
    """

    def __init__(
        self,
        *,
        loss: str = "softmax",
        weighting: _rules.Weighting = None,
        beta: _rules.Beta = None,
        ratio: Optional[float] = None,
        l2: Optional[float] = None,
        gamma: Optional[float] = None,
        logit_adjust: float = 0.0,
        standardize: bool = False,
        prior: _rules.Prior = "trained",
        tol: float = 1e-3,
        max_iter: int = 1000,
        metric: str = "macro_recall",
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: Optional[int] = None,
    ) -> None:
        self.loss = loss
        self.weighting = weighting
        self.beta = beta
        self.ratio = ratio
        self.l2 = l2
        self.gamma = gamma
        self.logit_adjust = logit_adjust
        self.standardize = standardize
        self.prior = prior
        self.tol = tol
        self.max_iter = max_iter
        self.metric = metric
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _fit_codes(
        self,
        rows: Rows,
        codes: NDArray[np.uint32],
        weights: Optional[NDArray[np.float64]],
        common: dict[str, Any],
        start: Optional[_core.Model],
    ) -> _core.Model:
        l2 = self.l2
        if l2 is None and not _can_hold_out(codes, self.validation_fraction):
            l2 = 1.0 / len(codes)
        settings = {
            "l2": None if l2 is None else float(l2),
            "standardize": bool(self.standardize),
            "tolerance": float(self.tol),
            "max_iterations": _rules.whole("max_iter", self.max_iter, 1),
            "metric": self.metric,
            "valid_fraction": float(self.validation_fraction),
        }
        return _core.fit_linear(rows.native(), codes, weights, common, settings, start)

    @property
    def coef_(self) -> NDArray[np.float32]:
        """Weights over the features as they are given, (n_classes, n_features); one row of two classes."""
        return self._one_of_two(self._coefficients()[0])

    @property
    def intercept_(self) -> NDArray[np.float32]:
        """Biases, (n_classes,); one of two classes."""
        return self._one_of_two(self._coefficients()[1])

    @property
    def gap_(self) -> Optional[float]:
        """Certified bound on the distance of the objective from its minimum, relative to it; None of focal losses."""
        gap: Optional[float] = self._fitted().report()["relative_gap"]
        return gap

    def _coefficients(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = self._fitted().coefficients()
        if found is None:
            raise AttributeError("features are scaled to unit length row by row: there are no coefficients over them")
        return found

    def _one_of_two(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values if len(self.classes_) > 2 else values[1:] - values[:1]

    def to_sklearn(self, prior: _rules.Prior = None) -> Any:
        """This model as a `LogisticRegression`, with probabilities under a prior as in `predict_proba`.

        Only the softmax loss has the probabilities of one. A calibration, offsets of decisions and values for missing ones,
        which a model file may have, have no place in it: such models are refused.
        """
        from sklearn.linear_model import LogisticRegression

        if self.loss != "softmax":
            raise ValueError(f"LogisticRegression has the probabilities of loss='softmax', not of {self.loss!r}")
        model = self._fitted()
        if model.extras:
            raise ValueError(f"LogisticRegression has no place for {' and '.join(model.extras)} of this model: use to_onnx")
        weight, _ = self._coefficients()
        # Under any prior a softmax only moves the biases.
        origin = np.zeros((1, self.n_features_in_), dtype=np.float32)
        bias = model.decision(origin, self._shares(prior))[0]
        twin = LogisticRegression(C=1.0 / self.l2_ if self.l2_ > 0 else np.inf)
        twin.classes_ = self.classes_
        twin.coef_ = self._one_of_two(weight).astype(np.float64)
        twin.intercept_ = self._one_of_two(bias).astype(np.float64)
        twin.n_features_in_ = self.n_features_in_
        twin.n_iter_ = np.array([self.n_iter_], dtype=np.int32)
        if hasattr(self, "feature_names_in_"):
            twin.feature_names_in_ = self.feature_names_in_
        return twin


def _can_hold_out(codes: NDArray[np.uint32], share: float) -> bool:
    """Whether some class gives a row when this share of each is held out."""
    rows = int(np.bincount(codes).max())
    return rows > 1 and round(rows * share) >= 1
