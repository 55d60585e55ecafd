"""Operators that a runtime executes: of which kind each is, and what tells one implementation of it from another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hw_cost.graph import Operation, Shape

FEWEST_BLOCKED = 16
"""Images with fewer channels are read as they are, by a kernel of its own, never in blocks of channels."""

_KINDS = {
    "dense": ("Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
    "product": ("Product",),
    "batched": ("BatchedMatMul",),
    "conv": ("NchwcConv", "NchwcPointwise", "NchwcStem", "NchwcDepthwise", "Conv", "FusedConv", "Depthwise"),
    "pool": (
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        *("NchwcMaxPool", "NchwcAveragePool", "NchwcGlobalAveragePool", "NchwcGlobalMaxPool"),
    ),
    "reorder": ("NchwcReorderInput", "NchwcReorderOutput"),
    "elementwise": (
        *("Add", "Sub", "Mul", "Div", "Sqrt", "Relu", "Neg", "Abs", "Clip", "Max", "Min", "Exp", "Log", "Tanh", "Erf"),
        *("Pow", "Reciprocal", "Not", "IsNaN", "Where", "LeakyRelu", "HardSigmoid", "Sigmoid", "Elu", "Selu"),
        *("Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "And", "Or", "Equal", "Less", "LessOrEqual", "Greater"),
        *("GreaterOrEqual", "Sum", "Mean", "ReduceMin", "ReduceSumSquare", "ReduceL2", "ArgMax", "ArgMin", "OneHot"),
        *("Softplus", "Softsign", "Gelu", "QuickGelu", "BiasGelu", "FastGelu", "HardSwish", "Cast", "Identity"),
        *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceMax", "Shape"),
    ),
    "rowwise": ("LayerNormalization", "SkipLayerNormalization", "BatchNormalization", "Softmax", "LogSoftmax"),
    "select": ("TopK",),
    "gather": ("Gather",),
    "encoder": ("LabelEncoder",),
    "concat": ("Concat",),
    "copy": ("Transpose", "TransposeOfAxes", "Slice", "Split", "Expand", "Pad", "Tile", "Resize", "NchwcUpsample"),
    "trees": ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"),
    "call": ("Call",),
}
_KINDS_OF_RUNTIMES = {
    "dense": ("QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "FullyConnected"),
    "elementwise": (
        "QuantizeLinear",
        "DequantizeLinear",
        "QLinearAdd",
        "QLinearMul",
        "QLinearLeakyRelu",
        "Eltwise",
        "Math",
        "Convert",
        "Reorder",
        "Reduce",
    ),
    "rowwise": ("MVN", "QLinearSoftmax"),
    "conv": ("QLinearConv", "QLinearPointwise", "QLinearStem", "QLinearDepthwise", "Convolution", "GroupConvolution"),
    "product": ("QLinearProduct",),
    "batched": ("QLinearBatched",),
    "pool": ("Pooling", "QLinearAveragePool", "QLinearGlobalAveragePool", "NhwcMaxPool"),
}
"""Operators that are no ONNX operators but a runtime's own."""
KIND_OF = {op: kind for kinds in (_KINDS, _KINDS_OF_RUNTIMES) for kind, ops in kinds.items() for op in ops}


def kind_of(op: str) -> str:
    """Return the kind of an operator, fused or not; ``other`` when it has none."""
    return KIND_OF.get(op.split(":")[0], "other")


def unfused(op: str) -> str:
    """Return the operator without the activation that is fused into it.

    >>> unfused("FusedGemm:Relu"), unfused("FusedGemm:Relu:split"), unfused("Gemm")
    ('Gemm', 'Gemm:split', 'Gemm')
    """
    name, *tags = op.split(":")
    return ":".join([name.removeprefix("Fused"), *tags[1:]]) if name.startswith("Fused") else op


def kernel_name(operation: Operation) -> str:
    """Return the operator with what tells one implementation of it from another."""
    op = operation.op
    if op == "FusedGemm":
        return f"{op}:{operation.attributes['activation']}"
    if op in {"MatMul", "FusedMatMul"} and not operation.parameters and len(operation.inputs) == 2:
        return "Product"
    if op in {"MatMul", "FusedMatMul"} and any(math.prod(shape[:-2]) > 1 for shape in operation.parameters.values()):
        return "BatchedMatMul"
    if op == "FusedMatMul":
        return "MatMul"
    if op == "QLinearMatMul" and not any(len(shape) > 1 for shape in operation.parameters.values()):
        return "QLinearProduct"
    if op == "QLinearMatMul" and any(math.prod(shape[:-2]) > 1 for shape in operation.parameters.values()):
        return "QLinearBatched"
    if op in {"NchwcConv", "Conv", "FusedConv", "QLinearConv"}:
        return _conv_name(operation)
    if op == "Transpose" and not moves_one_axis(operation.attributes.get("perm") or (0, 1)):
        return "TransposeOfAxes"
    return op


def _conv_name(operation: Operation) -> str:
    weight, groups = weight_of(operation), int(operation.attributes.get("group", 1))
    if not weight:
        return "ConvOfActivations"
    is_depthwise = groups > 1 and weight[1] == 1 and weight[0] == groups
    if operation.op == "QLinearConv":
        stem = groups == 1 and weight[1] < FEWEST_BLOCKED
        dense = "QLinearConv" if math.prod(weight[2:]) > 1 else "QLinearPointwise"
        return "QLinearDepthwise" if is_depthwise else "QLinearStem" if stem else dense
    if operation.op != "NchwcConv":
        return "Depthwise" if is_depthwise else "Conv"
    if is_depthwise:
        return "NchwcDepthwise"
    if groups == 1 and weight[1] < FEWEST_BLOCKED:
        return "NchwcStem"
    return "NchwcConv" if math.prod(weight[2:]) > 1 else "NchwcPointwise"


def weight_of(operation: Operation) -> Shape:
    """Return the shape of a convolution's weights, which stand behind scales where it is quantised; else ()."""
    return next((shape for shape in operation.parameters.values() if len(shape) > 2), ())


def moves_one_axis(permutation: Sequence[int]) -> bool:
    """True for a transposition that takes out one axis and puts it in elsewhere: there is a fast way for it.

    >>> moves_one_axis((0, 2, 3, 1)), moves_one_axis((2, 0, 3, 1))
    (True, False)
    """
    return any(
        [axis for axis in permutation if axis != moved] == sorted(axis for axis in permutation if axis != moved)
        for moved in permutation
    )
