"""Writes tests/golden/heads.json: heads and losses of the linear learner by scikit-learn and SciPy, on the digits of the
repository (pixels / 16). Logits are those of five test rows less their mean over classes, which no decision feels. Needs
numpy, scipy, scikit-learn and pyarrow; run from the repository root."""

import json

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid


def read(part):
    table = pq.read_table(f"data/digits_lt_{part}.parquet")
    y = table["label"].to_numpy()
    rest = table.drop_columns(["label"])
    if rest.num_columns == 1:
        x = np.stack(rest.column(0).to_numpy(zero_copy_only=False))
    else:
        x = np.stack([rest.column(i).to_numpy() for i in range(rest.num_columns)], axis=1)
    return x.astype(np.float64) / 16, y


X, Y = read("train")
T, _ = read("test")
T = T[:5]
N = np.bincount(Y)
C, D = len(N), X.shape[1]
ROWS = np.arange(len(Y))
NATURAL, UNIFORM = N / N.sum(), np.full(C, 1 / C)


def centred(logits):
    return (logits - logits.mean(axis=1, keepdims=True)).tolist()


def lda():
    cases = []
    for name, prior in (("natural", NATURAL), ("uniform", UNIFORM)):
        for shrinkage in ("auto", 0.1, 0.5):
            fit = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=prior).fit(X, Y)
            cases.append({"prior": name, "shrinkage": shrinkage, "logits": centred(T @ fit.coef_.T + fit.intercept_)})
    # The odd rows twice are the odd rows with weight 2.
    twice = np.concatenate([ROWS, ROWS[1::2]])
    fit = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=UNIFORM).fit(X[twice], Y[twice])
    cases.append({"prior": "repeated", "shrinkage": "auto", "logits": centred(T @ fit.coef_.T + fit.intercept_)})
    return cases


def cross_entropy(logits, margins=None):
    """Loss of each row and its gradient in the logits."""
    logits = logits.copy()
    if margins is not None:
        logits[ROWS, Y] -= margins[Y]
    log_p = log_softmax(logits, axis=1)
    gradient = np.exp(log_p)
    gradient[ROWS, Y] -= 1
    return -log_p[ROWS, Y], gradient


def sigmoids(logits, margins=None):
    logits = logits.copy()
    if margins is not None:
        logits[ROWS, Y] -= margins[Y]
    sign = -np.ones_like(logits)
    sign[ROWS, Y] = 1
    loss = np.logaddexp(0, -sign * logits)
    return loss.sum(axis=1), -sign * np.exp(-np.logaddexp(0, sign * logits))


def optimum(l2, loss=cross_entropy, factors=np.ones(C), offsets=np.zeros(C), margins=None, weights=np.ones(len(Y))):
    """Minimum of the mean loss of factors * (W x + b) + offsets, the true class less its margin, plus l2/2 ||W||^2."""
    weights = weights / weights.sum()

    def value(theta):
        w, b = theta[: C * D].reshape(C, D), theta[C * D :]
        losses, gradient = loss(factors * (X @ w.T + b) + offsets, margins)
        gradient *= weights[:, None] * factors
        return (
            weights @ losses + l2 / 2 * (w * w).sum(),
            np.concatenate([(gradient.T @ X + l2 * w).ravel(), gradient.sum(axis=0)]),
        )

    theta = np.zeros(C * D + C)
    for _ in range(5):
        found = minimize(value, theta, jac=True, method="L-BFGS-B", options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50})
        theta = found.x
    return found.fun


def scaling(w, b, ridge):
    logits, weights = X @ w.T, UNIFORM[Y] / N[Y]

    def value(scale):
        losses, gradient = cross_entropy(scale * logits + b)
        return (
            weights @ losses + ridge / 2 * ((scale - 1) ** 2).sum(),
            (weights[:, None] * gradient * logits).sum(axis=0) + ridge * (scale - 1),
        )

    found = minimize(value, np.ones(C), jac=True, method="L-BFGS-B", options={"maxiter": 20000, "ftol": 1e-16, "gtol": 1e-12})
    return found.x.tolist()


def main():
    centroids = NearestCentroid().fit(X, Y).centroids_
    # Any model will do as the one to scale: class means less their mean, short ones for rare classes.
    w = (centroids - centroids.mean(axis=0)) * (N / N.max())[:, None] ** 0.25
    b = np.linspace(-0.5, 0.5, C)
    factors = lambda gamma: (N / N.max()) ** gamma
    margins = lambda largest: largest * (N.min() / N) ** 0.25
    optima = [
        {"vs_gamma": 0.2, "logit_adjust": 0.0, "ldam": 0.0, "l2": 1e-2, "loss": "softmax", "objective": optimum(1e-2, factors=factors(0.2))},
        {"vs_gamma": 0.3, "logit_adjust": 1.0, "ldam": 0.0, "l2": 1e-3, "loss": "softmax", "objective": optimum(1e-3, factors=factors(0.3), offsets=np.log(NATURAL))},
        {"vs_gamma": 0.2, "logit_adjust": 0.0, "ldam": 0.0, "l2": 1e-2, "loss": "sigmoid", "objective": optimum(1e-2, sigmoids, factors=factors(0.2))},
        {"vs_gamma": 0.0, "logit_adjust": 0.0, "ldam": 1.0, "l2": 1e-2, "loss": "softmax", "objective": optimum(1e-2, margins=margins(1.0))},
        {"vs_gamma": 0.0, "logit_adjust": 0.5, "ldam": 3.0, "l2": 1e-3, "loss": "softmax", "objective": optimum(1e-3, margins=margins(3.0), offsets=0.5 * np.log(NATURAL))},
        {"vs_gamma": 0.2, "logit_adjust": 0.0, "ldam": 2.0, "l2": 1e-2, "loss": "sigmoid", "objective": optimum(1e-2, sigmoids, factors=factors(0.2), margins=margins(2.0))},
    ]
    golden = {
        "lda": lda(),
        "ncm": NearestCentroid().fit(X, Y).predict(X).tolist(),
        "lws": {"weight": w.ravel().tolist(), "bias": b.tolist(), "scales": {str(r): scaling(w, b, r) for r in (0.0, 1e-3, 0.1)}},
        "optima": optima,
    }
    with open("tests/golden/heads.json", "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


main()
