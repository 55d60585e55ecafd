"""What preprocessing is: raw inputs -> features, learned on the training rows, also as ONNX operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from hw_cost.graph import OpGraph
from metaml.data import RawInputs
from metaml.models.base import NetworkShape, Tensors

USUAL = "robust"
"""Kind of preprocessing of the configurations that do not choose one."""


def kind_of(config: Mapping[str, Any]) -> str:
    """Return the kind of preprocessing that a configuration wants."""
    return str(config.get("preprocessing", USUAL))


class Features(ABC):
    """Preprocessed rows."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What a network's ``forward`` takes, in its order; the first axis of each counts the rows."""

    @abstractmethod
    def rows(self, indices: np.ndarray) -> Self:
        """Return the rows at `indices`."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.arrays[0])


class Preprocessor(ABC):
    """Fitted on training rows alone; `fit` is the subclass's way to make one."""

    @classmethod
    @abstractmethod
    def fit(cls, inputs: RawInputs, kind: str = USUAL) -> Self:
        """Learn from raw rows, as ``Task.inputs`` has them.

        Args:
            inputs: training rows.
            kind: value of the hyperparameter ``preprocessing``; where there is no choice it means nothing.
        """

    @abstractmethod
    def transform(self, inputs: RawInputs) -> Features:
        """Return the features of raw rows."""

    @abstractmethod
    def shape(self, n_outputs: int, *, is_regression: bool) -> NetworkShape:
        """Return what a model sees of the task behind this preprocessor."""

    @abstractmethod
    def emit(self, graph: OpGraph) -> dict[str, str]:
        """Append the operations that do `transform`.

        Returns:
            Name of a model's input, as `NetworkShape.declare_inputs` has it -> node.
        """

    @abstractmethod
    def tensors(self) -> Tensors:
        """Return the arrays of the emitted operations."""

    def long_attributes(self) -> dict[str, Mapping[str, Any]]:
        """Return ONNX operator type -> attributes that are too long for the graph."""
        return {}
