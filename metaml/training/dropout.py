"""Dropout whose random numbers take a third of the time of torch's own on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16
"""Sixteen random bits decide on a value; four decisions are made of one draw."""


class Dropout(nn.Module):
    """Sets each value to 0 with a probability p < 1, rounded to 1/65536, and scales the others by ``1 / (1 - p)``.

    The chance comes from torch's global generator, as that of `torch.nn.Dropout` does, but not in the same order.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._n_dropped = round(p * _LEVELS)
        self._scale = _LEVELS / max(1, _LEVELS - self._n_dropped)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` in eval mode, and with some values dropped in training; any shape in, the same shape out."""
        if not self.training or not self._n_dropped:
            return x
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        return x * ((bits >= self._n_dropped - _LEVELS // 2) * self._scale)


def hasten(module: nn.Module) -> nn.Module:
    """Replace the `torch.nn.Dropout` inside a module that is on a CPU; return the module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout and child.p < 1:
                setattr(parent, name, Dropout(child.p))
    return module
