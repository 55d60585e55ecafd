"""Early stopping: the best epoch by the validation loss, and when to stop looking for a better one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
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


def agreed_epochs(losses: Sequence[Sequence[float]]) -> tuple[np.ndarray, int]:
    """Return the best epoch of each of several folds by the others' losses, and that by all of them; the first is 1.

    The rows that an error is of must not choose the epoch that it is taken at: of some hundred epochs one looks good by
    chance. A fold that stopped early is taken to stay as it was.

    Args:
        losses: validation loss after each epoch, of each fold.
    """
    longest = max(map(len, losses))
    table = np.array([[*own, *[own[-1]] * (longest - len(own))] for own in losses])
    others = table.sum(axis=0) - table
    return 1 + others.argmin(axis=1), 1 + int(table.sum(axis=0).argmin())
