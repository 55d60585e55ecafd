"""ONNX operators as calls of torch: what a network written by hand would call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hw_cost.onnx_reader import ModelError

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""


@dataclass(frozen=True)
class Node:
    """One ONNX node."""

    inputs: Sequence[Any]
    """What stands for each input; None for one that is left out."""
    attributes: Mapping[str, Any]
    values: Sequence[np.ndarray | None]
    """The content of those inputs that are constants."""


Operator = Callable[[Node], Call]


DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
"""Element types of ONNX."""


def _plain(function: Callable[..., Any]) -> Operator:
    return lambda node: (function, tuple(node.inputs))


def gemm(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None, transposed: Sequence[bool], scales: Sequence[float]
) -> torch.Tensor:
    """Alpha a b + beta c, factors transposed as told."""
    a, b = (factor.T if flip else factor for factor, flip in zip((a, b), transposed, strict=True))
    product = scales[0] * (a @ b)
    return product if c is None else product + scales[1] * c


def _gemm(node: Node) -> Call:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    scales = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    transposed = bool(node.attributes.get("transA")), bool(node.attributes.get("transB"))
    if scales == (1.0, 1.0) and transposed == (False, True):
        return functional.linear, (node.inputs[0], node.inputs[1], bias)
    return gemm, (node.inputs[0], node.inputs[1], bias, transposed, scales)


def gather(table: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    """Entries of a table along an axis; a negative index counts from the end."""
    axis %= table.ndim
    if table.ndim == 1:
        return torch.take(table, index)
    if axis == 0 and table.ndim == 2 and index.ndim:
        return functional.embedding(index, table)
    flat = torch.index_select(table, axis, index.reshape(-1) % table.shape[axis])
    return flat.reshape(*table.shape[:axis], *index.shape, *table.shape[axis + 1 :])


def _gather(node: Node) -> Call:
    return gather, (*node.inputs, node.attributes.get("axis", 0))


def reshape(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Reshape; 0 keeps a length."""
    return x.reshape([x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)])


