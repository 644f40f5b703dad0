"""Parameters in the words of the native module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

Weighting = Union[str, Mapping[Any, float], None]
Beta = Union[float, str, None]
Prior = Union[str, Mapping[Any, float], NDArray[Any], list[float], None]

_FOCAL = ("focal", "softmax-focal")


def rule(weighting: Weighting, beta: Beta, ratio: Optional[float], classes: Optional[NDArray[Any]]) -> dict[str, Any]:
    """The rule that `weighting`, `beta` and `ratio` stand for; at most one of them is needed."""
    told: dict[str, Any] = {"name": "none", "beta": None, "ratio": None, "weights": None}
    if beta is not None and ratio is not None:
        raise ValueError("beta and ratio both say how far effective numbers go: give one of them")
    if beta is not None or ratio is not None:
        which = "beta" if beta is not None else "ratio"
        if weighting not in (None, "effective"):
            raise ValueError(f"{which} has no effect with weighting={weighting!r}: leave one of them out")
        if beta is not None:
            return {**told, "name": "effective", "beta": beta if isinstance(beta, str) else repr(float(beta))}
        return {**told, "name": "ratio", "ratio": float(ratio)}  # type: ignore[arg-type]
    if weighting is None:
        return told
    if isinstance(weighting, Mapping):
        return {**told, "name": "custom", "weights": by_class(weighting, classes, "weighting")}
    if weighting == "effective":
        raise ValueError("weighting='effective' needs beta= or ratio=")
    if weighting not in ("none", "inverse", "sqrt"):
        raise ValueError(
            f"weighting={weighting!r} is no rule: take None, 'inverse' (what scikit-learn calls 'balanced'), "
            "'sqrt', beta=, ratio=, or a dict of weights by class"
        )
    return {**told, "name": weighting}


def by_class(values: Mapping[Any, float], classes: Optional[NDArray[Any]], what: str) -> list[float]:
    """Values of a mapping in the order of the classes."""
    names = [] if classes is None else classes.tolist()
    lacking = [name for name in names if name not in values]
    if lacking or len(values) != len(names):
        unknown = [name for name in values if name not in names]
        problem = f"lacks {lacking[:5]!r}" if lacking else f"names {unknown[:5]!r}, which are not in y"
        raise ValueError(f"{what} {problem}: give one value for every class")
    return [float(values[name]) for name in names]


def shares(prior: Prior, classes: NDArray[Any]) -> Union[str, list[float]]:
    """A prior by name or as shares in the order of the classes."""
    if isinstance(prior, str):
        return prior
    if isinstance(prior, Mapping):
        return by_class(prior, classes, "prior")
    given = np.asarray(prior, dtype=np.float64)
    if given.shape != classes.shape:
        raise ValueError(f"prior has shape {given.shape}: give a share for each of the {len(classes)} classes")
    return [float(share) for share in given]


def focus(loss: str, gamma: Optional[float]) -> float:
    """The exponent of a focal loss [1]; other losses have none."""
    if loss in _FOCAL:
        return 1.0 if gamma is None else float(gamma)
    if gamma is not None:
        raise ValueError(f"gamma has no effect with loss={loss!r}: leave it out, or take loss='focal'")
    return 0.0


def seed(random_state: Any) -> int:
    """A key of draws from what scikit-learn takes as `random_state`; None is 0."""
    if random_state is None:
        return 0
    if isinstance(random_state, (int, np.integer)):
        if random_state < 0:
            raise ValueError(f"random_state={random_state} is negative")
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(random_state.randint(2**31 - 1))


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} = {value!r} is not a whole number of at least {least}")
    return int(value)


def threads(n_jobs: Optional[int]) -> Optional[int]:
    """Threads to work on; None and -1 are all."""
    return None if n_jobs is None or n_jobs == -1 else whole("n_jobs", n_jobs, 1)
