"""Multilayer perceptron (Gorishniy et al. 2021, section 3.1; ranges narrowed to what trains in seconds)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Integer
from torch import nn

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


class MLP(TorchFamily):
    """``n_layers`` blocks of dense, normalisation, activation and dropout, all of one width."""

    name = "mlp"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the network and of its training."""
        space = ConfigurationSpace()
        space.add(
            Integer("n_layers", (1, 6), default=3),
            Integer("width", (16, 512), default=128, log=True),
            CategoricalHyperparameter("normalization", ["none", "layer"], default_value="layer"),
            *optimiser_space(),
            preprocessing_choice(),
            *numeric_embedding_space(),
            category_width(),
            activation_choice(),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: TabularShape) -> nn.Module:
        """Return an untrained network."""
        body = nn.Sequential()
        n_in = input_width(config, shape)
        for block in range(config["n_layers"]):
            body.add_module(f"dense{block}", nn.Linear(n_in, config["width"]))
            if config["normalization"] == "layer":
                body.add_module(f"norm{block}", nn.LayerNorm(config["width"]))
            body.add_module(f"activation{block}", ACTIVATIONS[config["activation"]][0]())
            body.add_module(f"dropout{block}", nn.Dropout(config["dropout"]))
            n_in = config["width"]
        body.add_module("head", nn.Linear(n_in, shape.n_outputs))
        return TabularNetwork(config, shape, body)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the network's operations."""
        node = emit_input(graph, inputs, config, shape)
        n_in, width = input_width(config, shape), config["width"]
        for block in range(config["n_layers"]):
            node = emit_dense(graph, node, f"body.dense{block}", n_in, width)
            if config["normalization"] == "layer":
                node = emit_layer_norm(graph, node, f"body.norm{block}", width)
            node = graph.add(ACTIVATIONS[config["activation"]][1], node, output=(BATCH, width))
            n_in = width
        return emit_dense(graph, node, "body.head", n_in, shape.n_outputs)
