"""J in f64, its optimum, and macro recall: one judge for all solvers."""

import time
from decimal import Decimal

import numpy as np
from scipy.special import expit, logsumexp

BLOCK_ROWS = 8192


def row_weights(data, beta):
    """Effective-number weights (Cui et al. 2019, `1 / E_n`), mean 1 over the rows."""
    if beta == "none":
        return np.ones(len(data.y))
    eps = float(1 - Decimal(beta))
    alpha = eps / -np.expm1(data.counts * np.log1p(-eps))
    weights = alpha[data.y]
    return weights * (len(weights) / weights.sum())


def blocks(x):
    for start in range(0, x.shape[0], BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield rows, x[rows].astype(np.float64)


def losses(z, y, loss):
    """Loss of every row; softmax: -log p_y, sigmoid: sum over classes of softplus(-+z)."""
    own = z[np.arange(len(y)), y]
    if loss == "softmax":
        return logsumexp(z, axis=1) - own
    return np.logaddexp(0, z).sum(axis=1) - own


def value(data, weights, loss, l2, weight, bias):
    """J: weighted mean loss plus `l2/2 ||W||^2`; the bias is not decayed."""
    total = 0.0
    for rows, x in blocks(data.x):
        total += weights[rows] @ losses(x @ weight.T + bias, data.y[rows], loss)
    return total / weights.sum() + 0.5 * l2 * np.sum(weight * weight)


def macro_recall(x, y, weight, bias):
    """Mean recall over the training classes that have rows; classes unknown to training are left out."""
    predicted = np.concatenate([(block @ weight.T + bias).argmax(axis=1) for _, block in blocks(x)])
    known = y >= 0
    rows = np.bincount(y[known], minlength=len(bias))
    right = np.bincount(y[known], weights=(predicted == y)[known], minlength=len(bias))
    return float(np.mean(right[rows > 0] / rows[rows > 0]))


def distinct_rows(data, weights):
    """The same problem with equal rows put together; KDD 99 repeats most of its rows."""
    if data.x.dtype == np.float16 or data.x.shape[0] < 100_000:
        return data.x, data.y, weights
    both = np.ascontiguousarray(np.column_stack([data.x, data.y.astype(np.float32)]))
    rows = both.view([("", f"V{both.shape[1] * 4}")]).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return data.x[first], data.y[first], np.bincount(group, weights=weights)


class Newton:
    """Newton's method in f64, each step by conjugate gradients in the eigenbasis of the weighted Gram matrix. Ends when
    half the squared Newton decrement, which near the optimum is J minus its minimum, is below `tolerance` of J."""

    def __init__(self, data, weights, loss, l2):
        x, self.y, w = distinct_rows(data, weights)
        self.x, self.loss, self.l2, self.classes = x.astype(np.float64), loss, l2, data.classes
        self.share = w / w.sum()
        self.mean = self.share @ self.x
        self.x -= self.mean
        gram = (self.x * self.share[:, None]).T @ self.x
        self.spectrum, self.basis = np.linalg.eigh(gram)
        self.spectrum = np.maximum(self.spectrum, 0)
        self.x = self.x @ self.basis
        self.onehot = np.arange(len(self.y)), self.y

    def state(self, weight, bias):
        """J, residuals times shares, and probabilities."""
        z = self.x @ weight.T + bias
        j = self.share @ losses(z, self.y, self.loss) + 0.5 * self.l2 * np.sum(weight * weight)
        p = np.exp(z - logsumexp(z, axis=1, keepdims=True)) if self.loss == "softmax" else expit(z)
        return j, p

    def gradient(self, weight, p):
        residual = p.copy()
        residual[self.onehot] -= 1
        residual *= self.share[:, None]
        return residual.T @ self.x + self.l2 * weight, residual.sum(axis=0)

    def curved(self, p, weight, bias):
        z = self.x @ weight.T + bias
        z *= p
        if self.loss == "softmax":
            z -= p * z.sum(axis=1, keepdims=True)
        else:
            z *= 1 - p
        z *= self.share[:, None]
        return z.T @ self.x + self.l2 * weight, z.sum(axis=0)

    def step(self, p, gradient, forcing):
        """Conjugate gradients on the Newton system, down to `forcing` of its preconditioned residual."""
        curvature = self.share @ (p * (1 - p)) + 1e-12
        metric = curvature[:, None] * self.spectrum + self.l2
        inner = lambda a, b: np.sum(a[0] * b[0]) + np.sum(a[1] * b[1])
        move = [np.zeros_like(gradient[0]), np.zeros_like(gradient[1])]
        residual = [-gradient[0], -gradient[1]]
        scaled = [residual[0] / metric, residual[1] / curvature]
        way, rho = [scaled[0].copy(), scaled[1].copy()], inner(residual, scaled)
        start = rho
        for _ in range(2000):
            if time.monotonic() > self.deadline:
                break
            image = self.curved(p, *way)
            along = inner(way, image)
            if along <= 0:
                break
            length = rho / along
            for part in range(2):
                move[part] += length * way[part]
                residual[part] -= length * image[part]
            scaled = [residual[0] / metric, residual[1] / curvature]
            last, rho = rho, inner(residual, scaled)
            if rho <= forcing**2 * start:
                break
            for part in range(2):
                way[part] *= rho / last
                way[part] += scaled[part]
        return move, -inner(gradient, move)

    def minimise(self, seconds=float("inf"), tolerance=1e-8):
        """J at the optimum and what is left of it, relative to J; more than `tolerance` where the seconds ran out."""
        self.deadline = time.monotonic() + seconds
        weight, bias = np.zeros((self.classes, self.x.shape[1])), np.zeros(self.classes)
        j, p = self.state(weight, bias)
        left = 1.0
        for _ in range(200):
            gradient = self.gradient(weight, p)
            move, decrement = self.step(p, gradient, min(0.3, max(1e-3, left**0.5)))
            left = 0.5 * decrement / j
            length = 1.0
            while True:
                trial, p = self.state(weight + length * move[0], bias + length * move[1])
                if trial <= j - 1e-4 * length * decrement or length < 1e-6 or left < tolerance:
                    break
                length *= 0.5
            weight, bias, j = weight + length * move[0], bias + length * move[1], trial
            if time.monotonic() > self.deadline:
                return j, 1.0  # A broken off step proves nothing about what is left.
            if left < tolerance:
                break
        return j, left
