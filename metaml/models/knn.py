"""Nearest stored rows (Cover & Hart 1967) on features weighed by what they tell of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer, OrdinalHyperparameter

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.models.base import Exported, TabularShape, emit_dense, emit_embedding
from metaml.models.estimator_family import EstimatorFamily
from metaml.models.stored_rows import CLIP, StoredRows, code_width

MOST_NUMBERS = 4_000_000
"""Numbers in all stored rows together: fewer rows are kept of wide tables."""
SHARPNESS_STEPS = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]


class KNN(EstimatorFamily):
    """The mean target of the nearest of the rows that are kept."""

    name = "knn"
    gains_by_bagging = False
    scores = "probabilities"

    def space(self) -> ConfigurationSpace:
        """Return how many rows are kept and asked, how each counts, and how much relevant features count."""
        space = ConfigurationSpace()
        space.add(
            Integer("n_neighbors", (1, 64), default=16, log=True),
            OrdinalHyperparameter("sharpness", SHARPNESS_STEPS, default_value=4.0),
            Integer("max_rows", (128, 8192), default=4096, log=True),
            Float("relevance", (0.0, 2.0), default=1.0),
        )
        return space

    def design(self, numeric: np.ndarray, codes: np.ndarray, shape: TabularShape) -> np.ndarray:
        """Return numeric columns beside codes, float32 ``(n, n_numeric + n_categorical)``."""
        return np.hstack([numeric, codes.astype(np.float32)])

    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> StoredRows:
        """Return rows to be stored."""
        size = _Size.of(config, shape)
        return StoredRows(
            shape,
            n_neighbors=size.n_neighbors,
            max_rows=size.n_stored,
            sharpness=config["sharpness"],
            relevance=config["relevance"],
            seed=seed,
        )

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the search among the most rows that `config` and the training rows allow."""
        return _emit(graph, inputs, shape, _Size.of(config, shape), by_distance=config["sharpness"] > 0)

    def export(self, estimator: StoredRows, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Return the graph of the rows that are stored, with the rows."""
        graph = OpGraph()
        n_stored, width = estimator.rows.shape
        size = _Size(n_stored, width, estimator.n_neighbors)
        _emit(graph, shape.declare_inputs(graph), shape, size, by_distance=config["sharpness"] > 0)
        tensors = {
            "clip.low": np.array(-CLIP, np.float32),
            "clip.high": np.array(CLIP, np.float32),
            "gains": estimator.gains,
            "input.embedding.weight": estimator.code_table,
            "stored.weight": 2 * estimator.rows,
            "stored.bias": -estimator.squares,
            "n_neighbors": np.array([estimator.n_neighbors], np.int64),
            "falloff": np.array(estimator.falloff),
            "targets": estimator.targets,
            "axis": np.array([1], np.int64),
        }
        return Exported(graph, tensors, {})


@dataclass(frozen=True)
class _Size:
    n_stored: int
    width: int
    n_neighbors: int

    @classmethod
    def of(cls, config: Mapping[str, Any], shape: TabularShape) -> _Size:
        """The most rows, their width and the neighbours asked, as known before the fit."""
        width = shape.n_numeric + shape.n_categorical * code_width(shape)
        n_stored = min(config["max_rows"], max(1, MOST_NUMBERS // width), shape.n_rows or config["max_rows"])
        return cls(n_stored, width, min(config["n_neighbors"], n_stored))


def _emit(graph: OpGraph, inputs: Mapping[str, str], shape: TabularShape, size: _Size, *, by_distance: bool) -> str:
    """Append ``2 x s - s s``, which orders stored rows s as the distance from x does, and the mean of the nearest."""
    nearness = emit_dense(graph, _emit_rows(graph, inputs, shape, size.width), "stored", size.width, size.n_stored)
    kept, found = (BATCH, size.n_neighbors), (BATCH, size.n_neighbors, shape.n_outputs)
    nearest = graph.add("TopK", nearness, Parameter("n_neighbors", (1,)), output=kept, axis=-1, num_outputs=2)
    positions = graph.part(nearest, 1, kept, dtype="int64")
    targets = graph.add("Gather", Parameter("targets", (size.n_stored, shape.n_outputs)), positions, output=found)
    output, axis = (BATCH, shape.n_outputs), Parameter("axis", (1,))
    if not by_distance:
        return graph.add("ReduceMean", targets, axis, output=output, keepdims=0)
    closeness = graph.add("Mul", nearest, Parameter("falloff", ()), output=kept)
    weights = graph.add("Softmax", closeness, output=kept, axis=-1)
    row = graph.add("Unsqueeze", weights, axis, output=(BATCH, 1, size.n_neighbors), at=1)
    mean = graph.add("MatMul", row, targets, output=(BATCH, 1, shape.n_outputs))
    return graph.add("Squeeze", mean, axis, output=output)


def _emit_rows(graph: OpGraph, inputs: Mapping[str, str], shape: TabularShape, width: int) -> str:
    """Append the whole numbers that stand for the features: `StoredRows.quantise`."""
    parts = []
    if "numeric_features" in inputs:
        numbers, bounds = (BATCH, shape.n_numeric), (Parameter("clip.low", ()), Parameter("clip.high", ()))
        clipped = graph.add("Clip", inputs["numeric_features"], *bounds, output=numbers)
        scaled = graph.add("Mul", clipped, Parameter("gains", (shape.n_numeric,)), output=numbers)
        parts.append(graph.add("Round", scaled, output=numbers))
    if "codes" in inputs:
        parts.append(emit_embedding(graph, inputs["codes"], shape, code_width(shape)))
    return graph.add("Concat", *parts, output=(BATCH, width), axis=1) if len(parts) == 2 else parts[0]
