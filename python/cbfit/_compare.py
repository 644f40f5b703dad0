"""Which weighting helps on given rows, if any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Optional, Union

import numpy as np

from . import _core, _rules
from ._features import rows_of
from ._labels import encoded, labels_of

_COLUMNS = ("name", "value", "difference", "low", "high", "p_holm", "log_loss", "ece")


class Comparison:
    """What `compare` found: a row for each treatment, the first of which is without weights.

    Columns: `name`; `value` of the metric out of fold; `difference` from the first with the ends `low` and `high` of its 95 %
    interval and `p_holm`, corrected for the number of treatments; `log_loss` and `ece` (calibration error) under the natural
    prior. `verdict` is the finding in a sentence; `recommended` and `best` name treatments.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.metric: str = found["metric"]
        self.verdict: str = found["verdict"]
        self.rows: list[dict[str, Any]] = []
        for candidate in found["candidates"]:
            difference, low, high = candidate["difference"] or (None, None, None)
            values = (
                candidate["name"], candidate["value"], difference, low, high,
                candidate["p_holm"], candidate["natural_log_loss"], candidate["natural_ece"],
            )
            self.rows.append(dict(zip(_COLUMNS, values)))
        self.recommended: str = self.rows[found["recommended"]]["name"]
        self.best: str = self.rows[found["best"]]["name"]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return _COLUMNS

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        return [row[column] for row in self.rows]

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame, by name."""
        import pandas

        return pandas.DataFrame(self.rows).set_index("name")

    def _texts(self) -> list[list[str]]:
        def text(value: Any) -> str:
            return "" if value is None else value if isinstance(value, str) else f"{value:.4f}"

        return [[text(row[column]) for column in _COLUMNS] for row in self.rows]

    def __str__(self) -> str:
        table = [["", self.metric, *_COLUMNS[2:]], *self._texts()]
        widths = [max(len(row[place]) for row in table) for place in range(len(_COLUMNS))]
        lines = []
        for row in table:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def cells(values: Sequence[str], tag: str) -> str:
            return "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values)

        head = cells(["", self.metric, *_COLUMNS[2:]], "th")
        body = []
        for row in self._texts():
            chosen = ' style="font-weight: bold"' if row[0] == self.recommended else ""
            body.append(f"<tr{chosen}>{cells(row, 'td')}</tr>")
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
            f"<p>{escape(self.verdict)}</p>"
        )


def compare(
    X: Any,
    y: Any,
    *,
    learners: Sequence[str] = ("linear",),
    losses: Sequence[Union[str, tuple[str, float]]] = ("softmax",),
    weightings: Optional[Sequence[Union[str, Mapping[Any, float], float]]] = None,
    folds: int = 5,
    repeats: int = 1,
    metric: str = "macro_recall",
    standardize: bool = False,
    random_state: Any = None,
    n_jobs: Optional[int] = None,
) -> Comparison:
    """Tells which weighting helps on these rows, if any, and by how much.

    Every treatment is fitted on the same stratified folds with the same search for `l2` or rounds, and held against no
    weighting by paired intervals.

    Parameters
    ----------
    X, y : rows and labels, as for the estimators
    learners : of {"linear", "boost"}
    losses : names, or pairs of a focal loss and its gamma
    weightings : list of {"inverse", "sqrt", dict of weights by class, beta as a number}, optional
        Without it: square root, the betas that differ on these counts, inverse, and the logit-adjusted loss. No weighting, as
        it is and adjusted after training, is always among the treatments.
    folds, repeats : folds, and times that rows are dealt to them anew
    metric : what decides, as for `LinearClassifier`
    standardize : whether linear models see standardised columns

    Examples
    --------
    >>> import numpy as np
    >>> from cbfit import compare
    >>> y = np.repeat([0, 1], [180, 20])
    >>> X = y[:, None] + np.random.default_rng(0).normal(size=(200, 2))
    >>> found = compare(X, y, weightings=["inverse"], folds=3)
    >>> found["name"]
    ['none', 'none + adjust', 'inverse']
    """
    rows = rows_of(X, "compare")
    labels = labels_of(y, "compare")
    if len(labels) != rows.shape[0]:
        raise ValueError(f"X has {rows.shape[0]} rows, y has {len(labels)}")
    classes, codes = encoded(labels)
    settings = {
        "learners": [learners] if isinstance(learners, str) else list(learners),
        "losses": [_loss(loss) for loss in ([losses] if isinstance(losses, str) else losses)],
        "weightings": None if weightings is None else [_rule(weighting, classes) for weighting in weightings],
        "folds": _rules.whole("folds", folds, 2),
        "repeats": _rules.whole("repeats", repeats, 1),
        "metric": metric,
        "standardize": bool(standardize),
        "seed": _rules.seed(random_state),
        "threads": _rules.threads(n_jobs),
    }
    return Comparison(json.loads(_core.compare(rows.native(), codes, settings)))


def _loss(loss: Union[str, tuple[str, float]]) -> tuple[str, float]:
    name, gamma = (loss, None) if isinstance(loss, str) else loss
    return name, _rules.focus(name, gamma)


def _rule(weighting: Union[str, Mapping[Any, float], float], classes: Any) -> dict[str, Any]:
    if isinstance(weighting, (float, np.floating)):
        return _rules.rule(None, float(weighting), None, classes)
    return _rules.rule(weighting, None, None, classes)
