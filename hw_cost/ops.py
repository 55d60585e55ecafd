"""What an operation computes and moves: FLOPs and bytes as functions of its shapes.

One multiply-accumulate is two FLOPs (as `torch.utils.flop_counter` counts); a transcendental function is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from hw_cost.graph import BATCH, PART, Operation, OpGraph, Shape

ITEM_BYTES = {"double": 8, "int64": 8, "string": 32, "bool": 1, "uint8": 1, "int8": 1, "float": 4}
"""Bytes of one element; a string counts as the header of a C++ string."""


def size(shape: Shape, batch: int = 1) -> int:
    """Number of elements of a shape with `batch` in the place of `BATCH`.

    >>> size((BATCH, 3), batch=4), size(())
    (12, 1)
    """
    return math.prod(batch if length == BATCH else length for length in shape)


def item_bytes(operation: Operation) -> int:
    """Bytes of one element of the operation's activations."""
    return ITEM_BYTES.get(operation.attributes.get("dtype", "float"), 4)


def dense_sizes(operation: Operation, batch: int = 1) -> tuple[int, int, int]:
    """Rows, inputs and outputs of a ``Gemm`` or of a ``MatMul``, whose leading axes all count as rows."""
    n_out = operation.output[-1]
    rows = size(operation.output, batch) // max(1, n_out)
    first = operation.inputs[0] if operation.inputs else (1, 1)
    n_in = first[-2] if operation.attributes.get("transA") else first[-1]
    return rows, batch if n_in == BATCH else n_in, n_out


def row_sizes(operation: Operation, batch: int = 1) -> tuple[int, int]:
    """Rows and width of an operation along the last axis."""
    width = operation.output[-1] if operation.output else 1
    width = batch if width == BATCH else width
    return size(operation.output, batch) // max(1, width), width


def tree_sizes(operation: Operation, batch: int = 1) -> tuple[int, int, int, int]:
    """Rows, trees, leaves of all trees together, and outputs of a tree ensemble."""
    trees = max(1, int(operation.attributes.get("n_trees", 1)))
    leaves = max(trees, int(operation.attributes.get("n_leaves", trees)))
    n_out = operation.output[-1] if len(operation.output) > 1 else 1
    rows = size(operation.inputs[0][:-1], batch) if operation.inputs else batch
    return rows, trees, leaves, n_out


def _dense_flops(operation: Operation, batch: int) -> int:
    return 2 * math.prod(dense_sizes(operation, batch))


def _conv_flops(operation: Operation, batch: int) -> int:
    """2 Cin/groups k^2 for each element of the output; the weight is (Cout, Cin/groups, k, k)."""
    weight = next(iter(operation.parameters.values()), (1, 1))
    return 2 * size(operation.output, batch) * math.prod(weight[1:])


def _per_output(flops: int) -> Callable[[Operation, int], int]:
    return lambda operation, batch: flops * size(operation.output, batch)


def _per_input(flops: int) -> Callable[[Operation, int], int]:
    return lambda operation, batch: flops * size(operation.inputs[0], batch)


def _several_flops(operation: Operation, batch: int) -> int:
    """An addition for each element of each input."""
    return sum(size(shape, batch) for shape in (*operation.inputs, *operation.parameters.values()))


def _window_flops(operation: Operation, batch: int) -> int:
    """An addition or a comparison for each position of the window."""
    window: int = math.prod(operation.attributes.get("kernel_shape", (1,)))
    return size(operation.output, batch) * window


def _resize_flops(operation: Operation, batch: int) -> int:
    """Three interpolations for each element of a linear one in two dimensions; nothing where pixels are copied."""
    return 7 * size(operation.output, batch) if operation.attributes.get("mode") == "linear" else 0


def _tree_flops(operation: Operation, batch: int) -> int:
    """A comparison for each level of a balanced tree, and the addition of its leaf."""
    rows, trees, leaves, _ = tree_sizes(operation, batch)
    return rows * trees * (math.ceil(math.log2(max(2, leaves / trees))) + 1)


