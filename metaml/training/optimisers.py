"""Optimisers over flat parameters; one learning rate means about the same to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaml.training.parameters import FlatParameters

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam."""
MOMENTUM = 0.9
"""Of SGD."""
CLIP_NORM = 1.0
"""Largest Euclidean norm of the whole gradient, where gradients are clipped."""

Memory = dict[str, Tensor]
"""What an optimiser remembers of earlier steps: name -> vector as long as the parameters'."""


def adam(x: Tensor, g: Tensor, memory: Memory, rate: float, t: int) -> None:
    """Make step `t`, the first being 1, of Adam (Kingma and Ba 2015, algorithm 1) in place; x and g are ``(n,)``."""
    m, v = memory["m"], memory["v"]
    m.lerp_(g, 1 - BETA1)
    v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    root = v.sqrt().mul_((1 - BETA2**t) ** -0.5).add_(EPSILON)
    x.addcdiv_(m, root, value=-rate / (1 - BETA1**t))


def nesterov(x: Tensor, g: Tensor, memory: Memory, rate: float, _t: int) -> None:
    """Make a step of SGD with momentum m of Nesterov's kind: ``v <- m v + g; x <- x - rate (g + m v)``."""
    v = memory["v"]
    v.mul_(MOMENTUM).add_(g)
    x.add_(g, alpha=-rate).add_(v, alpha=-rate * MOMENTUM)


@dataclass(frozen=True)
class Kind:
    """A kind of optimiser."""

    step: Callable[[Tensor, Tensor, Memory, float, int], None]
    """(parameters, gradient, memory, learning rate, number of the step) -> new parameters, in place."""
    memory: tuple[str, ...]
    """Names of the vectors that it remembers, all zero at first."""
    rate_factor: float
    """What the configuration's learning rate, which is in Adam's units, is multiplied with."""


OPTIMISERS: dict[str, Kind] = {
    "adamw": Kind(adam, ("m", "v"), 1.0),
    "sgd": Kind(nesterov, ("v",), 20.0),
}
"""Name in the configuration -> optimiser."""


class Stepper:
    """Steps flat parameters along their gradient at a rate that is set anew in every step.

    Weight decay is decoupled, and in units of Adam's learning rate: whichever the optimiser, a step multiplies the
    parameters that decay by ``1 - rate * share * decay`` (Loshchilov and Hutter 2019, algorithms 1 and 2). One vector
    and own formulas take a tenth of a millisecond less than `torch.optim`, which is much for a small network.
    """

    def __init__(self, name: str, parameters: FlatParameters, *, rate: float, decay: float, clip: bool) -> None:
        self._kind, self._parameters, self._clip = OPTIMISERS[name], parameters, clip
        self._rate, self._decay = rate * self._kind.rate_factor, rate * decay
        self.memory: Memory = {key: torch.zeros_like(parameters.gradient) for key in self._kind.memory}

    @torch.no_grad()
    def step(self, t: int, share: float) -> None:
        """Make step `t`, the first being 0, at a share of the peak learning rate, and zero the gradient."""
        x, g = self._parameters.values, self._parameters.gradient
        if self._clip:
            g.mul_((CLIP_NORM / (torch.linalg.vector_norm(g) + 1e-6)).clamp(max=1.0))
        self._parameters.decayed.mul_(1 - self._decay * share)
        self._kind.step(x, g, self.memory, self._rate * share, t + 1)
        g.zero_()
