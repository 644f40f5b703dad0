"""Class-balanced weights for use in any training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _rules
from ._labels import encoded, labels_of


@overload
def effective_weights(
    counts: Mapping[Any, float], *, beta: _rules.Beta = ..., ratio: Optional[float] = ..., normalise: str = ...
) -> dict[Any, float]: ...
@overload
def effective_weights(
    counts: ArrayLike, *, beta: _rules.Beta = ..., ratio: Optional[float] = ..., normalise: str = ...
) -> NDArray[np.float64]: ...
@overload
def effective_weights(
    *, y: Any, beta: _rules.Beta = ..., ratio: Optional[float] = ..., normalise: str = ...
) -> dict[Any, float]: ...
def effective_weights(
    counts: Any = None,
    *,
    y: Any = None,
    beta: _rules.Beta = None,
    ratio: Optional[float] = None,
    normalise: str = "samples",
) -> Union[NDArray[np.float64], dict[Any, float]]:
    """Class weights by the inverse effective number of samples (Cui et al., CVPR 2019).

    Parameters
    ----------
    counts : array of rows by class, or dict of them
    y : labels to count instead
    beta : float or str
        Of the effective number ``(1 - beta^n) / (1 - beta)``: .9999, "1-1e-7" or "N=10000".
    ratio : float
        Instead of beta: how many times the smallest weight the largest is.
    normalise : {"samples", "classes", "none"}
        Whether the mean row weighs one, the mean class (as in the paper), or weights are inverse effective numbers.

    Returns
    -------
    Array in the order of `counts`; a dict by class where `counts` is one or `y` is given, as `class_weight=` of other libraries
    takes it.

    Examples
    --------
    >>> from cbfit import effective_weights
    >>> effective_weights([5000, 500, 50], beta=.999, normalise="classes").round(3)
    array([0.126, 0.317, 2.557])
    >>> weights = effective_weights(y=["a", "a", "a", "b"], ratio=2)
    >>> round(weights["b"] / weights["a"], 6)
    2.0
    """
    if beta is None and ratio is None:
        raise ValueError("give beta= or ratio=")
    names: Optional[list[Any]] = None
    if y is not None:
        if counts is not None:
            raise ValueError("give counts or y, not both")
        classes, codes = encoded(labels_of(y, "effective_weights"))
        names, counts = classes.tolist(), np.bincount(codes)
    elif isinstance(counts, Mapping):
        names, counts = list(counts), list(counts.values())
    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"counts has shape {found.shape}: give one count for each class")
    weights = _core.class_weights(found.tolist(), _rules.rule(None, beta, ratio, None), normalise)
    return weights if names is None else dict(zip(names, weights.tolist()))


def sample_weights(
    y: Any,
    *,
    weighting: _rules.Weighting = None,
    beta: _rules.Beta = None,
    ratio: Optional[float] = None,
) -> NDArray[np.float64]:
    """Weights of rows by their classes, of mean 1, for `sample_weight=` of any library.

    Parameters are those of the estimators.

    >>> from cbfit import sample_weights
    >>> sample_weights(["a", "a", "a", "b"], weighting="inverse").round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    classes, codes = encoded(labels_of(y, "sample_weights"))
    counts = np.bincount(codes, minlength=len(classes)).astype(np.float64)
    rule = _rules.rule(weighting, beta, ratio, classes)
    found: NDArray[np.float64] = _core.class_weights(counts.tolist(), rule, "samples")[codes]
    return found
