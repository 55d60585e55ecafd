"""Residual network for tables (Gorishniy et al. 2021, section 3.2), with layer instead of batch normalisation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace, Float, Integer
from torch import Tensor, nn

from hw_cost.graph import BATCH, OpGraph
from metaml.models.base import TabularShape, emit_dense, emit_layer_norm
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


class ResidualBlock(nn.Module):
    """``x + dense(dropout(activation(dense(norm(x)))))``; ``(batch, width)`` in and out."""

    def __init__(self, width: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.activation = ACTIVATIONS[activation][0]()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        residual: Tensor = self.project(self.dropout(self.activation(self.expand(self.norm(x)))))
        return x + residual


def hidden_width(config: Mapping[str, Any]) -> int:
    """Width inside a block, rounded to a multiple of 8."""
    return max(8, 8 * round(float(config["width"]) * float(config["hidden_factor"]) / 8))


class ResNet(TorchFamily):
    """A dense stem, ``n_blocks`` residual blocks, and a normalised dense head."""

    name = "resnet"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            Integer("n_blocks", (1, 4), default=2),
            Integer("width", (16, 384), default=96, log=True),
            Float("hidden_factor", (1.0, 4.0), default=2.0),
            *optimiser_space(),
            preprocessing_choice(),
            *numeric_embedding_space(),
            category_width(),
            activation_choice(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: TabularShape) -> nn.Module:
        """Return an untrained network."""
        width, activation = config["width"], config["activation"]
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Linear(input_width(config, shape), width))
        for block in range(config["n_blocks"]):
            layers[f"block{block}"] = ResidualBlock(width, hidden_width(config), activation, config["dropout"])
        layers["norm"] = nn.LayerNorm(width)
        layers["activation"] = ACTIVATIONS[activation][0]()
        layers["head"] = nn.Linear(width, shape.n_outputs)
        return TabularNetwork(config, shape, nn.Sequential(layers))

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the network's operations."""
        node = emit_input(graph, inputs, config, shape)
        width, hidden, activation = config["width"], hidden_width(config), ACTIVATIONS[config["activation"]][1]
        node = emit_dense(graph, node, "body.stem", input_width(config, shape), width)
        for block in range(config["n_blocks"]):
            name = f"body.block{block}"
            inner = emit_layer_norm(graph, node, f"{name}.norm", width)
            inner = emit_dense(graph, inner, f"{name}.expand", width, hidden)
            inner = graph.add(activation, inner, output=(BATCH, hidden))
            inner = emit_dense(graph, inner, f"{name}.project", hidden, width)
            node = graph.add("Add", node, inner, output=(BATCH, width))
        node = emit_layer_norm(graph, node, "body.norm", width)
        node = graph.add(activation, node, output=(BATCH, width))
        return emit_dense(graph, node, "body.head", width, shape.n_outputs)
