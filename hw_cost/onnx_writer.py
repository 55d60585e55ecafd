"""An `OpGraph` with its constants -> an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hw_cost.graph import PART, Operation, OpGraph, Parameter
from hw_cost.onnx_reader import BLOCKED_DOMAIN, BLOCKED_PREFIX

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
"""Versions of ONNX that onnxruntime >= 1.17 runs."""
COST_ONLY = {"dtype", "n_keys", "n_trees", "n_leaves", "n_votes", "depth", "n_features", "at"}
"""Attributes of a graph that say what an operation costs; ONNX does not know them."""
DOMAINS = {
    **dict.fromkeys(("LabelEncoder", "TreeEnsembleRegressor"), "ai.onnx.ml"),
    **dict.fromkeys(("FusedGemm", "FusedConv", "FusedMatMul", "BiasGelu", "QuickGelu"), "com.microsoft"),
    **dict.fromkeys(("QGemm", "QLinearConv", "QLinearAdd", "QLinearSoftmax", "QLinearLeakyRelu"), "com.microsoft"),
    **dict.fromkeys(("QLinearAveragePool", "NhwcMaxPool"), "com.microsoft"),
}
_TYPES = {
    "double": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
    "uint8": TensorProto.UINT8,
}


def to_model(
    graph: OpGraph,
    constants: Mapping[str, np.ndarray],
    attributes: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, onnx.ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    """Return an ONNX model of a graph.

    Args:
        graph: operations; inputs carry their dtype, or it is told from what reads them.
        constants: name of a parameter -> its array; those that the graph does not use are left out.
        attributes: node -> ONNX attributes that are too long for the graph (trees, dictionaries).
        outputs: node to return -> its public name, type and shape; by default the nodes that nothing reads.
    """
    ends = outputs or {
        name: helper.make_empty_tensor_value_info(name) for name in graph.network if not graph.network.out_degree(name)
    }
    nodes, inputs, used = [], [], dict[str, Parameter]()
    for name, data in graph.network.nodes(data=True):
        if "operation" not in data:
            kind = _TYPES.get(input_dtype(graph, name), TensorProto.FLOAT)
            inputs.append(helper.make_tensor_value_info(name, kind, ["batch", *data["shape"][1:]]))
            continue
        operation: Operation = data["operation"]
        used |= {source.name: source for source in data["sources"] if isinstance(source, Parameter)}
        if operation.op == PART:
            continue
        sources = [_tensor(graph, source) for source in data["sources"]]
        short = {key: value for key, value in operation.attributes.items() if key not in COST_ONLY}
        if operation.op != "Split":  # of others it is told by the outputs alone
            short.pop("num_outputs", None)
        target = ends[name].name if name in ends else name
        is_blocked = operation.op.startswith(BLOCKED_PREFIX)
        domain = BLOCKED_DOMAIN if is_blocked else DOMAINS.get(operation.op, "")
        op = operation.op.removeprefix(BLOCKED_PREFIX)
        long = attributes.get(name, {})
        targets = [target, *(f"{target}_{k}" for k in range(1, operation.attributes.get("num_outputs", 1)))]
        nodes.append(helper.make_node(op, sources, targets, name, domain=domain, **short, **long))
    arrays = {name: constants[name] if given.value is None else value_of(given) for name, given in used.items()}
    initialisers = [numpy_helper.from_array(np.array(array, order="C"), name) for name, array in arrays.items()]
    body = helper.make_graph(nodes, "network", inputs, list(ends.values()), initialisers)
    domains = [("", OPSET), ("ai.onnx.ml", ML_OPSET)]
    used_domains = {node.domain for node in nodes}
    domains += [(name, 1) for name in ("com.microsoft", BLOCKED_DOMAIN) if name in used_domains]
    opsets = [helper.make_opsetid(*domain) for domain in domains]
    return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="metaml")


def value_of(parameter: Parameter) -> np.ndarray:
    """Return the array of a parameter whose elements are known already."""
    values = np.array(parameter.value).reshape(parameter.shape)
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)


def _tensor(graph: OpGraph, source: str | Parameter) -> str:
    """Return the name of the tensor that is read."""
    if isinstance(source, Parameter):
        return source.name
    operation = graph.network.nodes[source].get("operation")
    if operation is None or operation.op != PART:
        return source
    (whole,) = graph.network.nodes[source]["sources"]
    return f"{whole}_{operation.attributes['k']}"


def input_dtype(graph: OpGraph, name: str) -> str:
    """Element type of an input: as declared, or else what its first reader works on."""
    declared = graph.network.nodes[name].get("dtype")
    if declared:
        return str(declared)
    readers = [graph.network.nodes[reader]["operation"] for reader in graph.network.successors(name)]
    if any(operation.op == "LabelEncoder" for operation in readers):
        return "string"
    return next(
        (str(operation.attributes["dtype"]) for operation in readers if "dtype" in operation.attributes), "float"
    )
