"""Model files and reports."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Union

from . import _core, _rules
from ._boost import BoostClassifier
from ._classifier import Classifier
from ._linear import LinearClassifier

Path = Union[str, "PurePath"]


def save(model: Classifier, path: Path) -> None:
    """Writes a model file (`.cbfit`), which `load` and the command `cbfit predict` read."""
    model.save(path)


def load(path: Path) -> Union[LinearClassifier, BoostClassifier]:
    """Reads a model file, whether Python or the command `cbfit` wrote it.

    The model predicts what `cbfit predict` does and keeps all that its file has: calibration, offsets of decisions, values for
    missing ones, linear functions that trees start from. The `prior` of a calibrated model is "natural". `fit` fits a new model,
    which has none of these.

    Raises `ValueError` for models of text columns, whose rows only the command reads, `ModelError` for a file that is no model
    or is damaged, whatever it contains, and `FileNotFoundError`.
    """
    model, names = _core.load_model(str(path))
    estimator: Union[LinearClassifier, BoostClassifier]
    estimator = (LinearClassifier if model.is_linear else BoostClassifier)._of_file(model, names)
    return estimator


def report(
    model: Classifier, X: Any, y: Any, path: Path, *, prior: _rules.Prior = None, title: str = "rows of Python"
) -> None:
    """Scores a model on labelled rows and draws the report of `cbfit report`: one HTML page, without network.

    Labels that the model does not know count as wrong.
    """
    model._report(X, y, path, prior, title)
