"""Losses for torch against the core's."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cbfit import LinearClassifier, _core, effective_weights
from cbfit.torch import ClassBalancedLoss
from conftest import long_tail

LOSSES = [
    ("softmax", None), ("sigmoid", None), ("focal", 0.0), ("focal", 0.5), ("focal", 2.0), ("softmax-focal", 0.5),
    ("softmax-focal", 2.0),
]
COUNTS = [400, 30, 5, 90]


def batch(rows=60, scale=4.0):
    rng = np.random.default_rng(0)
    # Numbers that float32 has too.
    return rng.normal(scale=scale, size=(rows, 4)).astype(np.float32).astype(np.float64), rng.integers(0, 4, rows).astype(np.uint32)


@pytest.mark.parametrize(("loss", "gamma"), LOSSES)
@pytest.mark.parametrize("scale", [0.1, 4.0, 60.0])
def test_values_and_gradients_are_those_of_the_core(loss, gamma, scale):
    z, y = batch(scale=scale)
    losses, gradient = _core.row_losses(z, y, loss, gamma or 0.0)
    gradient = gradient.reshape(z.shape)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        # Of logits of 60 float32 has lost two digits.
        close = {"rtol": tolerance * max(1, scale), "atol": tolerance * max(1, scale)}
        module = ClassBalancedLoss(COUNTS, loss=loss, gamma=gamma, reduction="none")
        logits = torch.tensor(z, dtype=dtype, requires_grad=True)
        found = module(logits, torch.tensor(y.astype(np.int64)))
        assert np.allclose(found.detach().numpy(), losses, **close)
        found.sum().backward()
        assert np.allclose(logits.grad.numpy(), gradient, **close)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("loss", "gamma"), LOSSES)
def test_gradients_are_those_of_the_values(loss, gamma):
    z, y = batch(rows=6, scale=2.0)
    module = ClassBalancedLoss(COUNTS, loss=loss, gamma=gamma, ratio=5, logit_adjust=1.0)
    logits = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(y.astype(np.int64))
    assert torch.autograd.gradcheck(lambda logits: module(logits, labels), (logits,))


def test_a_mean_is_by_weights():
    z, y = batch()
    logits, labels = torch.tensor(z), torch.tensor(y.astype(np.int64))
    found = {kind: ClassBalancedLoss(COUNTS, beta=0.99, reduction=kind)(logits, labels) for kind in ("mean", "sum", "none")}
    weights = torch.tensor(effective_weights(COUNTS, beta=0.99)[y])
    assert torch.isclose(found["none"].sum(), found["sum"])
    assert torch.isclose(found["mean"], found["sum"] / weights.sum())
    theirs = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(effective_weights(COUNTS, beta=0.99)))
    assert torch.isclose(found["mean"], theirs)


@pytest.mark.parametrize(("loss", "gamma"), [("softmax", None), ("sigmoid", None), ("focal", 1.0)])
def test_torch_arrives_where_the_core_does(loss, gamma):
    X, y = long_tail(counts=(120, 40, 10))
    l2 = 1e-2
    model = LinearClassifier(loss=loss, gamma=gamma, ratio=4, l2=l2, tol=1e-6).fit(X, y)
    module = ClassBalancedLoss(np.bincount(y), loss=loss, gamma=gamma, ratio=4)
    head = torch.nn.Linear(X.shape[1], 3, dtype=torch.float64)
    rows, labels = torch.tensor(X, dtype=torch.float64), torch.tensor(y)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def objective():
        solver.zero_grad()
        value = module(head(rows), labels) + l2 / 2 * (head.weight**2).sum()
        value.backward()
        return value

    solver.step(objective)
    assert np.allclose(head.weight.detach().numpy(), model.coef_, atol=5e-3)


def test_what_cannot_be_is_refused():
    for wrong in ({"loss": "hinge"}, {"reduction": "max"}, {"gamma": 1.0}, {"beta": 2.0}, {"weighting": {0: 1.0}}):
        with pytest.raises(ValueError):
            ClassBalancedLoss(COUNTS, **wrong)
    with pytest.raises(ValueError, match="logits"):
        ClassBalancedLoss(COUNTS)(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert "4 classes" in repr(ClassBalancedLoss(COUNTS))
