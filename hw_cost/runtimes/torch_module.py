"""An ONNX model -> a torch module that calls one function for each operator, as one written by hand would."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import fx

from hw_cost.onnx_reader import ModelError, OnnxModel, load_model
from hw_cost.runtimes.torch_operators import OPERATORS, Node

ALIASES = {"Identity", "Dropout"}
"""Operators that only give their input another name."""


def to_module(model: OnnxModel) -> fx.GraphModule:
    """Return a module that takes the inputs of an ONNX model in order and returns a tuple of its outputs.

    Raises:
        ModelError: the model has operators that torch is not called for; all of them are named.
    """
    proto = load_model(model).graph
    strangers = {node.op_type for node in proto.node} - set(OPERATORS) - ALIASES - {"Constant"}
    if strangers:
        raise ModelError(f"torch cannot run {', '.join(sorted(strangers))}. Please use the runtime onnxruntime.")
    root, graph = torch.nn.Module(), fx.Graph()
    constants = _constants(proto)
    names: dict[str, Any] = {value.name: graph.placeholder(value.name) for value in proto.input}
    for position, (name, array) in enumerate(constants.items()):
        root.register_buffer(f"constant_{position}", torch.from_numpy(array))
        names[name] = graph.get_attr(f"constant_{position}")
    for node in proto.node:
        if node.op_type in ALIASES:
            names[node.output[0]] = names[node.input[0]]
        elif node.op_type != "Constant":
            inputs = [names[name] if name else None for name in node.input]
            values = [constants.get(name) for name in node.input]
            function, arguments = OPERATORS[node.op_type](Node(inputs, _attributes(node), values))
            names[node.output[0]] = graph.call_function(function, arguments)
    graph.output(tuple(names[value.name] for value in proto.output))
    return fx.GraphModule(root, graph)


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Initialisers and constants by name, as arrays of their own."""
    found = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = _attributes(node)
            tensor = value.get("value")
            array = numpy_helper.to_array(tensor) if tensor is not None else np.array(next(iter(value.values())))
            found[node.output[0]] = np.array(array)
    return found


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
