"""Kernels: what a runtime executes, told apart by the sizes that decide how long it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hw_cost.fusion import executed
from hw_cost.graph import Operation, OpGraph
from hw_cost.onnx_writer import input_dtype
from hw_cost.ops import dense_sizes, item_bytes, operation_bytes, operation_flops, parameter_bytes, row_sizes, size
from hw_cost.ops import tree_sizes as ensemble_sizes

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Kernel:
    """One executed operation.

    >>> str(Kernel("Softmax", {"rows": 1, "width": 10}))
    'Softmax(rows=1, width=10)'
    """

    op: str
    """Operator with what is fused into it, such as ``FusedGemm:Relu``; ``Call`` is the call of the session itself."""
    sizes: Sizes
    """Name -> number; the names are those of the operator's kind."""

    @property
    def kind(self) -> str:
        """Operators of one kind have the same sizes."""
        return kind_of(self.op)

    def __str__(self) -> str:
        return f"{self.op}({', '.join(f'{name}={value}' for name, value in self.sizes.items())})"

    def __hash__(self) -> int:
        return hash(str(self))


def _dense(operation: Operation, batch: int, working_set: int) -> Sizes:
    rows, n_in, n_out = dense_sizes(operation, batch)
    return {"rows": rows, "n_in": n_in, "n_out": n_out, "working_set": working_set}


def _elementwise(operation: Operation, batch: int, _: int) -> Sizes:
    """Bytes of the largest tensor, and the spans that are worked on one by one when a row constant is broadcast."""
    rows, _ = row_sizes(operation, batch)
    broadcast = any(size(shape) > 1 for shape in operation.parameters.values()) and len(operation.inputs) == 1
    elements = max(size(shape, batch) for shape in (*operation.inputs, operation.output))
    item = 4 if operation.op == "Cast" else item_bytes(operation)  # of a cast the result's, which is always known
    return {"bytes": elements * item, "spans": rows if broadcast and operation.op != "ReduceSum" else 1}


def _rowwise(operation: Operation, batch: int, _: int) -> Sizes:
    rows, width = row_sizes(operation, batch)
    return {"rows": rows, "width": width}


