"""The parameters of a network as one long vector, so that a step of the optimiser is a few operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """All parameters of a module in one vector, of which they become views; those that decay come first.

    Gradients are accumulated in place into `gradient`, which therefore must be zeroed, never be replaced.

    Args:
        module: what is trained.
        decayed: those of its parameters that weight decay acts on.
    """

    def __init__(self, module: nn.Module, decayed: Sequence[nn.Parameter]) -> None:
        chosen = {id(parameter) for parameter in decayed}
        rest = [parameter for parameter in module.parameters() if id(parameter) not in chosen]
        parameters = [*decayed, *rest]
        self.values: Tensor = torch.cat([parameter.detach().flatten() for parameter in parameters])
        """``(n,)``; a change is one of the module."""
        self.gradient: Tensor = torch.zeros_like(self.values)
        """``(n,)``"""
        self.decayed: Tensor = self.values[: sum(parameter.numel() for parameter in decayed)]
        """The part that decays."""
        sizes = [parameter.numel() for parameter in parameters]
        parts = zip(parameters, torch.split(self.values, sizes), torch.split(self.gradient, sizes), strict=True)
        for parameter, value, gradient in parts:
            parameter.data = value.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
