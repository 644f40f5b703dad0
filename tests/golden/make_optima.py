"""Reference optima of cbfit's objective, found without cbfit: tests/golden/optima.json.

    J(W, b) = [ sum_i w_i loss(z_i, y_i) ] / [ sum_i w_i ] + (l2 / 2) ||W||_F^2,   w_i = alpha_{y_i},   b not penalised

scikit-learn's LogisticRegression comes close (its C is 1 / (l2 * sum w); multinomial for softmax, one binary fit a class
with the weights of the true class for sigmoid); Newton steps with conjugate gradients in f64 then bring the infinity
norm of the gradient below 1e-9. The start does not matter to the result: J is convex. `sklearn_objective` is J at
scikit-learn's own solution, an independent upper bound.

Requirements: python >= 3.10, numpy >= 2, scikit-learn >= 1.6, pyarrow >= 15.
Run: CBFIT_SHARED_DATA=folder OMP_NUM_THREADS=1 python tests/golden/make_optima.py   (about ten minutes)
The folder defaults to `../shared/data` beside the repository.

Features, always as the f32 (or f16) values cbfit sees, computed with in f64:
  digits_lt_train               embedding / 16 (exact in f32)
  cifar10_lt100_mobilenet_train embedding as it is (f16)
  covertype_20k                 the 54 columns beside `label`, (x - mean) / sd in f64 with ddof = 0 and sd = 1 for constant
                                columns, the quotient rounded to f32
"""

import json
import os
import pathlib
import sys
import time
import warnings

import numpy as np
import pyarrow.parquet as pq
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("CBFIT_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
GRADIENT_LIMIT = 1e-9
BETA_GAP = 1e-3  # 1 - beta of the effective scheme


def vectors(path, divisor=1.0):
    table = pq.read_table(path)
    column = table.column("embedding").combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return values.reshape(table.num_rows, -1) / divisor, table.column("label").to_numpy()


def standardised_columns(path):
    table = pq.read_table(path)
    labels = table.column("label").to_numpy()
    x = np.column_stack([table.column(n).to_numpy() for n in table.column_names if n != "label"]).astype(np.float64)
    sd = x.std(axis=0, ddof=0)
    sd[sd == 0.0] = 1.0
    return ((x - x.mean(axis=0)) / sd).astype(np.float32).astype(np.float64), labels


DATASETS = {
    "digits_lt_train": (lambda: vectors(REPOSITORY / "data" / "digits_lt_train.parquet", 16.0), 1e-3),
    "cifar10_lt100_mobilenet_train": (lambda: vectors(SHARED / "cifar10_lt100_mobilenet_train.parquet"), 1e-2),
    "covertype_20k": (lambda: standardised_columns(SHARED / "covertype_20k.parquet"), 1e-4),
}


def class_weights(scheme, counts):
    """alpha, scaled so that sum_i alpha_{y_i} = n."""
    n = counts.astype(np.float64)
    effective = -np.expm1(n * np.log1p(-BETA_GAP)) / BETA_GAP
    alpha = 1.0 / {"none": np.ones_like(n), "inverse": n, "sqrt": np.sqrt(n), "effective": effective}[scheme]
    return alpha * n.sum() / (alpha @ n)


class Objective:
    """J over theta = [W | b] (C x (D + 1)) with its gradient and Hessian products."""

    def __init__(self, loss, x, y, classes, w, l2):
        self.loss, self.l2 = loss, l2
        self.x = np.column_stack([x, np.ones(len(x))])
        self.y, self.share = y, w / w.sum()
        self.onehot = np.eye(classes)[y]
        self.penalty = np.full(self.x.shape[1], l2)
        self.penalty[-1] = 0.0
        bound = 0.5 if loss == "softmax" else 0.25
        gram = bound * (self.x.T * self.share) @ self.x + np.diag(self.penalty) + 1e-12 * np.eye(self.x.shape[1])
        self.preconditioner = np.linalg.inv(gram)

    def value(self, theta):
        z = self.x @ theta.T
        if self.loss == "softmax":
            rows = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), self.y]
        else:
            rows = np.logaddexp(0.0, np.where(self.onehot > 0, -z, z)).sum(axis=1)
        return self.share @ rows + 0.5 * self.l2 * np.sum(theta[:, :-1] ** 2)

    def probabilities(self, theta):
        z = self.x @ theta.T
        if self.loss == "softmax":
            return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
        return np.exp(-np.logaddexp(0.0, -z))

    def gradient(self, theta, p):
        return ((p - self.onehot) * self.share[:, None]).T @ self.x + theta * self.penalty

    def hessian_product(self, p, direction):
        moved = self.x @ direction.T
        if self.loss == "softmax":
            curved = p * (moved - (p * moved).sum(axis=1, keepdims=True))
        else:
            curved = p * (1.0 - p) * moved
        return (curved * self.share[:, None]).T @ self.x + direction * self.penalty


