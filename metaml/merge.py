"""Several models of one task as one network: what they have in common is computed once, their outputs are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.data import RawInputs
from metaml.export import TOLERANCE, ParityError
from metaml.models import Tensors


@dataclass(frozen=True)
class Foretold:
    """A network that would be deployed, known before training."""

    graph: OpGraph
    tensors: Tensors
    """The arrays that are known already: those of the preprocessing."""


def ensemble_graph(members: Sequence[Foretold]) -> OpGraph:
    """Return the network that an ensemble would be deployed as.

    It has the operations of what `merge_models` writes: what is known before training may be common to all members,
    trained parameters are each member's own.
    """
    if len(members) == 1:
        return members[0].graph
    graph, known = OpGraph(), dict[object, str]()
    outputs = [_append_once(graph, known, member, f"member{i}.") for i, member in enumerate(members)]
    n, k = len(members), graph.network.nodes[outputs[0]]["shape"][1]
    together = graph.add("Concat", *outputs, output=(BATCH, n * k), axis=1)
    weights, zero = Parameter("ensemble.weight", (k, n * k)), Parameter("ensemble.bias", (k,))
    graph.add("Gemm", together, weights, zero, output=(BATCH, k), transB=1)
    return graph


def _append_once(graph: OpGraph, known: dict[object, str], member: Foretold, own: str) -> str:
    """Append those operations of a member that are not there yet; return the node of its last one."""
    names, last = dict[str, str](), ""
    for name, data in member.graph.network.nodes(data=True):
        operation = data.get("operation")
        if operation is None:
            if name not in graph.network:
                graph.input(name, data["shape"], dtype=data["dtype"])
            names[name] = name
            continue
        contents: list[object] = []
        sources: list[str | Parameter] = []
        for source in data["sources"]:
            if isinstance(source, str):
                sources.append(names[source])
            else:
                sources.append(replace(source, name=own + source.name) if source.value is None else source)
            contents.append(_content(source, sources[-1], member.tensors))
        key = (operation.op, tuple(contents), repr(sorted(operation.attributes.items())))
        if key not in known:
            known[key] = graph.add(operation.op, *sources, output=operation.output, **operation.attributes)
        last = names[name] = known[key]
    return last


def _content(source: str | Parameter, copied: str | Parameter, tensors: Tensors) -> object:
    """What makes two sources the same: a node, the values of a known array, or that they are one member's own."""
    if isinstance(source, Parameter) and source.value is None and source.name in tensors:
        array = tensors[source.name]
        return array.dtype.str, array.shape, array.tobytes()
    return copied


def merge_models(models: Sequence[onnx.ModelProto], weights: Sequence[float]) -> onnx.ModelProto:
    """Return one model whose output is the weighted mean of the outputs of several.

    Nodes that compute the same from the same inputs and constants become one, so that members with the same
    preprocessing share it. The description in the metadata is that of the first model.

    Args:
        models: files of `metaml.export.to_onnx` for one task.
        weights: one for each; they need not sum to 1.
    """
    if len(models) == 1:
        return models[0]
    merger = _Merger()
    outputs = [merger.append(model.graph, member) for member, model in enumerate(models)]
    result = models[0].graph.output[0]
    k = result.type.tensor_type.shape.dim[1].dim_value
    matrix = np.hstack([weight / sum(weights) * np.eye(k) for weight in weights]).astype(np.float32)
    nodes = [
        helper.make_node("Concat", outputs, ["ensemble.members"], "ensemble.members", axis=1),
        helper.make_node(
            "Gemm", ["ensemble.members", "ensemble.weight", "ensemble.bias"], [result.name], "ensemble.mean", transB=1
        ),
    ]
    constants = {"ensemble.weight": matrix, "ensemble.bias": np.zeros(k, np.float32)}
    body = helper.make_graph(
        [*merger.nodes, *nodes],
        "ensemble",
        list(merger.inputs.values()),
        [result],
        [*merger.constants, *(numpy_helper.from_array(array, name) for name, array in constants.items())],
    )
    opsets = {opset.domain: opset.version for model in models for opset in model.opset_import}
    merged = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid(*opset) for opset in opsets.items()],
        ir_version=max(model.ir_version for model in models),
        producer_name="metaml",
    )
    helper.set_model_props(merged, {entry.key: entry.value for entry in models[0].metadata_props})
    onnx.checker.check_model(merged)
    return merged


@dataclass
class _Merger:
    """The network so far, and what of it can be used again."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    _known: dict[object, list[str]] = field(default_factory=dict)
    """What is computed, or the content of a constant -> its names."""

    def append(self, graph: onnx.GraphProto, member: int) -> str:
        """Append what is new of a member's network; return the name of its output."""
        names = {value.name: value.name for value in graph.input}
        self.inputs |= {value.name: value for value in graph.input if value.name not in self.inputs}
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            key = (tensor.data_type, tuple(tensor.dims), array.tobytes())
            if key not in self._known:
                copy = onnx.TensorProto()
                copy.CopyFrom(tensor)
                copy.name = f"member{member}.{tensor.name}"
                self.constants.append(copy)
                self._known[key] = [copy.name]
            names[tensor.name] = self._known[key][0]
        for node in graph.node:
            self._append_node(node, names, member)
        return str(names[graph.output[0].name])

    def _append_node(self, node: onnx.NodeProto, names: dict[str, str], member: int) -> None:
        inputs = [names[name] if name else "" for name in node.input]
        attributes = tuple(sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute))
        key = (node.op_type, node.domain, tuple(inputs), attributes, len(node.output))
        if key not in self._known:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            outputs = [f"member{member}.{name}" if name else "" for name in node.output]
            copy.name = f"member{member}.{node.name}"
            del copy.input[:], copy.output[:]
            copy.input.extend(inputs)
            copy.output.extend(outputs)
            self.nodes.append(copy)
            self._known[key] = outputs
        names |= dict(zip(node.output, self._known[key], strict=True))


def run_model(model: bytes, inputs: RawInputs) -> np.ndarray:
    """Return a file's output on raw rows: probabilities ``(n, k)`` or values ``(n, 1)``."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    output: np.ndarray = session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})[0]
    return output


def check_merged(
    model: bytes, inputs: RawInputs, members: Sequence[np.ndarray], weights: Sequence[float], *, scale: float = 1.0
) -> float:
    """Return the largest difference between a merged file and the weighted mean of its members' own predictions.

    Args:
        model: the file.
        inputs: raw rows.
        members: prediction of each member on these rows.
        weights: one for each.
        scale: unit of a difference: 1 for probabilities, the target's standard deviation for values.

    Raises:
        ParityError: it is above the tolerance of an export.
    """
    expected = np.average(np.stack(members), axis=0, weights=weights)
    found = run_model(model, inputs).reshape(expected.shape)
    difference = float(np.abs(found - expected).max() / scale)
    if not difference <= TOLERANCE:
        raise ParityError(
            f"The merged file differs from the mean of its {len(members)} members by {difference:.2g}, "
            f"allowed are {TOLERANCE:g}. Please report this."
        )
    return difference
