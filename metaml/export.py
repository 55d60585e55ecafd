"""A fitted pipeline as one ONNX file, from raw columns to predictions, checked against the pipeline itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.data import Task
from metaml.errors import MetamlError
from metaml.evaluation import Pipeline
from metaml.models import FAMILIES, NetworkShape, Tensors
from metaml.predictor import METADATA_KEY
from metaml.preprocessing import Preprocessor
from metaml.trial import Configuration

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
"""Versions of ONNX that onnxruntime >= 1.17 runs."""
TOLERANCE = 1e-4
"""Largest allowed difference of probabilities, or of values in units of the target's standard deviation."""
_ML_OPERATORS = {"LabelEncoder", "TreeEnsembleRegressor"}
_COST_ONLY = {"dtype", "n_keys", "n_trees", "n_leaves", "depth"}
"""Attributes of a graph that say what an operation costs; ONNX does not know them."""
_INPUT_TYPES = {"numeric": TensorProto.DOUBLE, "categorical": TensorProto.STRING}


class ParityError(MetamlError):
    """The exported file does not predict what the trained model predicts."""


def deployed_graph(config: Configuration, preprocessor: Preprocessor, shape: NetworkShape) -> OpGraph:
    """Return the whole network that would be deployed, known before training: what latency is predicted for."""
    graph = OpGraph()
    numeric, codes = preprocessor.emit(graph)
    scores = FAMILIES[config["family"]].emit(graph, numeric, codes, config, shape)
    _emit_tail(graph, scores, shape)
    return graph


def to_onnx(pipeline: Pipeline, task: Task) -> onnx.ModelProto:
    """Return a pipeline as an ONNX model.

    Inputs are ``numeric``, double ``(n, d_num)``, and ``categorical``, string ``(n, d_cat)`` (one of them is absent
    when the task has no such columns), as `metaml.data.encode_columns` makes them. The output is
    ``probabilities``, float ``(n, k)``, or ``values``, float ``(n, 1)``. A JSON description lies in the metadata.
    """
    shape, preprocessor = pipeline.model.shape, pipeline.preprocessor
    exported = pipeline.model.export()
    graph = OpGraph()
    numeric, codes = preprocessor.emit(graph)
    scores = _append(graph, exported.graph, {"numeric_features": numeric, "codes": codes})
    _emit_tail(graph, scores, shape)
    tail: Tensors = {
        "target_scale": np.array(pipeline.scale, np.float32),
        "target_center": np.array(pipeline.center, np.float32),
    }
    tensors = preprocessor.tensors() | exported.tensors | tail
    keys, values = preprocessor.dictionary()
    encoder = {"keys_strings": keys, "values_int64s": values, "default_int64": len(keys)}
    long_attributes = {"LabelEncoder": encoder, "TreeEnsembleRegressor": exported.attributes}
    return _model(graph, tensors, long_attributes, shape, describe_model(task))


def describe_model(task: Task) -> dict[str, Any]:
    """Return what a caller must know to feed the model and to read its output, as plain JSON values."""
    return {
        "task": task.name,
        "type": task.type,
        "target": task.target,
        "classes": list(task.classes),
        "columns": [{"name": column.name, "kind": column.kind} for column in task.columns],
        "inputs": {
            "numeric": [column.name for column in task.columns if column.kind != "categorical"],
            "categorical": [column.name for column in task.columns if column.kind == "categorical"],
        },
    }


def check_parity(model: bytes, pipeline: Pipeline, numeric: np.ndarray, categorical: np.ndarray) -> float:
    """Return the largest difference between the file's and the pipeline's predictions on raw rows.

    Raises:
        ParityError: it is above `TOLERANCE`.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {"numeric": numeric, "categorical": categorical}
    outputs = session.run(None, {node.name: feeds[node.name] for node in session.get_inputs()})[0]
    expected = pipeline.predict(numeric, categorical).reshape(outputs.shape)
    difference = float(np.abs(outputs - expected).max() / pipeline.scale)
    if not difference <= TOLERANCE:
        raise ParityError(
            f"The exported {pipeline.model.config['family']} differs from the trained model by {difference:.2g}, "
            f"allowed are {TOLERANCE:g}. Please report this with the configuration: {dict(pipeline.model.config)}"
        )
    return difference


def _append(graph: OpGraph, part: OpGraph, inputs: Mapping[str, str | None]) -> str:
    """Append a copy of `part` with its inputs replaced; return its last node."""
    names: dict[str, str] = {name: node for name, node in inputs.items() if node is not None}
    last = ""
    for name, data in part.network.nodes(data=True):
        if "operation" not in data:
            continue
        operation = data["operation"]
        sources = [source if isinstance(source, Parameter) else names[source] for source in data["sources"]]
        last = names[name] = graph.add(operation.op, *sources, output=operation.output, **operation.attributes)
    return last


def _emit_tail(graph: OpGraph, scores: str, shape: NetworkShape) -> str:
    output = (BATCH, shape.n_outputs)
    if not shape.is_regression:
        return graph.add("Softmax", scores, output=output, axis=-1)
    scaled = graph.add("Mul", scores, Parameter("target_scale", ()), output=output)
    return graph.add("Add", scaled, Parameter("target_center", ()), output=output)


def _model(
    graph: OpGraph,
    tensors: Tensors,
    long_attributes: Mapping[str, Mapping[str, Any]],
    shape: NetworkShape,
    description: dict[str, Any],
) -> onnx.ModelProto:
    output = "values" if shape.is_regression else "probabilities"
    last = list(graph.network.nodes)[-1]
    nodes, inputs, used = [], [], set()
    for name, data in graph.network.nodes(data=True):
        if "operation" not in data:
            inputs.append(helper.make_tensor_value_info(name, _INPUT_TYPES[name], ["batch", *data["shape"][1:]]))
            continue
        operation = data["operation"]
        used |= set(operation.parameters)
        sources = [source.name if isinstance(source, Parameter) else source for source in data["sources"]]
        attributes = {key: value for key, value in operation.attributes.items() if key not in _COST_ONLY}
        attributes |= long_attributes.get(operation.op, {})
        domain = "ai.onnx.ml" if operation.op in _ML_OPERATORS else ""
        target = output if name == last else name
        nodes.append(helper.make_node(operation.op, sources, [target], name=name, domain=domain, **attributes))
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", shape.n_outputs])]
    initialisers = [numpy_helper.from_array(np.array(tensors[name], order="C"), name) for name in sorted(used)]
    body = helper.make_graph(nodes, "metaml", inputs, outputs, initialisers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="metaml")
    helper.set_model_props(model, {METADATA_KEY: json.dumps(description)})
    onnx.checker.check_model(model)
    return model
