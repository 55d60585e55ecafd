"""Averages of the weights over the steps of a training."""

from __future__ import annotations

import torch
from torch import Tensor

AVERAGED_SHARE = 0.05
"""The exponential average looks back over this share of all steps."""


class ExponentialAverage:
    """Exponential moving average of a vector: ``a <- d a + (1 - d) v`` with a decay that grows from 0 to its limit.

    The decay of update t, the first being 0, is ``min(1 - 1 / horizon, t / (t + 10))``, so that the first weights are
    soon forgotten.
    """

    def __init__(self, vector: Tensor, n_steps: int) -> None:
        self.vector = vector.detach().clone()
        self._limit = 1 - 1 / max(1.0, AVERAGED_SHARE * n_steps)

    @torch.no_grad()
    def update(self, vector: Tensor, t: int) -> None:
        """Take in the weights after step `t`."""
        self.vector.lerp_(vector, 1 - min(self._limit, t / (t + 10)))
