"""TabM (Gorishniy et al. 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, Integer
from torch import Tensor, nn

from hw_cost.graph import BATCH, OpGraph, Parameter, constant
from metaml.models.base import TabularShape
from metaml.models.layers import Projection, emit_projection
from metaml.models.numeric_embedding import numeric_embedding_space
from metaml.models.torch_family import (
    ACTIVATIONS,
    TabularNetwork,
    TorchFamily,
    activation_choice,
    category_width,
    emit_input,
    input_width,
    optimiser_space,
    preprocessing_choice,
)


class TabM(TorchFamily):
    """Members that share all hidden layers; each sees the features scaled by its own numbers and has its own head.

    This is the paper's TabM-mini. Scales in every layer, as in its TabM, would take about 15 % longer for a row.
    """

    name = "tabm"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            Integer("n_members", (4, 32), default=8, log=True),
            Integer("n_layers", (1, 4), default=3),
            Integer("width", (32, 256), default=128, log=True),
            *optimiser_space(learning_rate=5e-3, dropout=0.1),
            preprocessing_choice(),
            *numeric_embedding_space("piecewise_linear"),
            category_width(),
            activation_choice(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: TabularShape) -> nn.Module:
        """Return an untrained network with a head for each member."""
        return TabularNetwork(config, shape, Members(config, input_width(config, shape), shape.n_outputs))

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the network's operations, and the mean of the members' probabilities or values."""
        features = emit_input(graph, inputs, config, shape)
        node = _emit_members(graph, features, config, input_width(config, shape))
        return _emit_heads(graph, node, shape)


class Members(nn.Module):
    """Perceptrons that share their hidden layers.

    **Shape**
    - Input: ``(batch, n_in)``
    - Output: ``(batch, members, n_outputs)``
    """

    def __init__(self, config: Mapping[str, Any], n_in: int, n_outputs: int) -> None:
        super().__init__()
        k, width = int(config["n_members"]), int(config["width"])
        self.scale = nn.Parameter(2.0 * torch.randint(2, (k, n_in)) - 1)
        body = nn.Sequential()
        for layer in range(config["n_layers"]):
            body.add_module(f"dense{layer}", Projection(n_in if layer == 0 else width, width))
            body.add_module(f"activation{layer}", ACTIVATIONS[config["activation"]][0]())
            body.add_module(f"dropout{layer}", nn.Dropout(config["dropout"]))
        self.hidden = body
        self.heads = Heads(k, width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of every member."""
        scores: Tensor = self.heads(self.hidden(x.unsqueeze(1) * self.scale))
        return scores


class Heads(nn.Module):
    """A dense layer for each member.

    **Shape**
    - Input: ``(batch, members, n_in)``
    - Output: ``(batch, members, n_out)``
    """

    def __init__(self, members: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(members, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


def _emit_members(graph: OpGraph, features: str, config: Mapping[str, Any], n_in: int) -> str:
    k, width = int(config["n_members"]), int(config["width"])
    apart = graph.add("Unsqueeze", features, constant(1), output=(BATCH, 1, n_in), at=1)
    node = graph.add("Mul", apart, Parameter("body.scale", (k, n_in)), output=(BATCH, k, n_in))
    for layer in range(config["n_layers"]):
        node = emit_projection(graph, node, f"body.hidden.dense{layer}", width)
        node = graph.add(ACTIVATIONS[config["activation"]][1], node, output=(BATCH, k, width))
    return graph.add("Unsqueeze", node, constant(2), output=(BATCH, k, 1, width), at=2)


def _emit_heads(graph: OpGraph, node: str, shape: TabularShape) -> str:
    """Append the heads and their mean: its logarithm for probabilities, which the softmax of a network undoes."""
    _, k, _, width = graph.network.nodes[node]["shape"]
    n_out = shape.n_outputs
    weight, bias = Parameter("body.heads.weight", (k, width, n_out)), Parameter("body.heads.bias", (k, n_out))
    scores = graph.add("MatMul", node, weight, output=(BATCH, k, 1, n_out))
    scores = graph.add("Squeeze", scores, constant(2), output=(BATCH, k, n_out), at=2)
    scores = graph.add("Add", scores, bias, output=(BATCH, k, n_out))
    if shape.is_regression:
        return graph.add("ReduceMean", scores, constant(1), output=(BATCH, n_out), keepdims=0)
    each = graph.add("Softmax", scores, output=(BATCH, k, n_out), axis=-1)
    mean = graph.add("ReduceMean", each, constant(1), output=(BATCH, n_out), keepdims=0)
    return graph.add("Log", mean, output=(BATCH, n_out))
