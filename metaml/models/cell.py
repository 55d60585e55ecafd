"""Networks of one repeated cell, as NAS-Bench-201 has them (Dong & Yang 2020): a graph of four nodes and six edges.

The cell is a sum at each node of what comes in over its edges; an edge is nothing, the identity, a convolution or a
mean. 5^6 = 15,625 cells, in three stages of the same depth between which the image shrinks and the width doubles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Integer, OrdinalHyperparameter
from torch import Tensor, nn

from hw_cost.graph import OpGraph
from metaml.models.base import ImageShape
from metaml.models.image_family import ImageFamily, shrunk, stage_stride, stem_stride, training_space
from metaml.models.image_layers import (
    Activation,
    AveragePool,
    Chain,
    Convolution,
    ImageNetwork,
    ImageNode,
    Layer,
    Stem,
    emit_sum,
)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""In the order of the benchmark's strings; node 0 is the input, node 3 the output."""
N_STAGES = 3
DEFAULTS = {(0, 1): "nor_conv_3x3", (1, 3): "nor_conv_3x3", (0, 3): "skip_connect"}
"""The residual block of He et al. (2016); nothing on all other edges."""


def cell_graph(config: Mapping[str, Any]) -> nx.DiGraph[int]:
    """Return the cell: the edges on paths from input to output, each with its ``operation``.

    A cell whose edges lead nowhere passes its input on, so that every configuration is a network.

    >>> list(cell_graph({"edge_01": "nor_conv_3x3", "edge_13": "skip_connect", "edge_23": "avg_pool_3x3"}).edges)
    [(0, 1), (1, 3)]
    """
    cell: nx.DiGraph[int] = nx.DiGraph()
    cell.add_nodes_from(range(4))
    for a, b in EDGES:
        operation = config.get(edge_name(a, b), "none")
        if operation != "none":
            cell.add_edge(a, b, operation=operation)
    alive = (nx.descendants(cell, 0) | {0}) & (nx.ancestors(cell, 3) | {3})
    if 3 not in alive:
        cell.clear_edges()
        cell.add_edge(0, 3, operation="skip_connect")
        return cell
    cell.remove_edges_from([(a, b) for a, b in cell.edges if not {a, b} <= alive])
    return cell


def edge_name(a: int, b: int) -> str:
    """Return the hyperparameter that says what an edge does."""
    return f"edge_{a}{b}"


class CellLayer(Layer):
    """One cell; as many channels out as in, of the same height and width."""

    def __init__(self, graph: nx.DiGraph[int], channels: int) -> None:
        super().__init__()
        self.edges = tuple((a, b) for a, b in EDGES if graph.has_edge(a, b))
        operations = {edge_name(a, b): _operation(graph.edges[a, b]["operation"], channels) for a, b in self.edges}
        self.operations = nn.ModuleDict({name: layer for name, layer in operations.items() if layer is not None})

    def forward(self, x: Tensor) -> Tensor:
        """Return the output's sum."""
        nodes = {0: x}
        for a, b in self.edges:
            name = edge_name(a, b)
            y = self.operations[name](nodes[a]) if name in self.operations else nodes[a]
            nodes[b] = nodes[b] + y if b in nodes else y
        return nodes[3]

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append the operations of all edges, and the sums."""
        nodes = {0: x}
        for a, b in self.edges:
            y, key = nodes[a], edge_name(a, b)
            if key in self.operations:
                layer = self.operations[key]
                assert isinstance(layer, Layer)
                y = layer.emit(graph, y, f"{name}.operations.{key}")
            nodes[b] = emit_sum(graph, nodes[b], y) if b in nodes else y
        return nodes[3]


def _operation(name: str, channels: int) -> Layer | None:
    """Return what an edge does; None for the identity."""
    if name == "skip_connect":
        return None
    if name == "avg_pool_3x3":
        return AveragePool(3, 1)
    return Chain(Activation("relu"), Convolution(channels, channels, 3 if name == "nor_conv_3x3" else 1))


class Reduction(Layer):
    """The benchmark's residual block between two stages: two convolutions beside a mean and a convolution."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        first = Convolution(n_in, n_out, 3, stride=stride)
        self.long = Chain(Activation("relu"), first, Activation("relu", in_place=True), Convolution(n_out, n_out, 3))
        means = [AveragePool(2, stride)] if stride > 1 else []
        self.short = Chain(*means, Convolution(n_in, n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        y: Tensor = self.long(x) + self.short(x)
        return y

    def emit(self, graph: OpGraph, x: ImageNode, name: str) -> ImageNode:
        """Append both ways, and their sum."""
        return emit_sum(graph, self.long.emit(graph, x, f"{name}.long"), self.short.emit(graph, x, f"{name}.short"))


class Cell(ImageFamily):
    """A convolution, three stages of cells with reductions between them, and a dense head."""

    name = "cell"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the cell, of the network around it, and of its training."""
        space = ConfigurationSpace()
        space.add(
            *(
                CategoricalHyperparameter(edge_name(*edge), list(OPERATIONS), default_value=DEFAULTS.get(edge, "none"))
                for edge in EDGES
            ),
            OrdinalHyperparameter("channels", [8, 16, 24, 32], default_value=24),
            Integer("n_cells", (1, 3), default=1),
            OrdinalHyperparameter("stem_stride", [1, 2], default_value=2),
            *training_space(activations=("relu",)),
        )
        return space

    def build(self, config: Mapping[str, Any], shape: ImageShape) -> ImageNetwork:
        """Return an untrained network."""
        channels, stride = config["channels"], stem_stride(config, shape.height, shape.width)
        height, width = shrunk(shape.height, stride), shrunk(shape.width, stride)
        cell = cell_graph(config)
        layers: list[Layer] = [Stem(shape.channels, channels, 3, stride=stride)]
        for stage in range(N_STAGES):
            if stage:
                stride = stage_stride(stage, height, width)
                height, width = shrunk(height, stride), shrunk(width, stride)
                layers.append(Reduction(channels, 2 * channels, stride))
                channels *= 2
            layers += [CellLayer(cell, channels) for _ in range(config["n_cells"])]
        layers.append(Activation("relu"))
        return ImageNetwork(Chain(*layers), channels, shape.n_outputs, config["dropout"])
