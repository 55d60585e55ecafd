"""The parameters of a network as one long vector, so that a step of the optimiser is a few operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """All parameters of a module in one vector, of which they become views; those that decay come first.

    Gradients are accumulated in place into `gradient`, which therefore must be zeroed, never be set to None.

    Args:
        module: what is trained.
        decayed: those of its parameters that weight decay acts on.
    """

    def __init__(self, module: nn.Module, decayed: Sequence[nn.Parameter]) -> None:
        chosen = {id(parameter) for parameter in decayed}
        rest = [parameter for parameter in module.parameters() if id(parameter) not in chosen]
        parameters = [*decayed, *rest]
        self.vector = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        n_decayed = sum(parameter.numel() for parameter in decayed)
        self.decayed: Tensor = self.vector.data[:n_decayed]
        """A view of the part that decays."""
        _make_views(parameters, self.vector.data, self.gradient)


def _make_views(parameters: Sequence[nn.Parameter], values: Tensor, gradients: Tensor) -> None:
    sizes = [parameter.numel() for parameter in parameters]
    parts = zip(parameters, torch.split(values, sizes), torch.split(gradients, sizes), strict=True)
    for parameter, value, gradient in parts:
        parameter.data = value.view_as(parameter)
        parameter.grad = gradient.view_as(parameter)
