"""Class-balanced losses for torch, the same as those that cbfit's own learners minimise.

>>> import torch
>>> from cbfit.torch import ClassBalancedLoss
>>> loss = ClassBalancedLoss([5000, 500, 50], beta=.999, loss="focal", gamma=2.0)
>>> logits = torch.zeros(4, 3, requires_grad=True)
>>> value = loss(logits, torch.tensor([0, 0, 1, 2]))
>>> value.backward()
>>> round(float(value.detach()), 4)
0.5199
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import _core, _rules


class ClassBalancedLoss(torch.nn.Module):  # type: ignore[misc]
    """Softmax, sigmoid or focal loss with class-balanced weights (Cui et al., CVPR 2019).

    The one-vs-rest losses are sums over classes, not means, and the weight of a row multiplies all of its terms. A mean over rows
    is ``sum_i w_i loss_i / sum_i w_i``: no weighting changes the length of a step in secret.

    Parameters
    ----------
    counts : array of the training rows of each class, in the order of the logits
    loss : {"softmax", "sigmoid", "focal", "softmax-focal"}
    weighting, beta, ratio : as for `cbfit.LinearClassifier`; a dict is by place of the class
    gamma : float, optional
        Exponent of the focal losses [1].
    logit_adjust : float
        tau of the logit adjustment inside the loss (Menon et al., ICLR 2021): predict from the logits as they are.
    reduction : {"mean", "sum", "none"}
    """

    weight: Tensor
    offset: Tensor

    def __init__(
        self,
        counts: Any,
        *,
        loss: str = "softmax",
        weighting: _rules.Weighting = None,
        beta: _rules.Beta = None,
        ratio: Optional[float] = None,
        gamma: Optional[float] = None,
        logit_adjust: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if loss not in ("softmax", "sigmoid", "focal", "softmax-focal"):
            raise ValueError(f"loss={loss!r}: take 'softmax', 'sigmoid', 'focal' or 'softmax-focal'")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction={reduction!r}: take 'mean', 'sum' or 'none'")
        counts = np.asarray(list(counts.values()) if isinstance(counts, Mapping) else counts, dtype=np.float64)
        rule = _rules.rule(weighting, beta, ratio, np.arange(len(counts)))
        weight = _core.class_weights(counts.tolist(), rule, "samples")
        # A class without rows counts as half the smallest, so that no offset is infinite.
        shares = np.where(counts > 0, counts, counts[counts > 0].min() / 2) / counts.sum()
        self.loss = loss
        self.gamma = _rules.focus(loss, gamma)
        self.reduction = reduction
        # Buffers move with the module to another device.
        self.register_buffer("weight", torch.as_tensor(weight))
        self.register_buffer("offset", torch.as_tensor(logit_adjust * np.log(shares)))

    def forward(self, logits: Tensor, labels: Tensor, sample_weight: Optional[Tensor] = None) -> Tensor:
        """The loss of `logits` (rows x classes) for `labels` (places of classes)."""
        if logits.ndim != 2 or logits.shape[1] != len(self.weight):
            raise ValueError(f"logits have shape {tuple(logits.shape)}: give one a row for each of {len(self.weight)} classes")
        losses = row_losses(logits + self.offset.to(logits.dtype), labels, self.loss, self.gamma)
        weights = self.weight.to(logits.dtype)[labels]
        if sample_weight is not None:
            weights = weights * sample_weight.to(logits.dtype)
        weighted = weights * losses
        if self.reduction == "none":
            return weighted
        total: Tensor = weighted.sum()
        return total if self.reduction == "sum" else total / weights.sum()

    def extra_repr(self) -> str:
        """What distinguishes it."""
        gamma = f", gamma={self.gamma}" if self.gamma else ""
        return f"{len(self.weight)} classes, loss={self.loss!r}{gamma}, reduction={self.reduction!r}"


def row_losses(logits: Tensor, labels: Tensor, loss: str, gamma: float) -> Tensor:
    """The loss of each row without weights."""
    own = functional.one_hot(labels, logits.shape[1]).bool()
    if loss in ("softmax", "softmax-focal"):
        if gamma == 0:
            cross_entropy: Tensor = functional.cross_entropy(logits, labels, reduction="none")
            return cross_entropy
        # One focal term of the lead over the other classes: 1 - p would lose its digits.
        others = torch.logsumexp(logits.masked_fill(own, -torch.inf), 1)
        lead = logits.gather(1, labels[:, None])[:, 0] - others
        focal: Tensor = -torch.exp(gamma * functional.logsigmoid(-lead)) * functional.logsigmoid(lead)
        return focal
    signed = torch.where(own, logits, -logits)
    terms: Tensor = -functional.logsigmoid(signed)
    if gamma > 0:
        terms = torch.exp(gamma * functional.logsigmoid(-signed)) * terms
    return terms.sum(1)


__all__ = ["ClassBalancedLoss", "row_losses"]
