"""Sizes of an executed operation: the whole numbers that decide how long it takes, by kind of operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from hw_cost.graph import BATCH, Operation, Shape
from hw_cost.kinds import weight_of
from hw_cost.ops import dense_sizes, item_bytes, operation_bytes, operation_flops, row_sizes, size
from hw_cost.ops import tree_sizes as ensemble_sizes

Sizes = Mapping[str, int]

ACTIVATION_LEVELS = {
    **dict.fromkeys(("Relu",), 1),
    **dict.fromkeys(("Clip", "HardSigmoid", "LeakyRelu"), 2),
    **dict.fromkeys(("HardSwish", "Sigmoid", "Tanh", "Gelu", "Softplus", "Elu", "Selu"), 3),
}
"""Activation fused into a convolution -> how costly it is: next to nothing, some arithmetic, much of it."""


def _dense(operation: Operation, batch: int, working_set: int) -> Sizes:
    rows, n_in, n_out = dense_sizes(operation, batch)
    return {"rows": rows, "n_in": n_in, "n_out": n_out, "working_set": working_set}


def _product(operation: Operation, batch: int, _: int) -> Sizes:
    """A product of two activations: how many matrices of which sizes."""
    *leading, rows, n_out = [batch if length == BATCH else length for length in (1, 1, *operation.output)]
    last = -2 if operation.attributes.get("transA") else -1
    n_in = operation.inputs[0][last] if operation.inputs and len(operation.inputs[0]) > 1 else 1
    n_in = batch if n_in == BATCH else n_in
    return {"matrices": math.prod(leading), "rows": rows, "n_in": n_in, "n_out": n_out}


def _batched(operation: Operation, batch: int, working_set: int) -> Sizes:
    """A product of an activation and many matrices of weights."""
    return {**_product(operation, batch, working_set), "working_set": working_set}


def _conv(operation: Operation, batch: int, working_set: int) -> Sizes:
    """Of the output: images, height and width; of the weight: channels and window; what else the kernel does."""
    operation = channels_first(operation)
    weight = weight_of(operation)
    images, _, *space = [batch if length == BATCH else length for length in operation.output]
    groups = int(operation.attributes.get("group", 1))
    return {
        "images": images,
        "height": math.prod(space[:-1]),
        "width": space[-1] if space else 1,
        "n_in": weight[1] * groups,
        "n_out": weight[0],
        "groups": groups,
        "window": math.prod(weight[2:]),
        "taps": _taps(operation, weight),
        "stride": _stride(operation),
        "activation": ACTIVATION_LEVELS.get(str(operation.attributes.get("activation", "")), 0),
        "added": len(operation.inputs) - 1,
        "working_set": working_set,
    }


def channels_first(operation: Operation) -> Operation:
    """Return the operation with images as ONNX has them; quantised ones may have their channels last."""
    if not operation.attributes.get("channels_last") and not operation.op.startswith("Nhwc"):
        return operation
    inputs = tuple((shape[0], shape[-1], *shape[1:-1]) for shape in operation.inputs)
    output = operation.output
    return replace(
        operation,
        inputs=inputs,
        output=(output[0], output[-1], *output[1:-1]),
        attributes={name: value for name, value in operation.attributes.items() if name != "channels_last"},
    )


def _taps(operation: Operation, weight: Shape) -> int:
    """Positions of the window, over all outputs of a plane, that lie inside the image."""
    dimensions = len(weight) - 2
    strides = operation.attributes.get("strides") or [1] * dimensions
    dilations = operation.attributes.get("dilations") or [1] * dimensions
    starts = (operation.attributes.get("pads") or [0] * dimensions)[:dimensions]
    taps = 1
    for axis, (length, window) in enumerate(zip(operation.inputs[0][2:], weight[2:], strict=True)):
        first = [output * strides[axis] - starts[axis] for output in range(operation.output[2 + axis])]
        taps *= sum(0 <= at + step * dilations[axis] < length for at in first for step in range(window))
    return taps


def _pool(operation: Operation, batch: int, _: int) -> Sizes:
    operation = channels_first(operation)
    planes, height, width = _planes(operation.output, batch)
    if operation.op.endswith("GlobalAveragePool") or operation.op.endswith("GlobalMaxPool"):
        window = size(operation.inputs[0][2:])
    else:
        window = math.prod(operation.attributes.get("kernel_shape", (1,)))
    return {"planes": planes, "height": height, "width": width, "window": window, "stride": _stride(operation)}


def _reorder(operation: Operation, batch: int, _: int) -> Sizes:
    """Planes of an image and their pixels, into blocks of channels or back."""
    planes, height, width = _planes(operation.output, batch)
    return {"planes": planes, "pixels": height * width}


def _planes(shape: Shape, batch: int) -> tuple[int, int, int]:
    images, channels, *space = [batch if length == BATCH else length for length in (*shape, 1, 1)][: max(2, len(shape))]
    return images * channels, math.prod(space[:-1]), space[-1] if space else 1


def _stride(operation: Operation) -> int:
    return max(operation.attributes.get("strides") or (1,))


def _elementwise(operation: Operation, batch: int, _: int) -> Sizes:
    """Bytes of the largest tensor, and the spans that are worked on one by one when something is broadcast.

    Of a reduction the spans are the positions before the reduced axis, ``inner`` those behind it; it is 0 of others.
    """
    shapes = (*operation.inputs, *(shape for shape in operation.parameters.values() if size(shape) > 1))
    broadcasts = len(shapes) == 2 and operation.op not in {"Where", "Clip"}
    elements = max(size(shape, batch) for shape in (*operation.inputs, operation.output))
    if operation.op in {"Sum", "Mean"}:
        elements *= max(1, len(operation.inputs) + len(operation.parameters) - 1)
    item = 4 if operation.op == "Cast" else item_bytes(operation)  # of a cast the result's, which is always known
    if operation.op.startswith(("Reduce", "Arg")):
        before, behind = _around_reduced(operation, batch)
        return {"bytes": elements * item, "spans": before, "inner": behind}
    return {"bytes": elements * item, "spans": spans(*shapes, batch=batch) if broadcasts else 1, "inner": 0}


def _around_reduced(operation: Operation, batch: int) -> tuple[int, int]:
    """Elements of the axes before the one that is reduced, and of those behind it."""
    pairs = zip(operation.inputs[0], operation.output, strict=False)
    before = tuple(length for length, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return size(before, batch), size(operation.inputs[0][len(before) + 1 :], batch)


def spans(a: Shape, b: Shape, *, batch: int = 1) -> int:
    """Pieces in which two tensors are combined when one is broadcast: within a piece neither changes its way.

    >>> spans((2, 3, 4), (4,)), spans((2, 3, 4), (2, 3, 1)), spans((2, 3, 4), (2, 3, 4)), spans((2, 3), (1,))
    (6, 6, 1, 1)
    """
    a, b = (tuple(batch if length == BATCH else length for length in shape) for shape in (a, b))
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)
    pieces, way = 1, None
    for x, y in reversed([pair for pair in pairs if pair != (1, 1)]):
        now = (x > y) - (x < y)
        way = now if way is None else way
        if pieces > 1 or now != way:
            pieces *= max(x, y)
    return pieces


def _rowwise(operation: Operation, batch: int, _: int) -> Sizes:
    rows, width = row_sizes(operation, batch)
    return {"rows": rows, "width": width}


def _select(operation: Operation, batch: int, _: int) -> Sizes:
    """Rows of which the largest entries are looked for, entries of a row, and how many are kept."""
    kept = operation.output[-1]
    width = operation.inputs[0][-1] if operation.inputs else kept
    return {"rows": size(operation.output, batch) // max(1, kept), "width": width, "kept": kept}


def _gather(operation: Operation, batch: int, _: int) -> Sizes:
    """Lookups and the bytes of each; the table is a constant, or an activation that constants choose from."""
    total, inputs = size(operation.output, batch), operation.inputs
    table = next(iter(operation.parameters.values()), inputs[0] if inputs else ())
    axis = int(operation.attributes.get("axis", 0))
    if inputs and operation.output != (*inputs[0], *table[1:]):
        table = inputs[0]
    width = max(1, size(table[axis % max(1, len(table)) + 1 :], batch))
    return {"lookups": max(1, total // width), "bytes": width * item_bytes(operation)}


def _encoder(operation: Operation, batch: int, _: int) -> Sizes:
    return {"elements": size(operation.output, batch), "n_keys": int(operation.attributes.get("n_keys", 1))}


def _concat(operation: Operation, batch: int, _: int) -> Sizes:
    parts = len(operation.inputs) + len(operation.parameters)
    rows = size(operation.output[: int(operation.attributes.get("axis", -1)) % max(1, len(operation.output))], batch)
    return {"parts": parts, "rows": rows, "bytes": size(operation.output, batch) * item_bytes(operation)}


def _copy(operation: Operation, batch: int, _: int) -> Sizes:
    """Bytes written, and the pieces that lie together in what is read; those of a single element on their own."""
    elements, pieces = size(operation.output, batch), _pieces(operation, batch)
    is_single = 1 < elements == pieces
    moved = elements * item_bytes(operation)
    return {"bytes": moved, "pieces": 0 if is_single else pieces, "singles": pieces if is_single else 0}


def _pieces(operation: Operation, batch: int) -> int:
    shape = tuple(batch if length == BATCH else length for length in operation.output)
    if operation.op == "Transpose":
        return _transposed_pieces(tuple(operation.attributes.get("perm") or range(len(shape))[::-1]), shape)
    source = operation.inputs[0] if operation.inputs else ()
    same = 0
    while same < min(len(shape), len(source)) and shape[-1 - same] == source[-1 - same]:
        same += 1
    return math.prod(shape[: max(0, len(shape) - same - 1)])


def _transposed_pieces(permutation: Sequence[int], shape: Shape) -> int:
    """Pieces that keep their order: axes at the end that stay in place, and axes of length 1, do not cut."""
    moved = [(axis, length) for axis, length in zip(permutation, shape, strict=True) if length > 1]
    order = sorted(axis for axis, _ in moved)
    while moved and moved[-1][0] == order[-1]:
        moved.pop()
        order.pop()
    return math.prod(length for _, length in moved)


def _trees(operation: Operation, batch: int, working_set: int) -> Sizes:
    rows, trees, leaves, outputs = ensemble_sizes(operation, batch)
    sizes = {"rows": rows, "trees": trees, "leaves": leaves, "outputs": outputs, "working_set": working_set}
    return {**sizes, "votes": max(1, int(operation.attributes.get("n_votes", 1)))}


def _other(operation: Operation, batch: int, _: int) -> Sizes:
    return {"flops": operation_flops(operation, batch), "bytes": operation_bytes(operation, batch)}


SIZES: dict[str, Callable[[Operation, int, int], Sizes]] = {
    "dense": _dense,
    "product": _product,
    "batched": _batched,
    "conv": _conv,
    "pool": _pool,
    "reorder": _reorder,
    "elementwise": _elementwise,
    "rowwise": _rowwise,
    "select": _select,
    "gather": _gather,
    "encoder": _encoder,
    "concat": _concat,
    "copy": _copy,
    "trees": _trees,
    "other": _other,
}
"""Kind -> sizes of an operation at a batch, in a network with ``working_set`` bytes of constants.

