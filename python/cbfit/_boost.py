"""Boosted trees."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _core, _rules
from ._classifier import Classifier
from ._features import Rows


class BoostClassifier(Classifier):
    """Histogram gradient boosting on class-balanced gradients; missing values (NaN) are taken as they are.

    Weights have mean one where they meet `l2`, `min_child_weight` and the learning rate: these mean the same under every
    weighting.

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
    n_estimators : int
        Rounds.
    learning_rate : float
        Share of each step that is taken, in (0, 1].
    max_leaves : int
        Most leaves of a tree.
    max_depth : int, optional
        Most cuts between the root and a leaf [any].
    min_rows : int
        Fewest training rows of a leaf, and at most half of the rows of a class.
    min_child_weight : float
        Least Hessian of a leaf, in average rows.
    l2 : float, optional
        Added to the Hessian of a leaf, in average rows [16, with trees for all classes 1].
    min_gain : float
        Loss that a cut must take away, in average rows.
    row_sample, column_sample : float
        Share of the rows of each class that a round, and of the features that a tree may use, in (0, 1].
    max_bins : int
        Bins of a feature, at most 254.
    trees : {"auto", "per_class", "vector"}
        One tree a class and round, or one for all of them; "auto" takes one for all from eight classes on.
    curvature : {"newton", "absolute"}, optional
        What stands for the second derivative [newton, with trees for all classes absolute].
    categorical_features : list of int or of names, optional
        Columns whose numbers are codes of categories and have no order.
    gamma : float, optional
        Exponent of the focal losses [1].
    logit_adjust : float
        tau of the logit adjustment inside the loss (Menon et al., ICLR 2021).
    prior : {"trained", "natural", "uniform"}, dict or array of shares
        What class frequencies predictions are for, where they are not told otherwise.
    warm_start : bool
        Whether `fit` goes on with the rounds of the earlier one, up to `n_estimators`.
    random_state : int, RandomState or None
        Key of the draws: equal keys and data give equal models, on any number of threads. None is 0.
    n_jobs : int, optional
        Threads of a fit [all].

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_
        Of the rows fitted on.
    class_weight_
        Weights of the classes in force, where the mean row weighs 1.
    feature_importances_
        What trees gain by each feature, as shares; trees of a model file that start from linear functions have none.
    n_iter_
        Rounds.

    Examples
    --------
    >>> import numpy as np
    >>> from cbfit import BoostClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 3))
    >>> y = (X[:, 0] > 1.5).astype(int)
    >>> model = BoostClassifier(weighting="inverse", n_estimators=20).fit(X, y)
    >>> int(model.feature_importances_.argmax())
    0
    """

    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        *,
        loss: str = "softmax",
        weighting: _rules.Weighting = None,
        beta: _rules.Beta = None,
        ratio: Optional[float] = None,
        n_estimators: int = 100,
        learning_rate: float = 0.1,
        max_leaves: int = 31,
        max_depth: Optional[int] = None,
        min_rows: int = 20,
        min_child_weight: float = 0.1,
        l2: Optional[float] = None,
        min_gain: float = 0.0,
        row_sample: float = 1.0,
        column_sample: float = 1.0,
        max_bins: int = 254,
        trees: str = "auto",
        curvature: Optional[str] = None,
        categorical_features: Optional[Sequence[Union[int, str]]] = None,
        gamma: Optional[float] = None,
        logit_adjust: float = 0.0,
        prior: _rules.Prior = "trained",
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: Optional[int] = None,
    ) -> None:
        self.loss = loss
        self.weighting = weighting
        self.beta = beta
        self.ratio = ratio
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_leaves = max_leaves
        self.max_depth = max_depth
        self.min_rows = min_rows
        self.min_child_weight = min_child_weight
        self.l2 = l2
        self.min_gain = min_gain
        self.row_sample = row_sample
        self.column_sample = column_sample
        self.max_bins = max_bins
        self.trees = trees
        self.curvature = curvature
        self.categorical_features = categorical_features
        self.gamma = gamma
        self.logit_adjust = logit_adjust
        self.prior = prior
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
        rounds = _rules.whole("n_estimators", self.n_estimators, 1)
        if start is not None:
            rounds -= start.report()["steps"]
            if rounds < 0:
                raise ValueError(
                    f"n_estimators={self.n_estimators} must be larger or equal to the {self.n_iter_} rounds of "
                    "the model that warm_start=True goes on with"
                )
            if rounds == 0:
                warnings.warn("Warm-start fitting without increasing n_estimators does not fit new trees.", stacklevel=3)
                return start
        depth = self.max_depth
        settings = {
            "rounds": rounds,
            "learning_rate": float(self.learning_rate),
            "max_leaves": _rules.whole("max_leaves", self.max_leaves, 2),
            "max_depth": None if depth is None else _rules.whole("max_depth", depth, 1),
            "min_rows": _rules.whole("min_rows", self.min_rows, 1),
            "min_child_weight": float(self.min_child_weight),
            "l2": None if self.l2 is None else float(self.l2),
            "min_gain": float(self.min_gain),
            "row_sample": float(self.row_sample),
            "column_sample": float(self.column_sample),
            "max_bins": _rules.whole("max_bins", self.max_bins, 2),
            "trees": self.trees,
            "curvature": self.curvature,
            "categorical": self._categorical(rows),
        }
        return _core.fit_boost(rows.native(), codes, weights, common, settings, start)

    def _categorical(self, rows: Rows) -> list[int]:
        """Places of the categorical columns."""
        places = []
        names = [] if rows.names is None else rows.names.tolist()
        for column in self.categorical_features if self.categorical_features is not None else ():
            if isinstance(column, str) and column not in names:
                raise ValueError(f"categorical_features names {column!r}, which is no column of X")
            place = names.index(column) if isinstance(column, str) else _rules.whole("categorical_features", column, 0)
            if place >= rows.shape[1]:
                raise ValueError(f"categorical_features names column {place} of {rows.shape[1]}")
            places.append(place)
        return sorted(set(places))

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """What the trees gain by each feature, as shares that add up to 1."""
        if self._fitted().starts_linear:
            raise AttributeError("the trees start from linear functions, whose part in the features no gain of trees holds")
        gains = self._fitted().importances("gain")
        if gains is None:
            raise AttributeError("a linear model has no gains")
        total = gains.sum()
        shares: NDArray[np.float64] = gains / total if total > 0 else gains
        return shares

    @classmethod
    def _told(cls, report: dict[str, Any]) -> dict[str, Any]:
        return {"n_estimators": report["steps"]}
