"""What a compression is: a trained network in, a smaller one out, and the rows that it may be tuned on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hw_cost.graph import OpGraph, Parameter
from metaml.models import Exported, Tensors
from metaml.preprocessing import Features

Price = Callable[[OpGraph], float]
"""Predicted milliseconds of a network on its own, from features to scores."""


@dataclass(frozen=True)
class TuningRows:
    """Training rows, and how long a compressed network is tuned on them."""

    features: Features
    target: np.ndarray
    """Class codes int64 ``(n,)``, or standardised values ``(n,)``."""
    config: Mapping[str, Any]
    """Hyperparameters that the network was trained with."""
    seed: int
    seconds: float


class Compression(ABC):
    """One way to make a trained network smaller."""

    name: ClassVar[str]
    amounts: ClassVar[tuple[float, ...]]
    """What is tried, mildest first."""
    identity: ClassVar[float]
    """The amount that changes nothing."""

    @abstractmethod
    def shrink(self, network: Exported, amount: float, price: Price) -> Exported:
        """Return the network with fewer parameters, not yet tuned; the very same object where nothing can be saved.

        Args:
            network: from features to scores; it is not changed.
            amount: how much; `identity` returns `network` itself.
            price: what a network costs.
        """


Writer = Callable[[OpGraph, list[str | Parameter], Mapping[str, Any]], str]
"""(graph, sources there, data of the node that it stands for) -> node."""


def copy_graph(graph: OpGraph, writers: Mapping[str, Writer]) -> OpGraph:
    """Return a copy of a graph in which some nodes are written anew.

    Args:
        graph: the network.
        writers: node -> what appends that which stands for it.
    """
    copy, names = OpGraph(), dict[str, str]()
    for name, data in graph.network.nodes(data=True):
        if "operation" not in data:
            names[name] = copy.input(name, data["shape"], dtype=data.get("dtype"))
            continue
        sources = [names[source] if isinstance(source, str) else source for source in data["sources"]]
        operation = data["operation"]
        if name in writers:
            names[name] = writers[name](copy, sources, data)
        else:
            names[name] = copy.add(operation.op, *sources, output=operation.output, **operation.attributes)
    return copy


def parameters_of(data: Mapping[str, Any]) -> list[Parameter]:
    """Return the parameters among a node's sources, in their order."""
    return [source for source in data["sources"] if isinstance(source, Parameter)]


def used_tensors(graph: OpGraph, tensors: Tensors) -> Tensors:
    """Return the arrays that a graph uses."""
    names = {name for operation in graph for name in operation.parameters}
    return {name: array for name, array in tensors.items() if name in names}
