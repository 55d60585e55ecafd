"""Optimisers over flat parameters; one learning rate means about the same to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from metaml.training.parameters import FlatParameters

SGD_MOMENTUM = 0.9
CLIP_NORM = 1.0
"""Largest Euclidean norm of the whole gradient, where gradients are clipped."""


@dataclass(frozen=True)
class Kind:
    """A kind of optimiser."""

    build: Callable[[nn.Parameter], Optimizer]
    """Vector of all parameters -> optimiser without weight decay."""
    rate_factor: float
    """What the configuration's learning rate, which is in AdamW's units, is multiplied with."""


OPTIMISERS: dict[str, Kind] = {
    "adamw": Kind(lambda vector: torch.optim.AdamW([vector], weight_decay=0.0, fused=True), 1.0),
    "sgd": Kind(lambda vector: torch.optim.SGD([vector], momentum=SGD_MOMENTUM, nesterov=True, fused=True), 20.0),
}
"""Name in the configuration -> AdamW (Loshchilov and Hutter 2019), or SGD with Nesterov's momentum."""


class Stepper:
    """Steps flat parameters along their gradient at a rate that is set anew in every step.

    Weight decay is decoupled, and in units of AdamW's learning rate: whichever the optimiser, a step multiplies the
    parameters that decay by ``1 - rate * share * decay`` (Loshchilov and Hutter 2019, algorithms 1 and 2).
    """

    def __init__(self, name: str, parameters: FlatParameters, *, rate: float, decay: float, clip: bool) -> None:
        kind = OPTIMISERS[name]
        self.optimiser = kind.build(parameters.vector)
        self._parameters, self._clip, self._decay = parameters, clip, rate * decay
        self._rate = rate * kind.rate_factor

    def step(self, share: float) -> None:
        """Make a step at a share of the peak learning rate, and zero the gradient."""
        parameters = self._parameters
        self.optimiser.param_groups[0]["lr"] = self._rate * share
        if self._clip:
            norm = torch.linalg.vector_norm(parameters.gradient)
            parameters.gradient.mul_((CLIP_NORM / (norm + 1e-6)).clamp(max=1.0))
        parameters.decayed.mul_(1 - self._decay * share)
        self.optimiser.step()
        parameters.gradient.zero_()