def newton_direction(objective, p, gradient, tolerance):
    """Solves H d = -g by conjugate gradients in the metric of the fixed curvature bound."""
    direction = np.zeros_like(gradient)
    residual = -gradient
    scaled = residual @ objective.preconditioner
    step, energy = scaled, np.sum(residual * scaled)
    for _ in range(2000):
        product = objective.hessian_product(p, step)
        curvature = np.sum(step * product)
        if curvature <= 0.0:
            break
        length = energy / curvature
        direction += length * step
        residual = residual - length * product
        if np.abs(residual).max() < tolerance:
            break
        scaled = residual @ objective.preconditioner
        energy, before = np.sum(residual * scaled), energy
        step = scaled + energy / before * step
    return direction


def polish(objective, theta):
    value = objective.value(theta)
    for _ in range(50):
        p = objective.probabilities(theta)
        gradient = objective.gradient(theta, p)
        norm = np.abs(gradient).max()
        if norm < GRADIENT_LIMIT:
            break
        direction = newton_direction(objective, p, gradient, max(0.01 * norm, 1e-12))
        length = 1.0
        # Near the optimum the decrease of J is below its own rounding, hence the slack.
        while objective.value(theta + length * direction) > value + 1e-15 * abs(value) and length > 1e-6:
            length /= 2
        theta = theta + length * direction
        value = objective.value(theta)
    return theta


def sklearn_start(loss, x, y, classes, w, l2):
    options = dict(C=1.0 / (l2 * w.sum()), solver="lbfgs", tol=1e-10, max_iter=1500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the gradient is verified afterwards
        if loss == "softmax":
            fit = LogisticRegression(**options).fit(x, y, sample_weight=w)
            return np.column_stack([fit.coef_, fit.intercept_])
        options.update(solver="newton-cholesky", max_iter=100)
        fits = [LogisticRegression(**options).fit(x, y == c, sample_weight=w) for c in range(classes)]
        return np.array([np.append(fit.coef_[0], fit.intercept_[0]) for fit in fits])


def main():
    results = []
    for dataset, (load, l2) in DATASETS.items():
        x, labels = load()
        names, y = np.unique(labels, return_inverse=True)
        counts = np.bincount(y)
        for loss in ("softmax", "sigmoid"):
            for scheme in ("none", "inverse", "sqrt", "effective"):
                start = time.time()
                w = class_weights(scheme, counts)[y]
                objective = Objective(loss, x, y, len(names), w, l2)
                theta = sklearn_start(loss, x, y, len(names), w, l2)
                reached = objective.value(theta)
                theta = polish(objective, theta)
                gradient = np.abs(objective.gradient(theta, objective.probabilities(theta))).max()
                value = objective.value(theta)
                print(f"{dataset} {loss} {scheme}: J {value:.12f}, scikit-learn {reached - value:+.1e}, "
                      f"gradient {gradient:.1e}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
                assert gradient < GRADIENT_LIMIT, "not at the optimum"
                results.append({
                    "dataset": dataset, "loss": loss, "scheme": scheme, "l2": l2,
                    **({"beta": 1.0 - BETA_GAP} if scheme == "effective" else {}),
                    "objective": value, "gradient_norm": gradient, "sum_abs_weight": np.abs(theta[:, :-1]).sum(),
                    "sklearn_objective": reached,
                })
    lines = ",\n".join(json.dumps(entry) for entry in results)
    (pathlib.Path(__file__).parent / "optima.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
