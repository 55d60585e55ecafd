"""Which operations of a graph onnxruntime executes: the fusions that it applies on a processor, as rules.

They are what its optimised model shows (version 1.31); `tests/test_hw_cost/test_fusion.py` compares the two. For an
ONNX file the optimised model itself is read, so that rules are needed only where no file has been written yet.
"""

from __future__ import annotations

from dataclasses import replace

from hw_cost.graph import Operation, OpGraph

GEMM_ACTIVATIONS = {
    *("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "ThresholdedRelu")
}
"""Activations that are computed inside the ``Gemm`` before them when nothing else reads its output."""

EXPANSIONS = {"HardSwish": ("HardSigmoid", "Mul"), "Mish": ("Softplus", "Tanh", "Mul")}
"""Operators that are executed as several."""

REMOVED = {"Identity", "Dropout"}

OBSERVED = {
    *("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "MatMul", "Transpose", "Reshape", "Split", "Unsqueeze"),
    *("BiasGelu", "ReduceMean", "Slice", "Squeeze"),
}
"""Operators of networks on images and on tokens: layouts and fusions around them are left to onnxruntime to tell."""


def rules_hold(graph: OpGraph) -> bool:
    """True when the rules tell what is executed of a network; else onnxruntime itself must be asked."""
    return not any(operation.op in OBSERVED for operation in graph)


def executed(graph: OpGraph) -> list[Operation]:
    """Return the operations that are executed, in order."""
    network, done, operations = graph.network, set[str](), list[Operation]()
    for name, data in network.nodes(data=True):
        operation: Operation | None = data.get("operation")
        if operation is None or name in done or operation.op in REMOVED:
            continue
        follower = _only_reader(graph, name)
        reader = network.nodes[follower]["operation"] if follower else None
        if operation.op == "Gemm" and reader is not None and reader.op in GEMM_ACTIVATIONS:
            attributes = {**operation.attributes, "activation": reader.op}
            operations.append(replace(operation, op="FusedGemm", attributes=attributes))
            done.add(str(follower))
        elif operation.op == "Sigmoid" and reader is not None and _is_gate(graph, name, str(follower)):
            operations.append(replace(operation, op="QuickGelu"))
            done.add(str(follower))
        elif operation.op in EXPANSIONS:
            operations += [replace(operation, op=op) for op in EXPANSIONS[operation.op]]
        else:
            operations.append(operation)
    return operations


def _only_reader(graph: OpGraph, name: str) -> str | None:
    readers = list(graph.network.successors(name))
    return readers[0] if len(readers) == 1 else None


def _is_gate(graph: OpGraph, sigmoid: str, product: str) -> bool:
    """True for x * sigmoid(x)."""
    node = graph.network.nodes[product]
    return node["operation"].op == "Mul" and set(node["sources"]) == {sigmoid, *graph.network.nodes[sigmoid]["sources"]}
