"""A network as a graph of operations with shapes: what is costed, and what is exported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

BATCH = -1
"""Stands for the batch size in every shape of a graph; replaced by a number when a cost is asked for."""

PART = "Part"
"""Operator that computes nothing: it names a later output of the operation before it."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """A trained or constant tensor that an operation takes as one of its inputs."""

    name: str
    """Its name in the tensors that the graph is exported with (the module's state dict)."""
    shape: Shape
    is_trained: bool = True
    """Whether training sets it; what comes from the data before, or from nowhere, does not count as a parameter."""
    value: tuple[int, ...] | tuple[float, ...] | None = None
    """Its elements when they are known already, as those of an axis are: whole numbers are int64, others float32."""


def constant(*numbers: int, name: str = "axes") -> Parameter:
    """Return whole numbers that an operation takes, such as axes or a shape, as a parameter that is known already.

    >>> constant(0, 4, name="shape").name
    'shape.0,4'
    """
    return Parameter(f"{name}.{','.join(map(str, numbers))}", (len(numbers),), is_trained=False, value=numbers)


def number(value: float | int) -> Parameter:
    """Return one number that an operation takes as a scalar."""
    return Parameter(f"number.{value!r}", (), is_trained=False, value=(value,))


@dataclass(frozen=True)
class Operation:
    """One ONNX operator with the shapes it works on."""

    op: str
    """ONNX operator type, such as ``Gemm``, ``Relu`` or ``LayerNormalization``."""
    inputs: tuple[Shape, ...]
    """Shapes of the activations that come in, `BATCH` for the batch size."""
    output: Shape
    """Shape of the (first) activation that goes out."""
    parameters: Mapping[str, Shape] = field(default_factory=dict)
    """Constant tensors in the operator's input order: name -> shape."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """ONNX attributes, such as ``axis`` or ``n_trees``."""


class OpGraph:
    """A directed acyclic graph of operations; node names are strings, in topological order of insertion.

    >>> graph = OpGraph()
    >>> x = graph.input("x", (BATCH, 8))
    >>> weight, bias = Parameter("0.weight", (4, 8)), Parameter("0.bias", (4,))
    >>> h = graph.add("Gemm", x, weight, bias, output=(BATCH, 4), transB=1)
    >>> y = graph.add("Relu", h, output=(BATCH, 4))
    >>> graph.n_parameters, [operation.op for operation in graph]
    (36, ['Gemm', 'Relu'])
    """

    def __init__(self) -> None:
        self.network: nx.DiGraph[str] = nx.DiGraph()
        self._n_added = 0

    def input(self, name: str, shape: Shape, *, dtype: str | None = None) -> str:
        """Declare an input of the network and return its name.

        Args:
            name: name of the input.
            shape: its shape, `BATCH` for the batch size.
            dtype: ``double``, ``int64`` or ``string``; None is float.
        """
        self.network.add_node(name, shape=shape, dtype=dtype)
        return name

    def add(self, op: str, *sources: str | Parameter, output: Shape, **attributes: Any) -> str:
        """Append an operation and return the name of its output.

        Args:
            op: ONNX operator type.
            sources: the operator's inputs in ONNX order: names of earlier nodes, or constant tensors.
            output: shape of the output.
            attributes: ONNX attributes.
        """
        activations = [source for source in sources if isinstance(source, str)]
        inputs = tuple(self.network.nodes[source]["shape"] for source in activations)
        parameters = {source.name: source.shape for source in sources if isinstance(source, Parameter)}
        name = f"{op.lower()}_{self._n_added}"
        self._n_added += 1
        operation = Operation(op, inputs, output, parameters, attributes)
        self.network.add_node(name, shape=output, operation=operation, sources=sources)
        self.network.add_edges_from((source, name) for source in activations)
        return name

    def part(self, node: str, k: int, shape: Shape, *, dtype: str | None = None) -> str:
        """Name output `k` of an operation that has several, such as the positions that ``TopK`` finds.

        Args:
            node: the operation, added with ``num_outputs``.
            k: from 1; the node itself is output 0.
            shape: of this output.
            dtype: as of an input.
        """
        typed = {"dtype": dtype} if dtype else {}
        return self.add(PART, node, output=shape, k=k, **typed)

    def __iter__(self) -> Iterator[Operation]:
        """The operations in order of insertion, inputs left out."""
        return (data["operation"] for _, data in self.network.nodes(data=True) if "operation" in data)

    @property
    def n_parameters(self) -> int:
        """Number of trained scalars; a parameter that several operations use counts once."""
        sources = {source for _, data in self.network.nodes(data=True) for source in data.get("sources", ())}
        trained = (source for source in sources if isinstance(source, Parameter) and source.is_trained)
        return sum(math.prod(parameter.shape) for parameter in trained)