FLOPS: dict[str, Callable[[Operation, int], int]] = {
    **dict.fromkeys(("Gemm", "FusedGemm", "MatMul", "FusedMatMul"), _dense_flops),
    "Conv": _conv_flops,
    **dict.fromkeys(("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier"), _tree_flops),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sqrt", "Relu", "Neg", "Abs", "Clip", "Max", "Min"), _per_output(1)),
    **dict.fromkeys(("Exp", "Log", "Tanh", "Erf", "Pow", "Reciprocal", "Not", "IsNaN", "Where"), _per_output(1)),
    **dict.fromkeys(("Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "And", "Or"), _per_output(1)),
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _per_output(1)),
    **dict.fromkeys(("Sum", "Mean"), _several_flops),
    **dict.fromkeys(("LeakyRelu", "HardSigmoid"), _per_output(2)),
    **dict.fromkeys(("Sigmoid", "Elu", "Selu", "Softplus", "Softsign", "HardSwish"), _per_output(3)),
    **dict.fromkeys(("Gelu", "QuickGelu", "Mish", "BiasGelu"), _per_output(5)),
    **dict.fromkeys(("BatchNormalization",), _per_output(2)),
    **dict.fromkeys(("LayerNormalization", "SkipLayerNormalization", "InstanceNormalization"), _per_output(8)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _per_output(5)),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin", "TopK"), _per_input(1)),
    **dict.fromkeys(("ReduceSumSquare", "ReduceL2"), _per_input(2)),
    **dict.fromkeys(("MaxPool", "AveragePool"), _window_flops),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _per_input(1)),
    "Resize": _resize_flops,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _per_output(2)),
    **dict.fromkeys(("Gather", "LabelEncoder", "Concat", "Cast", "Identity", "Dropout", PART), _per_output(0)),
    **dict.fromkeys(("OneHot", "Expand", "Tile", "Pad"), _per_output(0)),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"), _per_output(0)),
}
"""ONNX operator type -> floating-point operations for a batch. An operator that is not here counts as 0."""


def operation_flops(operation: Operation, batch: int = 1) -> int:
    """FLOPs of one operation; 0 when there is no formula for it (see `uncounted`)."""
    formula = FLOPS.get(operation.op)
    return formula(operation, batch) if formula else 0


def operation_bytes(operation: Operation, batch: int = 1) -> int:
    """Bytes that one operation reads and writes: every tensor once, of a `Gather` table only the rows looked up."""
    item = item_bytes(operation)
    out = size(operation.output, batch) * item
    if operation.op == "Gather":
        return 2 * out + sum(size(shape, batch) for shape in operation.inputs) * 8
    moved = sum(size(shape, batch) for shape in (*operation.inputs, *operation.parameters.values()))
    return moved * item + out


def flops(graph: OpGraph | Iterable[Operation], batch: int = 1) -> int:
    """FLOPs of a whole network for `batch` rows.

    >>> from hw_cost.graph import Parameter
    >>> graph = OpGraph()
    >>> x = graph.input("x", (BATCH, 8))
    >>> h = graph.add("Gemm", x, Parameter("weight", (4, 8)), Parameter("bias", (4,)), output=(BATCH, 4), transB=1)
    >>> flops(graph, batch=10)
    640
    """
    return sum(operation_flops(operation, batch) for operation in graph)


def bytes_moved(graph: OpGraph | Iterable[Operation], batch: int = 1) -> int:
    """Bytes read and written by all operations of a network for `batch` rows, each operation on its own."""
    return sum(operation_bytes(operation, batch) for operation in graph)


def parameter_bytes(graph: OpGraph | Iterable[Operation]) -> int:
    """Bytes of all constants of a network; a constant that several operations use counts once.

    The nodes of a tree ensemble count 32 bytes each, what onnxruntime keeps of one, and 16 for each of several votes
    of a leaf.
    """
    constants = {(name, shape): item_bytes(op) for op in graph for name, shape in op.parameters.items()}
    ensembles = [operation for operation in graph if operation.op.startswith("TreeEnsemble")]
    trees = sum(tree_bytes(tree_sizes(op)[2], int(op.attributes.get("n_votes", 1))) for op in ensembles)
    return sum(size(shape) * item for (_, shape), item in constants.items()) + trees


def tree_bytes(leaves: int, votes: int) -> int:
    """Bytes of the nodes of trees, of which each leaf votes for so many outputs."""
    return 64 * leaves + 16 * leaves * votes * (votes > 1)


def uncounted(graph: OpGraph | Iterable[Operation]) -> list[str]:
    """Operators of a network without a FLOP formula, sorted."""
    return sorted({operation.op for operation in graph} - set(FLOPS))
