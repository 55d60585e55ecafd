"""What is minimised, what a network's raw output means, and how good a prediction is on validation rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-7
"""A probability below this counts as this in a validation loss."""


def training_loss(scores: Tensor, target: Tensor, *, is_regression: bool, smoothing: float = 0.0) -> Tensor:
    """Return the mean squared error or the cross-entropy; each head of several has its own, and the mean is taken.

    **Shape**
    - scores: ``(batch, n_outputs)`` or ``(batch, heads, n_outputs)``
    - target: values ``(batch,)``, class codes int64 ``(batch,)`` or class probabilities ``(batch, n_outputs)``
    """
    if scores.ndim == 3:
        target = target.repeat_interleave(scores.shape[1], dim=0)
        scores = scores.flatten(0, 1)
    if is_regression:
        return functional.mse_loss(scores[:, 0], target)
    return functional.cross_entropy(scores, target, label_smoothing=smoothing)


def prediction_of(scores: Tensor, *, is_regression: bool) -> Tensor:
    """Return class probabilities ``(batch, n_outputs)`` or values ``(batch,)``: of several heads their mean.

    **Shape**
    - scores: ``(batch, n_outputs)`` or ``(batch, heads, n_outputs)``
    """
    prediction = scores[..., 0] if is_regression else scores.softmax(dim=-1)
    return prediction.mean(dim=1) if scores.ndim == 3 else prediction


def validation_loss(prediction: Tensor, target: Tensor, *, is_regression: bool) -> float:
    """Return the mean squared error, or the mean log loss, of what `prediction_of` returns."""
    if is_regression:
        return float(functional.mse_loss(prediction, target))
    logarithms = prediction.clamp_min(_TINY).log()
    if target.ndim == 2:
        return float(-(target * logarithms).sum(dim=1).mean())
    return float(-logarithms[torch.arange(len(target), device=target.device), target].mean())
