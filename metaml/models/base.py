"""What a family of models is: its hyperparameters, its model and its operation graph, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace

from hw_cost.graph import BATCH, OpGraph, Parameter, number
from metaml.data import Modality

Tensors = dict[str, np.ndarray]
"""Trained arrays by the names that the operation graph gives its parameters."""


@dataclass(frozen=True)
class NetworkShape(ABC):
    """What a model sees of a task after preprocessing."""

    n_outputs: int = field(kw_only=True)
    """Number of classes, or 1 for regression."""
    is_regression: bool = field(kw_only=True)

    @abstractmethod
    def declare_inputs(self, graph: OpGraph) -> dict[str, str]:
        """Append a model's inputs to a graph; name of the input -> node, which are the same here."""


@dataclass(frozen=True)
class TabularShape(NetworkShape):
    """What a model sees of a table: ``numeric_features`` (batch, n_numeric), ``codes`` (batch, n_categorical)."""

    n_numeric: int
    """Number of float columns, missing-value indicators included."""
    cardinalities: tuple[int, ...]
    """Number of codes of each categorical column."""
    n_rows: int | None = field(default=None, kw_only=True)
    """Rows that there are to learn from; None when that is not known: models that grow with them are then the largest
    that their configuration allows."""

    def declare_inputs(self, graph: OpGraph) -> dict[str, str]:
        """Append the inputs that the table has: float32 ``numeric_features``, int64 ``codes``."""
        inputs = {"numeric_features": (self.n_numeric, None), "codes": (self.n_categorical, "int64")}
        declared = ((name, width, dtype) for name, (width, dtype) in inputs.items() if width)
        return {name: graph.input(name, (BATCH, width), dtype=dtype) for name, width, dtype in declared}

    @property
    def n_codes(self) -> int:
        """Number of codes of all categorical columns together."""
        return sum(self.cardinalities)

    @property
    def n_categorical(self) -> int:
        """Number of categorical columns."""
        return len(self.cardinalities)


@dataclass(frozen=True)
class ImageShape(NetworkShape):
    """What a model sees of images: ``images`` (batch, channels, height, width)."""

    channels: int
    height: int
    width: int

    def declare_inputs(self, graph: OpGraph) -> dict[str, str]:
        """Append the float32 input ``images``."""
        return {"images": graph.input("images", (BATCH, self.channels, self.height, self.width))}


@dataclass(frozen=True)
class Exported:
    """A trained model as operations and arrays: all that its ONNX file needs."""

    graph: OpGraph
    tensors: Tensors
    attributes: Mapping[str, Any]
    """Long ONNX attributes of the graph's tree ensemble, if it has one."""


class Family(ABC):
    """One kind of model. Subclass `TorchFamily` or `EstimatorFamily`."""

    name: ClassVar[str]
    modality: ClassVar[Modality] = "tabular"
    """What it can learn."""
    scores: ClassVar[Literal["logits", "probabilities"]] = "logits"
    """What its scores of classes are: to be made probabilities by a softmax, or probabilities already."""
    gains_by_bagging: ClassVar[bool] = True
    """Whether fits on other parts of the rows differ so much that their mean is better than each."""

    @abstractmethod
    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of this family, with defaults that are a good first try."""

    @abstractmethod
    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: Any) -> str:
        """Append the model's operations to `graph` and return the node of its scores.

        Args:
            graph: receives the operations.
            inputs: name of an input, as `NetworkShape.declare_inputs` has it -> node.
            config: hyperparameters.
            shape: what the model sees.

        Returns:
            Node of float32 ``(batch, n_outputs)``: scores of classes as `scores` says, or values.
        """

    def architecture(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the hyperparameters that decide which operations the model becomes; all, unless a family knows."""
        return config

    def shortened(self, config: Mapping[str, Any], share: float) -> dict[str, Any] | None:
        """Return a configuration whose fit takes that share of the time; None where there is no such thing.

        What a family trains for so many epochs that a busy machine or a short search has no time for them is better
        trained for fewer than not at all.
        """
        return None

    def lengthened(self, config: Mapping[str, Any], share: float) -> dict[str, Any] | None:
        """Return a configuration that is trained so many times as long, where that is known to pay; None elsewhere."""
        return None

    def graph(self, config: Mapping[str, Any], shape: NetworkShape) -> OpGraph:
        """Return the model alone as a graph, from preprocessed features to scores."""
        graph = OpGraph()
        self.emit(graph, shape.declare_inputs(graph), config, shape)
        return graph


def emit_squash(graph: OpGraph, numeric: str, width: int) -> str:
    """Append the smooth clip x / sqrt(1 + (x/3)^2) of Holzmüller 2024 (RealMLP), which tames outliers.

    The same function on arrays is `squash`.
    """
    shape = (BATCH, width)
    square = graph.add("Mul", numeric, numeric, output=shape)
    ninth = graph.add("Mul", square, number(1 / 9), output=shape)
    above_one = graph.add("Add", ninth, number(1.0), output=shape)
    root = graph.add("Sqrt", above_one, output=shape)
    return graph.add("Div", numeric, root, output=shape)


def squash(numeric: np.ndarray) -> np.ndarray:
    """Return x / sqrt(1 + (x/3)^2): the identity near 0, at most 3 in size; any shape in, the same shape out.

    >>> squash(np.array([0.0, 1e6])).round(3).tolist()
    [0.0, 3.0]
    """
    clipped: np.ndarray = numeric / np.sqrt(numeric * numeric * np.float32(1 / 9) + np.float32(1))
    return clipped


def emit_embedding(graph: OpGraph, codes: str, shape: TabularShape, dimension: int) -> str:
    """Append a lookup in one table for all categorical columns; node of ``(batch, n_categorical * dimension)``."""
    table = Parameter("input.embedding.weight", (shape.n_codes, dimension))
    rows = graph.add("Gather", table, codes, output=(BATCH, shape.n_categorical, dimension), axis=0)
    width = shape.n_categorical * dimension
    return graph.add("Flatten", rows, output=(BATCH, width), axis=1)


def emit_dense(graph: OpGraph, source: str, name: str, n_in: int, n_out: int) -> str:
    """Append ``x W^T + b`` with parameters ``{name}.weight`` (n_out, n_in) and ``{name}.bias`` (n_out,)."""
    weight, bias = Parameter(f"{name}.weight", (n_out, n_in)), Parameter(f"{name}.bias", (n_out,))
    return graph.add("Gemm", source, weight, bias, output=(BATCH, n_out), transB=1)


def emit_layer_norm(graph: OpGraph, source: str, name: str, width: int) -> str:
    """Append a layer normalisation with parameters ``{name}.weight`` and ``{name}.bias``, both (width,)."""
    weight, bias = Parameter(f"{name}.weight", (width,)), Parameter(f"{name}.bias", (width,))
    return graph.add("LayerNormalization", source, weight, bias, output=(BATCH, width), axis=-1, epsilon=1e-5)
