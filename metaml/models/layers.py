"""Layers that several families are made of, with the operations that they are exported as."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from hw_cost.graph import OpGraph, Parameter


class Prepared(nn.Module, ABC):
    """A layer with buffers, or weights to start from, that the training rows set once, before the training."""

    @abstractmethod
    def prepare(self, *inputs: Tensor) -> None:
        """Set them from all training rows, as the network's ``forward`` takes them."""


class Projection(nn.Module):
    """A dense layer on the last axis: ``x W + b``.

    Its weight is stored as ``MatMul`` takes it, or as a stack of weights for the axis before the last two.

    **Shape**
    - Input: ``(…, n_in)``
    - weight: ``(n_in, n_out)``; bias: ``(n_out,)``
    - Output: ``(…, n_out)``
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the projected features."""
        return nn.functional.linear(x, self.weight.T, self.bias)


def emit_projection(graph: OpGraph, source: str, name: str, n_out: int, *, bias: bool = True) -> str:
    """Append a `Projection`: one ``Gemm`` on ``(batch, n_in)``, else a ``MatMul`` and an ``Add``."""
    *leading, n_in = graph.network.nodes[source]["shape"]
    output = (*leading, n_out)
    weight, offset = Parameter(f"{name}.weight", (n_in, n_out)), Parameter(f"{name}.bias", (n_out,))
    if len(leading) == 1:
        return graph.add("Gemm", source, weight, *([offset] if bias else []), output=output)
    product = graph.add("MatMul", source, weight, output=output)
    return graph.add("Add", product, offset, output=output) if bias else product


def emit_norm(graph: OpGraph, source: str, name: str) -> str:
    """Append a layer normalisation over the last axis with parameters ``{name}.weight`` and ``{name}.bias``."""
    shape = graph.network.nodes[source]["shape"]
    weight, bias = Parameter(f"{name}.weight", shape[-1:]), Parameter(f"{name}.bias", shape[-1:])
    return graph.add("LayerNormalization", source, weight, bias, output=shape, axis=-1, epsilon=1e-5)
