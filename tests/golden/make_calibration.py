"""Writes calibration.json: maps of log posteriors fitted by scipy to held-out rows, in f64. The penalised log-loss of the
vector map is that of src/calibrate/vector.rs, minimised by a trust-region Newton method with its Hessian."""

import json
import pathlib

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax

SCALE_DEVIATION, OFFSET_DEVIATION = 0.25, 0.5


def temperature(l, y, w):
    rows = np.arange(len(y))

    def slope(scale):
        p = softmax(scale * l, axis=1)
        return (w * ((p * l).sum(axis=1) - l[rows, y])).sum()

    return brentq(slope, 0.01, 100, xtol=1e-14, rtol=1e-15)


def vector(l, y, w, shared):
    rows, classes = np.arange(len(y)), l.shape[1]
    free = np.isin(np.arange(classes), y)
    n = w.sum() ** 2 / (w**2).sum()
    ridge = np.repeat([1 / SCALE_DEVIATION**2, 1 / OFFSET_DEVIATION**2], classes) / n
    mask = np.tile(free, 2)
    u, mean = shared * l, w / w.sum()
    truth = np.eye(classes)[y]

    def full(x):
        at = np.zeros(2 * classes)
        at[mask] = x
        return at

    def value(x):
        at = full(x)
        z = log_softmax(u * (1 + at[:classes]) + at[classes:], axis=1)
        return -(mean * z[rows, y]).sum() + 0.5 * (ridge * at**2).sum()

    def gradient(x):
        at = full(x)
        r = mean[:, None] * (softmax(u * (1 + at[:classes]) + at[classes:], axis=1) - truth)
        return (np.concatenate([(r * u).sum(0), r.sum(0)]) + ridge * at)[mask]

    def hessian(x):
        at = full(x)
        p = softmax(u * (1 + at[:classes]) + at[classes:], axis=1)
        h = np.diag(ridge)
        for i in rows:
            d = np.hstack([np.diag(u[i]), np.eye(classes)])
            h += mean[i] * d.T @ (np.diag(p[i]) - np.outer(p[i], p[i])) @ d
        return h[np.ix_(mask, mask)]

    x = np.zeros(mask.sum())
    x = minimize(value, x, jac=gradient, hess=hessian, method="trust-exact", options=dict(gtol=1e-9)).x
    for _ in range(5):  # polish to the last digits
        x -= np.linalg.solve(hessian(x), gradient(x))
    assert np.abs(gradient(x)).max() < 1e-14
    at = full(x)
    return shared * (1 + at[:classes]), at[classes:]


def problem(name, rows, shares, sharpness, scale, weighted, absent, seed):
    rng = np.random.default_rng(seed)
    classes, shares = len(shares), np.array(shares) / np.sum(shares)
    y = rng.choice(classes, size=rows, p=shares)
    y[y == absent] = 0
    z = np.log(shares) + rng.normal(size=(rows, classes))
    z[np.arange(rows), y] += sharpness
    bent = scale * z * rng.uniform(0.7, 1.4, classes) + rng.normal(scale=0.5, size=classes)
    l = np.round(log_softmax(bent, axis=1), 6)
    w = np.round(rng.gamma(2.0, 1.0, size=rows) + 0.125, 3) if weighted else np.ones(rows)
    shared = temperature(l, y, w)
    a, b = vector(l, y, w, shared)
    return {
        "name": name,
        "classes": classes,
        "log_posterior": l.ravel().tolist(),
        "labels": y.tolist(),
        "row_weights": w.tolist() if weighted else None,
        "scale": shared,
        "scales": a.tolist(),
        "offsets": b.tolist(),
    }


PROBLEMS = [
    problem("overconfident", 80, [6, 3, 1], 1.5, 2.5, False, None, 1),
    problem("weighted", 80, [6, 3, 1], 1.5, 2.5, True, None, 2),
    problem("a class without rows", 60, [6, 3, 2, 1], 1.5, 0.6, False, 3, 3),
    problem("weighted, a class without rows", 60, [8, 4, 2, 1, 1], 1.0, 3.0, True, 4, 4),
]
path = pathlib.Path(__file__).with_name("calibration.json")
path.write_text("[\n" + ",\n".join(json.dumps(p) for p in PROBLEMS) + "\n]\n")
for p in PROBLEMS:
    print(p["name"], round(p["scale"], 4), np.round(p["scales"], 3), np.round(p["offsets"], 3))