The working set decides from which cache the constants come: on server processors a factor of three for dense layers.
"""

SIZE_NAMES = {
    "dense": ("rows", "n_in", "n_out", "working_set"),
    "product": ("matrices", "rows", "n_in", "n_out"),
    "batched": ("matrices", "rows", "n_in", "n_out", "working_set"),
    "conv": (
        *("images", "height", "width", "n_in", "n_out", "groups", "window", "taps", "stride", "activation"),
        "added",
        "working_set",
    ),
    "pool": ("planes", "height", "width", "window", "stride"),
    "reorder": ("planes", "pixels"),
    "elementwise": ("bytes", "spans", "inner"),
    "rowwise": ("rows", "width"),
    "select": ("rows", "width", "kept"),
    "gather": ("lookups", "bytes"),
    "encoder": ("elements", "n_keys"),
    "concat": ("parts", "rows", "bytes"),
    "copy": ("bytes", "pieces", "singles"),
    "trees": ("rows", "trees", "leaves", "outputs", "working_set", "votes"),
    "call": ("inputs", "strings"),
    "other": ("flops", "bytes"),
}
"""Kind -> names of the sizes, in order."""

ADDED_SIZES = {"trees": {"votes": 1}, "elementwise": {"inner": 0}}
"""Kind -> sizes that tables of the first schema do not have, and what stands for them."""
