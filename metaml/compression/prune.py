"""Structured pruning: hidden units and channels that matter least are physically removed (Li et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from hw_cost.graph import Operation, OpGraph, Parameter
from metaml.compression.base import Compression, Price, Writer, copy_graph, parameters_of, used_tensors
from metaml.models import Exported, Tensors

STEP = 8
"""Numbers of units that are kept are multiples of this: what vector registers hold."""
PASSING = {"Relu", "Gelu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Selu", "LeakyRelu", "Mish", "Clip", "Identity"}
"""Operations that treat every unit alike."""
SCALING = {"LayerNormalization", "BatchNormalization"}
"""Operations with one value of each parameter for every unit."""


@dataclass(frozen=True)
class Group:
    """Units that one operation makes and one other reads, and what happens to them in between."""

    maker: str
    between: tuple[str, ...]
    reader: str
    n_units: int


def groups_of(graph: OpGraph) -> list[Group]:
    """Return the groups of units that can be removed without any other operation noticing."""
    found = []
    for name, data in graph.network.nodes(data=True):
        if "operation" not in data or not _makes_units(data):
            continue
        between, node = [], _reader(graph, name)
        while node is not None and _passes(graph.network.nodes[node]):
            between.append(node)
            node = _reader(graph, node)
        if node is not None and _makes_units(graph.network.nodes[node]):
            found.append(Group(name, tuple(between), node, data["operation"].output[1]))
    return found


class Prune(Compression):
    """Removes a share of the hidden units of every group; the importance of one is the L1 norm of its weights."""

    name = "prune"
    amounts = (0.25, 0.5, 0.75)
    identity = 0.0

    def shrink(self, network: Exported, amount: float, price: Price) -> Exported:
        """Return the network without the units that matter least."""
        kept: dict[str, np.ndarray] = {}
        for group in groups_of(network.graph):
            n_kept = min(group.n_units, max(STEP, STEP * round((1 - amount) * group.n_units / STEP)))
            if n_kept < group.n_units:
                order = np.argsort(-importance(network, group), kind="stable")
                kept |= dict.fromkeys((group.maker, *group.between), np.sort(order[:n_kept]))
        return remove_units(network, kept) if kept and amount > self.identity else network


def importance(network: Exported, group: Group) -> np.ndarray:
    """Return the L1 norms of the weights into each unit times those out of it, ``(n_units,)``."""
    nodes = network.graph.network.nodes
    into = network.tensors[parameters_of(nodes[group.maker])[0].name]
    out = network.tensors[parameters_of(nodes[group.reader])[0].name]
    norm_in = np.abs(into.reshape(len(into), -1)).sum(axis=1)
    norm_out = np.abs(out.reshape(out.shape[0], out.shape[1], -1)).sum(axis=(0, 2))
    result: np.ndarray = norm_in * norm_out
    return result


def remove_units(network: Exported, kept: Mapping[str, np.ndarray]) -> Exported:
    """Return the network with only those units that are kept.

    Args:
        network: the network.
        kept: node of a group, its reader left out -> indices of the units that stay.
    """
    tensors, graph = dict(network.tensors), network.graph
    nodes = graph.network.nodes
    cut = {str(_reader(graph, name)): units for name, units in kept.items()}
    writers: dict[str, Writer] = {}
    for name in {*kept, *cut}:
        parameters = parameters_of(nodes[name])
        if name in kept:
            tensors |= {p.name: tensors[p.name].take(kept[name], axis=0) for p in parameters if p.value is None}
        if name in cut and _makes_units(nodes[name]):
            weight = parameters[0].name
            tensors[weight] = tensors[weight].take(cut[name], axis=1)
        writers[name] = _writer(tensors, kept.get(name))
    copy = copy_graph(graph, writers)
    return Exported(copy, used_tensors(copy, tensors), network.attributes)


def _writer(tensors: Tensors, units: np.ndarray | None) -> Writer:
    def write(copy: OpGraph, sources: list[str | Parameter], data: Mapping[str, Any]) -> str:
        operation: Operation = data["operation"]
        output = operation.output if units is None else (operation.output[0], len(units), *operation.output[2:])
        cut = [replace(s, shape=tensors[s.name].shape) if _is_array(s) else s for s in sources]
        attributes = dict(operation.attributes)
        if units is not None and _is_depthwise(operation):
            attributes["group"] = len(units)
        return copy.add(operation.op, *cut, output=output, **attributes)

    return write


def _is_array(source: str | Parameter) -> TypeGuard[Parameter]:
    return isinstance(source, Parameter) and source.value is None


def _reader(graph: OpGraph, name: str) -> str | None:
    """The only operation that reads a node, or None."""
    readers = list(graph.network.successors(name))
    return readers[0] if len(readers) == 1 else None


def _is_depthwise(operation: Operation) -> bool:
    return operation.op == "Conv" and operation.attributes.get("group", 1) == operation.output[1] > 1


def _is_dense(operation: Operation) -> bool:
    return operation.op == "Gemm" and operation.attributes.get("transB") == 1 and len(operation.inputs) == 1


def _is_full_conv(operation: Operation) -> bool:
    return operation.op == "Conv" and operation.attributes.get("group", 1) == 1 and len(operation.inputs) == 1


def _makes_units(data: Mapping[str, Any]) -> bool:
    return _is_dense(data["operation"]) or _is_full_conv(data["operation"])


def _passes(data: Mapping[str, Any]) -> bool:
    operation: Operation = data["operation"]
    if operation.op in PASSING or operation.op == "GlobalAveragePool":
        return True
    if operation.op == "Flatten":  # of images that were averaged to one pixel
        return all(length == 1 for length in operation.inputs[0][2:])
    per_unit = all(len(shape) == 1 for shape in operation.parameters.values())
    return (operation.op in SCALING and per_unit and len(operation.output) != 3) or _is_depthwise(operation)
