"""Writes metrics.json: scores of small problems by scikit-learn and scipy (calibration errors and means over classes
by numpy). Probabilities are multiples of a power of two, so f32, f64 and the text hold the same numbers."""

import json
import pathlib

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics as skm

BINS = 15


def on_grid(p, grid):
    """Rows of positive multiples of 1/grid that sum to exactly 1."""
    counts = np.maximum(np.floor(p * grid), 1).astype(int)
    counts[np.arange(len(p)), counts.argmax(axis=1)] += grid - counts.sum(axis=1)
    assert (counts > 0).all()
    return counts / grid


def equal_mass_error(value, outcome, weight):
    """Groups of equal values, highest first, each whole in the bin of its middle."""
    gaps, taken, total = np.zeros(BINS), 0.0, weight.sum()
    for v in np.unique(value)[::-1]:
        same = value == v
        mass = weight[same].sum()
        b = min(int(BINS * (taken + 0.5 * mass) / total), BINS - 1)
        gaps[b] += (weight[same] * (outcome[same] - value[same])).sum()
        taken += mass
    return np.abs(gaps).sum() / total


def scores(p, y, weight):
    rows, classes = p.shape
    w = np.ones(rows) if weight is None else weight
    predicted = p.argmax(axis=1)
    present = np.unique(y)
    recall = {c: (w * ((y == c) & (predicted == c))).sum() / w[y == c].sum() for c in present}
    r = np.array(list(recall.values()))
    effective = np.array([w[y == c].sum() ** 2 / (w[y == c] ** 2).sum() for c in present])
    # Rank with equal probabilities in class order.
    rank = np.array([(-p[i]).argsort(kind="stable").tolist().index(y[i]) for i in range(rows)])
    loss = -np.log(p[np.arange(rows), y])
    known = dict(sample_weight=weight)
    out = {
        "top1": skm.accuracy_score(y, predicted, **known),
        "macro_recall": skm.balanced_accuracy_score(y, predicted, **known),
        "macro_f1": skm.f1_score(y, predicted, average="macro", zero_division=0, **known),
        "mcc": skm.matthews_corrcoef(y, predicted, **known),
        "log_loss": skm.log_loss(y, p, labels=range(classes), **known),
        "brier": skm.brier_score_loss(y, p, labels=range(classes), scale_by_half=False, **known),
        "auprc": np.mean([skm.average_precision_score(y == c, p[:, c], **known) for c in present]),
        "worst_class": r.min(),
        "worst_decile": np.sort(r)[: -(-len(r) // 10)].mean(),
        "g_mean": np.prod(r) ** (1 / len(r)),
        "macro_recall_error": np.sqrt((r * (1 - r) / effective).sum()) / len(r),
        "balanced_log_loss": np.mean([np.average(loss[y == c], weights=w[y == c]) for c in present]),
        "ece": equal_mass_error(p.max(axis=1), predicted == y, w),
        "classwise_ece": np.mean([equal_mass_error(p[:, c], y == c, w) for c in range(classes)]),
    }
    if classes > 5:
        out["top5"] = np.average(rank < 5, weights=w)
    precision = skm.precision_score(y, predicted, labels=range(classes), average=None, zero_division=np.nan, **known)
    per_class = []
    for c in range(classes):
        at = y == c
        entry = {
            "precision": None if np.isnan(precision[c]) else precision[c],
            "recall": recall.get(c),
            "average_precision": skm.average_precision_score(at, p[:, c], **known) if at.any() else None,
            "mean_probability": np.average(p[:, c], weights=w),
            "predicted_share": np.average(predicted == c, weights=w),
        }
        if weight is None and at.any():
            interval = binomtest(int((predicted[at] == c).sum()), int(at.sum())).proportion_ci(method="wilson")
            entry["recall_low"], entry["recall_high"] = interval.low, interval.high
        per_class.append(entry)
    return {k: float(v) for k, v in out.items()}, [
        {k: None if v is None else float(v) for k, v in entry.items()} for entry in per_class
    ]


def band_errors(p, y, weight, train_counts):
    """Calibration error of the most probable class where that class has more than 100, 20 to 100, below 20 rows."""
    w = np.ones(len(y)) if weight is None else weight
    top = p.argmax(axis=1)
    n = np.array(train_counts)[top]
    errors = []
    for rows in [n > 100, (n >= 20) & (n <= 100), n < 20]:
        errors.append(float(equal_mass_error(p[rows].max(axis=1), (top == y)[rows], w[rows])) if rows.any() else None)
    return errors


def problem(name, rows, classes, shares, grid, sharpness, weighted, seed):
    rng = np.random.default_rng(seed)
    shares = np.array(shares, dtype=float)
    y = rng.choice(classes, size=rows, p=shares / shares.sum())
    z = rng.normal(size=(rows, classes))
    z[np.arange(rows), y] += sharpness
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p = on_grid(p, grid)
    weight = np.round(rng.gamma(2.0, 1.0, size=rows) + 0.125, 3) if weighted else None
    total, per_class = scores(p, y, weight)
    train_counts = [int(1 + 150 / (c + 1) ** 1.5) for c in range(classes)]
    return {
        "name": name,
        "classes": classes,
        "grid": grid,
        "probabilities": (p * grid).astype(int).ravel().tolist(),
        "labels": y.tolist(),
        "row_weights": None if weight is None else weight.tolist(),
        "train_counts": train_counts,
        "band_ece": band_errors(p, y, weight, train_counts),
        "scores": total,
        "per_class": per_class,
    }


PROBLEMS = [
    # Class 5 never occurs; few distinct probabilities.
    problem("ties", 60, 7, [20, 10, 5, 3, 1, 0, 1], 32, 1.2, False, 1),
    problem("weighted ties", 60, 7, [20, 10, 5, 3, 1, 0, 1], 64, 1.2, True, 2),
    problem("smooth", 80, 12, 0.7 ** np.arange(12), 1 << 20, 1.5, False, 3),
    problem("weighted smooth", 80, 12, 0.7 ** np.arange(12), 1 << 20, 1.5, True, 4),
    problem("binary", 40, 2, [9, 1], 1 << 20, 0.5, False, 5),
    problem("most classes absent", 25, 30, 1 / np.arange(1, 31) ** 1.5, 1 << 20, 2.0, False, 6),
]

path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text("[\n" + ",\n".join(json.dumps(p) for p in PROBLEMS) + "\n]\n")
for p in PROBLEMS:
    counts = np.bincount(p["labels"], minlength=p["classes"])
    print(p["name"], "class rows", counts.tolist())
