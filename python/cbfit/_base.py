"""What estimators share with scikit-learn, which need not be there."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning as _ConvergenceWarning
    from sklearn.exceptions import DataConversionWarning
    from sklearn.exceptions import NotFittedError
except ImportError:

    class BaseEstimator:  # type: ignore[no-redef]
        """Parameters by name."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """Parameters of this estimator."""
            names = inspect.signature(type(self).__init__).parameters
            return {name: getattr(self, name) for name in names if name != "self"}

        def set_params(self, **params: Any) -> BaseEstimator:
            """Sets parameters by name."""
            known = self.get_params()
            for name, value in params.items():
                if name not in known:
                    raise ValueError(
                        f"Invalid parameter {name!r} for estimator {type(self).__name__}. "
                        f"Valid parameters are: {sorted(known)!r}."
                    )
                setattr(self, name, value)
            return self

        def __repr__(self) -> str:
            defaults = inspect.signature(type(self).__init__).parameters
            changed = {k: v for k, v in self.get_params().items() if v is not defaults[k].default}
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    class ClassifierMixin:  # type: ignore[no-redef]
        """Accuracy as the score."""

        _estimator_type = "classifier"

        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
            """Share of the rows that are predicted right."""
            hits = self.predict(X) == np.asarray(y)  # type: ignore[attr-defined]
            return float(np.average(hits, weights=sample_weight))

    class NotFittedError(ValueError, AttributeError):  # type: ignore[no-redef]
        """The estimator has to be fitted first."""

    class DataConversionWarning(UserWarning):  # type: ignore[no-redef]
        """Data was taken in another shape than it came in."""

    _ConvergenceWarning = UserWarning


class ConvergenceWarning(_ConvergenceWarning):  # type: ignore[misc]
    """A fit ended before it came within its tolerance of the optimum."""


__all__ = ["BaseEstimator", "ClassifierMixin", "ConvergenceWarning", "DataConversionWarning", "NotFittedError"]