def _gather(operation: Operation, batch: int, _: int) -> Sizes:
    """Lookups and the bytes of each."""
    total = size(operation.output, batch)
    on_rows = operation.attributes.get("axis", 0) == 0
    table = next(iter(operation.parameters.values()), (1,))
    width = max(1, math.prod(table[1:])) if on_rows else 1
    return {"lookups": max(1, total // width), "bytes": width * item_bytes(operation)}


def _encoder(operation: Operation, batch: int, _: int) -> Sizes:
    return {"elements": size(operation.output, batch), "n_keys": int(operation.attributes.get("n_keys", 1))}


def _concat(operation: Operation, batch: int, _: int) -> Sizes:
    parts = len(operation.inputs) + len(operation.parameters)
    rows, width = row_sizes(operation, batch)
    return {"parts": parts, "rows": rows, "bytes": rows * width * item_bytes(operation)}


def _trees(operation: Operation, batch: int, working_set: int) -> Sizes:
    rows, trees, leaves, outputs = ensemble_sizes(operation, batch)
    return {"rows": rows, "trees": trees, "leaves": leaves, "outputs": outputs, "working_set": working_set}


def _other(operation: Operation, batch: int, _: int) -> Sizes:
    return {"flops": operation_flops(operation, batch), "bytes": operation_bytes(operation, batch)}


SIZES: dict[str, Callable[[Operation, int, int], Sizes]] = {
    "dense": _dense,
    "elementwise": _elementwise,
    "rowwise": _rowwise,
    "gather": _gather,
    "encoder": _encoder,
    "concat": _concat,
    "trees": _trees,
    "other": _other,
}
"""Kind -> sizes of an operation at a batch, in a network with ``working_set`` bytes of constants.

The working set decides from which cache the constants come: on server processors a factor of three for dense layers.
"""

SIZE_NAMES = {
    "dense": ("rows", "n_in", "n_out", "working_set"),
    "elementwise": ("bytes", "spans"),
    "rowwise": ("rows", "width"),
    "gather": ("lookups", "bytes"),
    "encoder": ("elements", "n_keys"),
    "concat": ("parts", "rows", "bytes"),
    "trees": ("rows", "trees", "leaves", "outputs", "working_set"),
    "call": ("inputs", "strings"),
    "other": ("flops", "bytes"),
}
"""Kind -> names of the sizes, in order."""

_KINDS = {
    "dense": ("Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
    "elementwise": (
        *("Add", "Sub", "Mul", "Div", "Sqrt", "Relu", "Neg", "Abs", "Clip", "Max", "Min", "Exp", "Log", "Tanh", "Erf"),
        *("Pow", "Reciprocal", "Not", "IsNaN", "Where", "LeakyRelu", "HardSigmoid", "Sigmoid", "Elu", "Selu"),
        *("Softplus", "Softsign", "Gelu", "QuickGelu", "BiasGelu", "FastGelu", "Cast"),
        *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceMax"),
    ),
    "rowwise": ("LayerNormalization", "SkipLayerNormalization", "BatchNormalization", "Softmax", "LogSoftmax"),
    "gather": ("Gather",),
    "encoder": ("LabelEncoder",),
    "concat": ("Concat",),
    "trees": ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"),
    "call": ("Call",),
}
_KINDS_OF_RUNTIMES = {
    "dense": ("QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "FullyConnected"),
    "elementwise": ("QuantizeLinear", "DequantizeLinear", "Eltwise", "Convert", "Reorder", "Reduce", "Transpose"),
    "rowwise": ("MVN",),
}
"""Operators that are no ONNX operators but a runtime's own."""
KIND_OF = {op: kind for kinds in (_KINDS, _KINDS_OF_RUNTIMES) for kind, ops in kinds.items() for op in ops}


def kind_of(op: str) -> str:
    """Return the kind of an operator, fused or not; ``other`` when it has none."""
    return KIND_OF.get(op.split(":")[0], "other")


def work_of(kernel: Kernel) -> Sizes | None:
    """Return FLOPs and bytes of a kernel as far as its sizes tell them, else None."""
    s = kernel.sizes
    if kernel.kind == "dense":
        weights = s["n_in"] * s["n_out"]
        return {"flops": 2 * s["rows"] * weights, "bytes": 4 * (weights + s["rows"] * (s["n_in"] + s["n_out"]))}
    if kernel.kind in {"elementwise", "concat"}:
        return {"flops": 0, "bytes": 2 * s["bytes"]}
    if kernel.kind == "rowwise":
        return {"flops": 8 * s["rows"] * s["width"], "bytes": 8 * s["rows"] * s["width"]}
    return s if kernel.kind == "other" else None


def kernels_of(graph: OpGraph, batch: int = 1, *, operations: Iterable[Operation] | None = None) -> list[Kernel]:
    """Return the kernels of a network, the call first.

    Args:
        graph: the network.
        batch: rows in a call.
        operations: what is executed, when it is known; by default told from the rules of `hw_cost.fusion`.
    """
    working_set = parameter_bytes(graph)
    kernels = [_call(graph, batch)]
    for operation in executed(graph) if operations is None else operations:
        name = f"{operation.op}:{operation.attributes['activation']}" if operation.op == "FusedGemm" else operation.op
        kernels.append(Kernel(name, SIZES[kind_of(name)](operation, batch, working_set)))
    return kernels


def _call(graph: OpGraph, batch: int) -> Kernel:
    """The call of a session: its inputs, and the strings that are copied one by one."""
    inputs = {name: data["shape"] for name, data in graph.network.nodes(data=True) if "operation" not in data}
    strings = sum(size(shape, batch) for name, shape in inputs.items() if input_dtype(graph, name) == "string")
    return Kernel("Call", {"inputs": len(inputs), "strings": strings})