def flatten(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Two axes: those before `axis`, and the rest."""
    return torch.flatten(x, 1) if axis == 1 else x.reshape(int(np.prod(x.shape[:axis])), -1)


def unsqueeze(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Insert axes of length 1, given as positions in the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _shaped(function: Callable[..., Any], key: str) -> Operator:
    """An operator whose second input, or an attribute of old, is a constant list of integers."""

    def build(node: Node) -> Call:
        given = node.attributes.get(key) if len(node.inputs) < 2 else node.values[1]
        if given is None:
            raise ModelError(f"{key} must be constant for torch")
        return function, (node.inputs[0], tuple(int(value) for value in given))

    return build


def _reduction(function: Callable[..., Any]) -> Operator:
    def build(node: Node) -> Call:
        given = node.values[1] if len(node.inputs) > 1 else node.attributes.get("axes")
        axes = None if given is None else tuple(int(axis) for axis in given)
        return function, (node.inputs[0], axes, bool(node.attributes.get("keepdims", 1)))

    return build


def _with(function: Callable[..., Any], **defaults: Any) -> Operator:
    """An operator with one input whose attributes follow it in the order given."""
    return lambda node: (
        function,
        (node.inputs[0], *(node.attributes.get(name, default) for name, default in defaults.items())),
    )


def _concat(node: Node) -> Call:
    return torch.cat, (list(node.inputs), node.attributes["axis"])


def _cast(node: Node) -> Call:
    return torch.Tensor.to, (node.inputs[0], DTYPES[node.attributes["to"]])


def _gelu(node: Node) -> Call:
    return gelu, (node.inputs[0], node.attributes.get("approximate", "none"))


def gelu(x: torch.Tensor, approximate: str) -> torch.Tensor:
    """The Gaussian error linear unit, exact or by tanh."""
    return functional.gelu(x, approximate=approximate)


def _layer_norm(node: Node) -> Call:
    scale = node.values[1]
    if scale is None:
        raise ModelError("The scale of a LayerNormalization must be constant for torch")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return functional.layer_norm, (
        node.inputs[0],
        scale.shape,
        node.inputs[1],
        bias,
        node.attributes.get("epsilon", 1e-5),
    )


def _batch_norm(node: Node) -> Call:
    x, scale, shift, mean, variance = node.inputs[:5]
    return functional.batch_norm, (x, mean, variance, scale, shift, False, 0.0, node.attributes.get("epsilon", 1e-5))


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *how: Any) -> torch.Tensor:
    """A convolution over one to three axes; ``how`` is stride, padding, dilation, groups."""
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[x.ndim - 3]
    return function(x, weight, bias, *how)


def _padding(attributes: Mapping[str, Any], rank: int) -> tuple[int, ...]:
    pads = tuple(attributes.get("pads", (0,) * (2 * rank)))
    if pads[:rank] != pads[rank:] or attributes.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise ModelError(f"padding must be the same on both sides for torch, got {pads}")
    return pads[:rank]


def _conv(node: Node) -> Call:
    if node.values[1] is None:
        raise ModelError("The weights of a Conv must be constant for torch")
    rank = node.values[1].ndim - 2
    stride, dilation = (tuple(node.attributes.get(name, (1,) * rank)) for name in ("strides", "dilations"))
    how = stride, _padding(node.attributes, rank), dilation, node.attributes.get("group", 1)
    return convolve, (node.inputs[0], node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None, *how)


def _pool(function: Callable[..., Any]) -> Operator:
    def build(node: Node) -> Call:
        kernel = tuple(node.attributes["kernel_shape"])
        strides = tuple(node.attributes.get("strides", (1,) * len(kernel)))
        padding, rounds_up = _padding(node.attributes, len(kernel)), bool(node.attributes.get("ceil_mode", 0))
        return function, (node.inputs[0], kernel, strides, padding, rounds_up)

    return build


def max_pool(x: torch.Tensor, kernel: Any, stride: Any, padding: Any, rounds_up: bool) -> torch.Tensor:
    """The maximum of windows in images."""
    return functional.max_pool2d(x, kernel, stride, padding, ceil_mode=rounds_up)


def average_pool(x: torch.Tensor, kernel: Any, stride: Any, padding: Any, rounds_up: bool) -> torch.Tensor:
    """The mean of windows in images; zeros of the padding do not count, as in ONNX."""
    return functional.avg_pool2d(x, kernel, stride, padding, ceil_mode=rounds_up, count_include_pad=False)


def global_average(x: torch.Tensor) -> torch.Tensor:
    """The mean over all places of each channel."""
    return functional.adaptive_avg_pool2d(x, 1)


def hard_sigmoid(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """A line from 0 to 1: torch has the one of the default slope of its own."""
    return functional.hardsigmoid(x) if (alpha, beta) == (SIXTH, 0.5) else torch.clamp(alpha * x + beta, 0.0, 1.0)


SIXTH = float(np.float32(1 / 6))


def _pad(node: Node) -> Call:
    pads, value = node.values[1], node.values[2] if len(node.values) > 2 else None
    if pads is None or node.attributes.get("mode", "constant") != "constant" or len(node.inputs) > 3:
        raise ModelError("Pad must be by constants, on all axes, for torch")
    begins, ends = np.split(pads.reshape(-1), 2)
    by_axis = [int(n) for axis in range(len(begins))[::-1] for n in (begins[axis], ends[axis])]  # the last one first
    return functional.pad, (node.inputs[0], by_axis, "constant", 0.0 if value is None else float(value))


def _slice(node: Node) -> Call:
    given = node.values[1:]
    if any(values is None for values in given):
        raise ModelError("The bounds of a Slice must be constant for torch")
    starts, ends, *rest = [[int(value) for value in values.reshape(-1)] for values in given if values is not None]
    axes, steps = rest[0] if rest else list(range(len(starts))), rest[1] if len(rest) > 1 else [1] * len(starts)
    if min(steps) < 1:
        raise ModelError("The steps of a Slice must be positive for torch")
    return cut, (node.inputs[0], tuple(zip(axes, starts, ends, steps, strict=True)))


def cut(x: torch.Tensor, bounds: Sequence[tuple[int, int, int, int]]) -> torch.Tensor:
    """Every step-th entry from start to end along some axes."""
    places = [slice(None)] * x.ndim
    for axis, start, end, step in bounds:
        places[axis] = slice(start, end, step)
    return x[tuple(places)]


def _resize(node: Node) -> Call:
    how = {name: node.attributes.get(name) for name in ("mode", "coordinate_transformation_mode", "antialias")}
    factors = node.values[2] if len(node.values) > 2 else None
    is_plain = how["coordinate_transformation_mode"] in {None, "half_pixel"} and not how["antialias"]
    if how["mode"] != "linear" or not is_plain or factors is None or len(factors) != 4 or len(node.inputs) > 3:
        raise ModelError("Resize must be linear interpolation of images by constant factors for torch")
    return resize, (node.inputs[0], tuple(float(factor) for factor in factors[2:]))


def resize(x: torch.Tensor, factors: tuple[float, float]) -> torch.Tensor:
    """Bilinear interpolation of images to sides that are rounded down."""
    return functional.interpolate(
        x, scale_factor=factors, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )


OPERATORS: dict[str, Operator] = {
    **{name: _plain(getattr(torch, name.lower())) for name in ("Sqrt", "Exp", "Log", "Tanh", "Erf", "Abs", "Neg")},
    **{name: _plain(getattr(torch, name.lower())) for name in ("Sin", "Cos", "Floor", "Ceil", "Round", "Sign")},
    **{name: _plain(getattr(torch, name.lower())) for name in ("Relu", "Sigmoid", "IsNaN", "Reciprocal", "Where")},
    **{name: _plain(getattr(torch, name.lower())) for name in ("Add", "Sub", "Mul", "Div", "Pow", "MatMul")},
    **{"Max": _plain(torch.maximum), "Min": _plain(torch.minimum), "Not": _plain(torch.logical_not)},
    **{"Softplus": _plain(functional.softplus), "Softsign": _plain(functional.softsign)},
    **{"HardSwish": _plain(functional.hardswish), "Mish": _plain(functional.mish), "Selu": _plain(functional.selu)},
    "Elu": _with(functional.elu, alpha=1.0),
    "HardSigmoid": _with(hard_sigmoid, alpha=0.2, beta=0.5),
    "LeakyRelu": _with(functional.leaky_relu, alpha=0.01),
    "Gelu": _gelu,
    "Clip": lambda node: (torch.clamp, tuple(node.inputs)),
    "Softmax": _with(torch.softmax, axis=-1),
    "LogSoftmax": _with(torch.log_softmax, axis=-1),
    "Cast": _cast,
    "Gemm": _gemm,
    "Gather": _gather,
    "Concat": _concat,
    "Flatten": _with(flatten, axis=1),
    "Reshape": _shaped(reshape, "shape"),
    "Unsqueeze": _shaped(unsqueeze, "axes"),
    "Squeeze": _shaped(torch.squeeze, "axes"),
    "Pad": _pad,
    "Slice": _slice,
    "Resize": _resize,
    "Transpose": _with(torch.permute, perm=()),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMax": _reduction(torch.amax),
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "MaxPool": _pool(max_pool),
    "AveragePool": _pool(average_pool),
    "GlobalAveragePool": _plain(global_average),
    "Shape": lambda node: (shape_of, (node.inputs[0],)),
}
"""ONNX operator -> how torch is called for it."""


def shape_of(x: torch.Tensor) -> torch.Tensor:
    """The lengths of the axes."""
    return torch.tensor(x.shape)
