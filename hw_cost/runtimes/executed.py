"""What onnxruntime executed in a call: its optimised model, with the shapes that its profiler saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from hw_cost.graph import OpGraph, Shape
from hw_cost.onnx_reader import read_onnx

ELEMENT_TYPES = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}
"""Names in a profile -> ONNX element types."""


@dataclass(frozen=True)
class Execution:
    """What was executed in some calls."""

    graph: OpGraph
    """Operations with the shapes of a call."""
    nodes: tuple[str, ...]
    """Name of the node behind each operation."""
    profile: str
    """Text that the profiler wrote."""


def executed(optimised: onnx.ModelProto, profile: str, inputs: Mapping[str, Shape]) -> Execution:
    """Return the operations of an optimised model with the shapes of a real run: nothing is inferred or guessed.

    Args:
        optimised: the model as onnxruntime writes it after fusing operations and choosing layouts.
        profile: text of the profile of a session of it.
        inputs: name of an input -> its shape in the run.
    """
    tensors = {
        value.name: (inputs[value.name], _type(value)) for value in optimised.graph.input if value.name in inputs
    }
    described = output_shapes(profile)
    for node in optimised.graph.node:
        for name, output in zip(node.output, described.get(node.name, []), strict=False):
            (kind, shape), *_ = output.items()
            tensors[name] = (tuple(shape), ELEMENT_TYPES.get(kind, TensorProto.FLOAT))
    nodes = tuple(node.name for node in optimised.graph.node if node.op_type != "Constant")
    return Execution(read_onnx(optimised, tensors), nodes, profile)


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a name for every node, so that a profile can be read."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for position, node in enumerate(copy.graph.node):
        node.name = node.name or f"{node.op_type}_{position}"
    return copy


def output_shapes(profile: str) -> dict[str, list[dict[str, Any]]]:
    """Return node name -> element type and shape of each output."""
    return {
        event["name"].removesuffix("_kernel_time"): event["args"]["output_type_shape"]
        for event in json.loads(profile)
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    }


def _type(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)
