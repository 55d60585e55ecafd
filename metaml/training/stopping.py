"""Early stopping: the best epoch by the validation loss, and when to stop looking for a better one."""

from __future__ import annotations

import math

from torch import Tensor, nn

PATIENCE, MIN_PATIENCE = 0.25, 8
"""A training stops after this share of its epochs without a better one, and after so many epochs at least."""


class BestEpoch:
    """Keeps the weights of the epoch with the lowest validation loss, the earliest among equals.

    Args:
        n_epochs: length of the whole training.
    """

    def __init__(self, n_epochs: int) -> None:
        self.epoch, self.loss = 0, math.inf
        self.weights: dict[str, Tensor] = {}
        """State dict of the module; empty before the first epoch."""
        self._patience = max(MIN_PATIENCE, math.ceil(PATIENCE * n_epochs))

    def see(self, epoch: int, loss: float, module: nn.Module) -> None:
        """Compare the network after `epoch` epochs with the best one so far."""
        if loss < self.loss:
            self.epoch, self.loss = epoch, loss
            self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def is_past(self, epoch: int) -> bool:
        """Whether the best epoch lies so far back that a better one is not expected."""
        return epoch - self.epoch >= self._patience
