"""Probes of kernels that compute in 8 bits, as onnxruntime writes them into its optimised models; see `base`.

Activations are unsigned, weights signed; images have their channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter, Shape
from hw_cost.kinds import FEWEST_BLOCKED
from hw_cost.probes.base import MAX_COPIES, Add, Probe, Stream, probe
from hw_cost.probes.images import (
    CONVOLUTIONS,
    STEMS,
    STRIDES,
    Convolution,
    convolutions,
    images,
    shared_image_streams,
    window,
)
from hw_cost.probes.tabular import dense_large, dense_row, dense_rows, dense_stored, shared_tabular_streams, small
from hw_cost.probes.tokens import dense_tokens, products, shared_token_streams, stacks

FEWEST = 5
"""Channels of a convolution; a stem reads fewer."""
BYTES = {"dtype": "uint8"}
"""What such a kernel reads."""


def scale_and_zero(of: str) -> tuple[Parameter, Parameter]:
    """Return the two constants that say what the bytes of a tensor mean."""
    return Parameter(f"{of}.scale", ()), Parameter(f"{of}.zero", ())


def dense(n_in: int, n_out: int, rows: int, working_set: int) -> Probe:
    """Return a probe of ``QGemm``."""
    sets = max(1, working_set // (n_in * n_out))

    def add(graph: OpGraph, x: str, k: int) -> str:
        weights, bias = Parameter(f"w{k % sets}", (n_out, n_in)), Parameter(f"b{k % sets}", (n_out,))
        constants = *scale_and_zero("x"), weights, *scale_and_zero("w"), bias, *scale_and_zero("y")
        return graph.add("QGemm", x, *constants, output=(BATCH, n_out), transB=1, **BYTES)

    return _probe(add, (BATCH, n_in), rows)


def token_dense(n_in: int, n_out: int, tokens: int, rows: int, working_set: int) -> Probe:
    """Return a probe of a dense layer that works on each token."""
    sets = max(1, working_set // (n_in * n_out))
    return _product((BATCH, tokens, n_in), (n_in, n_out), (BATCH, tokens, n_out), rows, sets)


def batched(matrices: int, n_in: int, n_out: int, rows: int) -> Probe:
    """Return a probe of a product with a stack of weights."""
    return _product((BATCH, matrices, 1, n_in), (matrices, n_in, n_out), (BATCH, matrices, 1, n_out), rows, MAX_COPIES)


def _product(before: Shape, weights: Shape, after: Shape, rows: int, sets: int) -> Probe:
    def add(graph: OpGraph, x: str, k: int) -> str:
        own = Parameter(f"w{k % sets}", weights)
        constants = *scale_and_zero("x"), own, *scale_and_zero("w"), *scale_and_zero("y")
        return graph.add("QLinearMatMul", x, *constants, output=after, **BYTES)

    return _probe(add, before, rows)


def product(heads: int, tokens: int, width: int, rows: int, *, scores: bool) -> Probe:
    """Return a probe of a product of activations: queries with keys when `scores`, else weights with values."""
    graph = OpGraph()
    a = graph.input("a", (BATCH, heads, tokens, width if scores else tokens), **BYTES)
    right = (width, tokens) if scores else (tokens, width)
    b = graph.input("b", (BATCH, heads, *right), **BYTES)
    output = (BATCH, heads, tokens, right[1])
    copies = int(np.clip(2e7 / (2 * rows * heads * tokens**2 * width), 1, MAX_COPIES))
    sources = a, *scale_and_zero("x"), b, *scale_and_zero("x"), *scale_and_zero("y")  # both are unsigned
    last = [graph.add("QLinearMatMul", *sources, output=output, **BYTES) for _ in range(copies)][-1]
    return Probe.of(graph, last, copies, rows)


def convolution(shape: Convolution, rows: int, working_set: int) -> Probe:
    """Return a probe of a convolution; activations are fused into the bounds of its output."""
    sets = max(1, working_set // shape.weights)
    margin, size = shape.window // 2, shape.size * shape.stride
    more: dict[str, Any] = {"kernel_shape": [shape.window] * 2, "strides": [shape.stride] * 2, "pads": [margin] * 4}
    more["channels_last"] = 1

    def add(graph: OpGraph, x: str, k: int) -> str:
        weights = Parameter(f"w{k % sets}", (shape.n_out, shape.n_in // shape.groups, shape.window, shape.window))
        bias = Parameter(f"b{k % sets}", (shape.n_out,))
        constants = *scale_and_zero("x"), weights, *scale_and_zero("w"), *scale_and_zero("y"), bias
        output = (BATCH, shape.size, shape.size, shape.n_out)
        return graph.add("QLinearConv", x, *constants, output=output, group=shape.groups, **more, **BYTES)

    return _probe(add, (BATCH, size, size, shape.n_in), rows)


def convolution_shape(
    kind: str, size: int, n_in: int, n_out: int, side: int, random: np.random.Generator
) -> Convolution:
    """Return the shape of a convolution; two of three have channels in eights, as most networks do."""
    step, stride = int(random.choice((8, 8, 1))), int(random.choice(STRIDES))
    groups = int(random.choice((2, 4, 8, 16))) if kind == "grouped" else 1
    step = max(step, groups)
    n_in, n_out = (step * max(1, round(n / step)) for n in (n_in, n_out))
    if kind == "depthwise":
        return Convolution(size, n_in, n_in, side, stride, n_in)
    if kind == "stem":
        n_in = int(random.choice(STEMS))
    elif kind != "grouped":
        n_in = max(FEWEST_BLOCKED, n_in)
    return Convolution(size, n_in, n_out, side, stride, groups)


def pool(op: str, channels: int, size: int, side: int, stride: int, rows: int) -> Probe:
    """Return a probe of a pooling window."""
    end = (size * stride + 2 * (side // 2) - side) // stride + 1
    more: dict[str, Any] = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [side // 2] * 4}
    constants: tuple[Parameter, ...] = ()
    if op == "QLinearAveragePool":
        constants, more["channels_last"] = (*scale_and_zero("x"), *scale_and_zero("y")), 1

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add(op, x, *constants, output=(BATCH, end, end, channels), **more, **BYTES)

    return _probe(add, (BATCH, size * stride, size * stride, channels), rows)


def elementwise(op: str, width: int, rows: int) -> Probe:
    """Return a probe of an operation of each number, or of a softmax."""
    converts, given, made = op in {"QuantizeLinear", "DequantizeLinear"}, scale_and_zero("x"), scale_and_zero("y")
    attributes: dict[str, dict[str, Any]] = {
        "QLinearSoftmax": {"axis": -1, "opset": 13},
        "QLinearLeakyRelu": {"alpha": 0.1},
    }
    more = attributes.get(op, {})
    typed = {} if op == "QuantizeLinear" else BYTES

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        second = (x, *given) if op == "QLinearAdd" else ()
        constants = *given, *second, *(() if converts else made)
        return graph.add(op, x, *constants, output=(BATCH, width), **more, **typed)

    return probe(add, (BATCH, width), rows=rows, dtype=typed.get("dtype"), copies=MAX_COPIES)


def _probe(add: Add, shape: Shape, rows: int) -> Probe:
    return probe(add, shape, rows=rows, dtype="uint8", copies=MAX_COPIES)


def quantised_streams(seed: int) -> list[Stream]:
    """Return the probes of networks in int8: products and convolutions in 8 bits, all else as in floating point."""
    streams = [
        Stream("QGemm of a row", 80, partial(dense_row, dense, seed)),
        Stream("QGemm of rows", 90, partial(dense_rows, dense, seed + 7)),
        Stream("QGemm beyond the caches", 4, partial(dense_large, dense, seed + 11)),
        Stream("QGemm with stored rows", 24, partial(dense_stored, dense, seed + 9)),
        Stream("quantised dense on tokens", 90, partial(dense_tokens, token_dense, seed + 70)),
        Stream("quantised products", 64, partial(products, product, seed + 71)),
        Stream("quantised stacked products", 48, partial(stacks, batched, seed + 90)),
    ]
    for k, (kind, (n, windows)) in enumerate(CONVOLUTIONS.items()):
        draw = partial(
            convolutions, convolution, kind, windows, seed + 30 + k, shape_of=convolution_shape, fewest=FEWEST
        )
        streams.append(Stream(f"quantised {kind} convolution", max(n, 40), draw))
    makers: dict[str, Callable[[int, int, int], Probe]] = {
        op: partial(window, pool, op) for op in ("QLinearAveragePool", "NhwcMaxPool")
    }
    streams += [Stream(op, 24, partial(images, make, seed + 80 + k)) for k, (op, make) in enumerate(makers.items())]
    each = ("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearSoftmax", "QLinearLeakyRelu")
    streams += [Stream(op, 24, partial(small, partial(elementwise, op), seed + 85 + k)) for k, op in enumerate(each)]
    return [*streams, *shared_tabular_streams(seed), *shared_image_streams(seed), *shared_token_streams(seed)]
