"""Writes statistics.json: Student's t by mpmath in 40 digits (scipy is right to 1e-12 or so), the corrected resampled t
by its definition with scipy.stats.t, Holm's p-values by statsmodels."""

import json
import pathlib

import numpy as np
from mpmath import betainc, findroot, mp, mpf
from scipy import stats
from statsmodels.stats.multitest import multipletests

mp.dps = 40


def two_sided(t, degrees):
    t, degrees = mpf(t), mpf(degrees)
    # Both sides of the beta integral, because one minus the other loses digits.
    x = degrees / (degrees + t * t)
    return betainc(degrees / 2, mpf("0.5"), 0, x, regularized=True)


student = []
for degrees in [0.7, 1, 1.5, 2, 4, 9, 33.3, 200, 5000]:
    for t, p in [(1e-3, 0.9), (0.3, 0.5), (1.0, 0.05), (2.2, 0.05), (5.0, 0.01), (12.0, 1e-4), (30.0, 0.05)]:
        guess = stats.t.isf(p / 2, degrees)
        quantile = findroot(lambda q: two_sided(q, degrees) - p, guess)
        assert abs(quantile / guess - 1) < 1e-9
        tail = two_sided(t, degrees)
        assert abs(tail / (2 * stats.t.sf(t, degrees)) - 1) < 1e-9
        case = {"t": t, "p": p, "degrees": degrees, "two_sided": float(tail), "quantile": float(quantile)}
        student.append(case)

rng = np.random.default_rng(1)
corrected = []
for count, train, test, shift in [(2, 90, 10, 0.0), (5, 80, 20, 0.1), (10, 900, 100, -0.3), (50, 4000, 1000, 0.02)]:
    d = np.round(rng.normal(shift, 0.1, count), 6)
    mean, sd = d.mean(), d.std(ddof=1)
    se = sd * np.sqrt(1 / count + test / train)
    low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=se)
    corrected.append({
        "differences": d.tolist(), "train_rows": train, "test_rows": test, "mean": mean, "standard_error": se,
        "t": mean / se, "degrees": count - 1, "p": 2 * stats.t.sf(abs(mean / se), count - 1), "low": low, "high": high,
    })

holm = []
for p in [[0.01], [0.04, 0.01, 0.03], [0.5, 0.9, 0.02, 0.02, 1e-5], np.round(rng.beta(0.3, 2, 12), 6).tolist()]:
    holm.append({"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()})

path = pathlib.Path(__file__).with_name("statistics.json")
parts = {"student": student, "corrected_t": corrected, "holm": holm}
lines = ",\n".join(f'"{name}": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]" for name, cases in parts.items())
path.write_text("{" + lines + "}\n")
