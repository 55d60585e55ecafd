"""A fitted pipeline as one ONNX file, from raw columns to predictions, checked against the pipeline itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.onnx_writer import to_model
from metaml.data import RawInputs, Task
from metaml.errors import MetamlError
from metaml.evaluation import Pipeline
from metaml.models import FAMILIES, Family, NetworkShape, Tensors
from metaml.predictor import METADATA_KEY
from metaml.preprocessing import Preprocessor
from metaml.trial import Configuration

TOLERANCE = 1e-4
"""Largest allowed difference of probabilities, or of values in units of the target's standard deviation."""
PARITY_ROWS, PARITY_VALUES = 512, 2_000_000
"""Rows on which an exported file is compared with the trained model, and values in them: of large images fewer rows."""


class ParityError(MetamlError):
    """The exported file does not predict what the trained model predicts."""


def deployed_graph(config: Configuration, preprocessor: Preprocessor, shape: NetworkShape) -> OpGraph:
    """Return the whole network that would be deployed, known before training: what latency is predicted for."""
    graph = OpGraph()
    family = FAMILIES[config["family"]]
    _emit_tail(graph, family.emit(graph, preprocessor.emit(graph), config, shape), shape, family)
    return graph


def to_onnx(pipeline: Pipeline, task: Task) -> onnx.ModelProto:
    """Return a pipeline as an ONNX model.

    Inputs are those of ``Task.inputs``: of a table ``numeric``, double ``(n, d_num)``, and ``categorical``, string
    ``(n, d_cat)`` (one of them is absent when the task has no such columns). The output is
    ``probabilities``, float ``(n, k)``, or ``values``, float ``(n, 1)``. A JSON description lies in the metadata.
    """
    shape, preprocessor = pipeline.model.shape, pipeline.preprocessor
    exported = pipeline.model.export()
    graph = OpGraph()
    scores = _append(graph, exported.graph, preprocessor.emit(graph))
    _emit_tail(graph, scores, shape, FAMILIES[pipeline.model.config["family"]])
    tail: Tensors = {
        "target_scale": np.array(pipeline.scale, np.float32),
        "target_center": np.array(pipeline.center, np.float32),
    }
    tensors = preprocessor.tensors() | exported.tensors | tail
    long_attributes = {**preprocessor.long_attributes(), "TreeEnsembleRegressor": exported.attributes}
    attributes = {name: long_attributes.get(data["operation"].op, {}) for name, data in _operations(graph)}
    last = list(graph.network.nodes)[-1]
    name = "values" if shape.is_regression else "probabilities"
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", shape.n_outputs])
    model = to_model(graph, tensors, attributes, {last: output})
    helper.set_model_props(model, {METADATA_KEY: json.dumps(describe_model(task))})
    onnx.checker.check_model(model)
    return model


def describe_model(task: Task) -> dict[str, Any]:
    """Return what a caller must know to feed the model and to read its output, as plain JSON values."""
    return {
        "task": task.name,
        "modality": task.modality,
        "type": task.type,
        "target": task.target,
        "classes": list(task.classes),
        **task.describe_inputs(),
    }


def parity_rows(inputs: RawInputs) -> RawInputs:
    """Return the first rows, on which files are compared with trained models."""
    values = sum(math.prod(array.shape[1:]) for array in inputs.values())
    n = max(1, min(PARITY_ROWS, PARITY_VALUES // max(1, values)))
    return {name: array[:n] for name, array in inputs.items()}


def check_parity(model: bytes, pipeline: Pipeline, inputs: RawInputs) -> float:
    """Return the largest difference between the file's and the pipeline's predictions on raw rows.

    Raises:
        ParityError: it is above `TOLERANCE`.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})[0]
    expected = pipeline.predict(inputs).reshape(outputs.shape)
    difference = float(np.abs(outputs - expected).max() / pipeline.scale)
    if not difference <= TOLERANCE:
        raise ParityError(
            f"The exported {pipeline.model.config['family']} differs from the trained model by {difference:.2g}, "
            f"allowed are {TOLERANCE:g}. Please report this with the configuration: {dict(pipeline.model.config)}"
        )
    return difference


def _append(graph: OpGraph, part: OpGraph, inputs: Mapping[str, str]) -> str:
    """Append a copy of `part` with its inputs replaced; return its last node."""
    names = dict(inputs)
    last = ""
    for name, data in _operations(part):
        operation = data["operation"]
        sources = [source if isinstance(source, Parameter) else names[source] for source in data["sources"]]
        last = names[name] = graph.add(operation.op, *sources, output=operation.output, **operation.attributes)
    return last


def _operations(graph: OpGraph) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, data) for name, data in graph.network.nodes(data=True) if "operation" in data)


def _emit_tail(graph: OpGraph, scores: str, shape: NetworkShape, family: Family) -> str:
    output = (BATCH, shape.n_outputs)
    if not shape.is_regression:
        is_done = family.scores == "probabilities"
        return scores if is_done else graph.add("Softmax", scores, output=output, axis=-1)
    scaled = graph.add("Mul", scores, Parameter("target_scale", ()), output=output)
    return graph.add("Add", scaled, Parameter("target_center", ()), output=output)
