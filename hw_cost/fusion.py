"""Which operations of a graph onnxruntime executes: the fusions that it applies on a processor, as rules.

They are what its optimised model shows (version 1.31); `tests/test_hw_cost/test_fusion.py` compares the two. For an
ONNX file the optimised model itself is read, so that rules are needed only where no file has been written yet.
"""

from __future__ import annotations

from dataclasses import replace

from hw_cost.graph import PART, Operation, OpGraph
from hw_cost.ops import size

GEMM_ACTIVATIONS = {
    *("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "ThresholdedRelu")
}
"""Activations that are computed inside the ``Gemm`` before them when nothing else reads its output."""

EXPANSIONS = {"HardSwish": ("HardSigmoid", "Mul"), "Mish": ("Softplus", "Tanh", "Mul")}
"""Operators that are executed as several."""

REMOVED = {"Identity", "Dropout", PART}

OBSERVED = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Slice", "Split"}
"""Operators, of networks on images above all, around which layouts and fusions are left to onnxruntime to tell."""


def rules_hold(graph: OpGraph) -> bool:
    """True when the rules tell what is executed of a network; else onnxruntime itself must be asked."""
    return not any(operation.op in OBSERVED for operation in graph)


def executed(graph: OpGraph) -> list[Operation]:
    """Return the operations that are executed, in order."""
    done, operations = set[str](), list[Operation]()
    for name, data in graph.network.nodes(data=True):
        operation: Operation | None = data.get("operation")
        if operation is None or name in done or operation.op in REMOVED:
            continue
        follower = _only_reader(graph, name)
        fused = _fused(graph, name, follower) if follower else None
        if fused is not None and follower is not None:
            operations.append(fused)
            done.add(follower)
        elif operation.op in EXPANSIONS:
            operations += [replace(operation, op=op) for op in EXPANSIONS[operation.op]]
        elif not (follower and _goes_into(graph.network.nodes[follower]["operation"], operation)):
            operations.append(operation)
    return operations


def _goes_into(reader: Operation, operation: Operation) -> bool:
    """True for what a ``MatMul`` does on the way with what it reads: a scale, or an exchange of the last two axes."""
    if reader.op != "MatMul":
        return False
    order = operation.attributes.get("perm") or []
    swapped = [*range(len(order) - 2), len(order) - 1, len(order) - 2]
    return _is_scale(operation) or (operation.op == "Transpose" and len(order) > 1 and list(order) == swapped)


def _fused(graph: OpGraph, name: str, follower: str) -> Operation | None:
    """Return what an operation and the only reader of its output become together, None when they stay apart."""
    operation: Operation = graph.network.nodes[name]["operation"]
    reader: Operation = graph.network.nodes[follower]["operation"]
    if operation.op == "Gemm" and reader.op in GEMM_ACTIVATIONS:
        return replace(operation, op="FusedGemm", attributes={**operation.attributes, "activation": reader.op})
    if operation.op == "MatMul" and _is_scale(reader):
        return operation
    if operation.op == "Add" and reader.op == "Gelu" and _is_bias(operation):
        return replace(operation, op="BiasGelu")
    if operation.op == "Sigmoid" and _is_gate(graph, name, follower):
        return replace(operation, op="QuickGelu")
    return None


def _only_reader(graph: OpGraph, name: str) -> str | None:
    readers = list(graph.network.successors(name))
    return readers[0] if len(readers) == 1 else None


def _is_scale(operation: Operation) -> bool:
    """True for a product with one constant number, which a ``MatMul`` beside it computes on the way."""
    return operation.op == "Mul" and [size(shape) for shape in operation.parameters.values()] == [1]


def _is_bias(operation: Operation) -> bool:
    """True for the addition of a row of constants."""
    shapes = list(operation.parameters.values())
    return len(shapes) == 1 and shapes[0] == operation.output[-1:]


def _is_gate(graph: OpGraph, sigmoid: str, product: str) -> bool:
    """True for x * sigmoid(x)."""
    node = graph.network.nodes[product]
    return node["operation"].op == "Mul" and set(node["sources"]) == {sigmoid, *graph.network.nodes[sigmoid]["sources"]}
