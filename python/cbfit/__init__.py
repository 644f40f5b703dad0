"""Class-balanced classifiers for long-tailed data.

Estimators as scikit-learn has them, which need only numpy:

>>> import numpy as np
>>> from cbfit import LinearClassifier
>>> rng = np.random.default_rng(0)
>>> y = np.repeat(["common", "rare"], [300, 12])
>>> X = rng.normal(size=(312, 4)) + 2 * (y == "rare")[:, None]
>>> model = LinearClassifier(beta=0.999).fit(X, y)
>>> model.class_weight_.round(1).tolist()
[0.6, 12.1]
>>> natural = model.predict_proba(X, prior="natural")
>>> round(float(natural[:, 1].mean()), 2)
0.04
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._core import ModelError, __version__

if TYPE_CHECKING:
    from ._base import ConvergenceWarning
    from ._boost import BoostClassifier
    from ._compare import Comparison, compare
    from ._files import load, report, save
    from ._linear import LinearClassifier
    from ._weights import effective_weights, sample_weights

__all__ = [
    "BoostClassifier",
    "Comparison",
    "ConvergenceWarning",
    "LinearClassifier",
    "ModelError",
    "__version__",
    "compare",
    "effective_weights",
    "load",
    "report",
    "sample_weights",
    "save",
]

# Looked up when they are first asked for: the command needs none of them, and estimators import scikit-learn.
_HOMES = {
    "BoostClassifier": "_boost",
    "Comparison": "_compare",
    "ConvergenceWarning": "_base",
    "LinearClassifier": "_linear",
    "compare": "_compare",
    "effective_weights": "_weights",
    "load": "_files",
    "report": "_files",
    "sample_weights": "_weights",
    "save": "_files",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
