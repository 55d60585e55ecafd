"""An ONNX file -> `OpGraph`: the door through which networks that are not our own are costed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, shape_inference
from onnx.checker import ValidationError

from hw_cost.graph import BATCH, OpGraph, Parameter, Shape

OnnxModel = str | Path | bytes | onnx.ModelProto
"""A path, the bytes of a file, or a loaded model."""

STAND_INS = {
    "FusedGemm": "Gemm",
    "FusedMatMul": "MatMul",
    "Gelu": "Identity",
    "FastGelu": "Identity",
    "BiasGelu": "Identity",
    "QuickGelu": "Identity",
    "SkipLayerNormalization": "Identity",
    "QGemm": "Gemm",
}
"""onnxruntime's own operators -> an ONNX operator whose output has the same shape."""

ELEMENT_TYPES: dict[int, str] = {
    TensorProto.DOUBLE: "double",
    TensorProto.INT64: "int64",
    TensorProto.STRING: "string",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
}
"""Element types that a graph names; everything else counts as float."""

BLOCKED_DOMAIN, BLOCKED_PREFIX = "com.microsoft.nchwc", "Nchwc"
"""Operators on images whose channels lie in blocks of the vector width; onnxruntime names them like the plain ones."""
MAX_LIST = 16
"""Longest list of numbers that a graph keeps as an attribute."""


class ModelError(ValueError):
    """A model that cannot be read, opened or run; the message says why."""


def load_model(model: OnnxModel) -> onnx.ModelProto:
    """Return the model, read from a path or from bytes when it is not loaded yet.

    Raises:
        ModelError: it is no ONNX model.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    except (DecodeError, ValidationError) as error:
        raise ModelError(f"this is not an ONNX model ({error})") from error


def read_onnx(model: OnnxModel, tensors: Mapping[str, tuple[Shape, int]] | None = None) -> OpGraph:
    """Return the operations of an ONNX model with their shapes, weights as parameters, the batch axis as `BATCH`.

    The first axis of an input is the batch when it has no fixed length. Fused operators that onnxruntime writes into
    its optimised models are understood. A shape that cannot be inferred is that of the operator's first input.

    Args:
        model: the model.
        tensors: shape and ONNX element type of its tensors, when they are known from a run; inferred when None.
    """
    proto = load_model(model)
    if tensors is None:
        shapes, dtypes = _inferred(proto)
    else:
        shapes = {name: shape for name, (shape, _) in tensors.items()}
        dtypes = {tensor.name: int(tensor.data_type) for tensor in proto.graph.initializer}
        dtypes |= {name: dtype for name, (_, dtype) in tensors.items()}
    constants = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant_shape(node)
    graph, names = OpGraph(), {}
    for value in proto.graph.input:
        if value.name not in constants and value.name in shapes:
            names[value.name] = graph.input(value.name, shapes[value.name], **_element_type(dtypes, value.name))
    for node in proto.graph.node:
        if node.op_type != "Constant":
            _append(graph, names, node, constants, shapes, dtypes)
    return graph


def _append(
    graph: OpGraph,
    names: dict[str, str],
    node: onnx.NodeProto,
    constants: Mapping[str, Shape],
    shapes: dict[str, Shape],
    dtypes: Mapping[str, int],
) -> None:
    sources: list[str | Parameter] = []
    for name in node.input:
        if name in constants:
            sources.append(Parameter(name, constants[name]))
        elif name in names:
            sources.append(names[name])
    first = next((name for name in node.input if name in names), None)
    for output in node.output:
        shapes.setdefault(output, shapes[first] if first else ())
    attributes = _attributes(node)
    if first is not None:
        attributes |= _element_type(dtypes, node.input[-1 if node.op_type == "Where" else 0])
    op = BLOCKED_PREFIX * (node.domain == BLOCKED_DOMAIN) + node.op_type
    added = graph.add(op, *sources, output=shapes[node.output[0]], **attributes)
    names.update(dict.fromkeys(node.output, added))


def _inferred(proto: onnx.ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Return shape and element type of every tensor that shape inference can tell."""
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    for node in plain.graph.node:
        if node.op_type in STAND_INS:
            _stand_in(node)
    inferred = shape_inference.infer_shapes(plain, data_prop=True).graph
    shapes: dict[str, Shape] = {}
    dtypes = {tensor.name: int(tensor.data_type) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        tensor = value.type.tensor_type
        dtypes[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            shapes[value.name] = _shape(tensor.shape.dim)
    return shapes, dtypes


def _stand_in(node: onnx.NodeProto) -> None:
    if node.op_type == "QGemm":  # x, its scale and zero, weights, their scale and zero, bias, …
        factors = node.input[0], node.input[3]
        del node.input[:]
        node.input.extend(factors)
    node.op_type, node.domain = STAND_INS[node.op_type], ""
    kept = [attribute for attribute in node.attribute if node.op_type == "Gemm" and attribute.name.startswith("trans")]
    del node.attribute[:]
    node.attribute.extend(kept)
    if node.op_type == "Identity":
        del node.input[1:]
        del node.output[1:]


def _shape(dims: Any) -> Shape:
    """A length that is not fixed is the batch on the first axis, and 1 elsewhere."""
    return tuple(dim.dim_value or (BATCH if axis == 0 else 1) for axis, dim in enumerate(dims))


def _constant_shape(node: onnx.NodeProto) -> Shape:
    return next((tuple(a.t.dims) for a in node.attribute if a.name == "value"), ())


def _element_type(dtypes: Mapping[str, int], name: str) -> dict[str, str]:
    kind = ELEMENT_TYPES.get(dtypes.get(name, TensorProto.FLOAT))
    return {"dtype": kind} if kind else {}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Short attributes as they are; of a tree ensemble or a dictionary only the sizes."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type.startswith("TreeEnsemble"):
        return _ensemble_sizes(values)
    if node.op_type == "LabelEncoder":
        return {"n_keys": max((len(value) for name, value in values.items() if name.startswith("keys_")), default=0)}
    short = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    return {name: value for name, value in short.items() if isinstance(value, (int, float, str)) or _is_list(value)}


def _is_list(value: object) -> bool:
    """True for a short list of whole numbers, such as strides."""
    return isinstance(value, list) and len(value) <= MAX_LIST and all(isinstance(item, int) for item in value)


def _ensemble_sizes(values: Mapping[str, Any]) -> dict[str, int]:
    """Trees, leaves (of all trees together) and depth of the deepest tree."""
    if "nodes_treeids" not in values:  # the TreeEnsemble of ai.onnx.ml 5
        n_leaves = len(values.get("leaf_targetids", ()))
        sizes = {"n_trees": len(values.get("tree_roots", ())), "n_leaves": n_leaves}
        return {**sizes, "n_votes": 1, "depth": n_leaves.bit_length()}
    keys = list(zip(values["nodes_treeids"], values["nodes_nodeids"], strict=True))
    branches = zip(keys, values["nodes_modes"], values["nodes_truenodeids"], values["nodes_falsenodeids"], strict=True)
    children = {key: ((key[0], true), (key[0], false)) for key, mode, true, false in branches if mode != b"LEAF"}
    level = set(keys) - {child for pair in children.values() for child in pair}
    depth = -1
    while level:
        depth += 1
        level = {child for key in level if key in children for child in children[key]}
    n_trees, n_leaves = len(set(values["nodes_treeids"])), len(keys) - len(children)
    votes = len(values.get("target_ids") or values.get("class_ids") or ())
    return {"n_trees": n_trees, "n_leaves": n_leaves, "n_votes": max(1, round(votes / n_leaves)), "depth": depth}
