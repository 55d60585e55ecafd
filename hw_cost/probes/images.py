"""Probes of the kernels of networks on images, in the blocked layout that onnxruntime works in and in the plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.onnx_reader import BLOCKED_PREFIX
from hw_cost.probes.base import MAX_COPIES, Probe, Stream, probe, spread, unit_points

MOST_FLOPS = 4e8
MOST_BYTES = 3e7
"""A kernel that is probed computes and holds no more; larger ones are as fast a FLOP."""
LARGEST = 112
"""Height and width of the largest image; of the stem's, which is larger still, it is the output's."""
CHANNELS_TIMES_SIZE = 14_000
BLOCK = 16
"""Channels come in multiples of it: the width of the widest vectors, so that it is right for narrower ones too."""
POOLS = tuple(
    f"{prefix}{op}" for prefix in ("", BLOCKED_PREFIX) for op in ("MaxPool", "AveragePool", "GlobalAveragePool")
)
ACTIVATIONS = ("", "Relu", "Relu", "", "HardSwish", "Relu", "", "Sigmoid")
STEMS = (3, 1, 8, 4, 12, 3, 15, 6, 10)
"""Channels of images that are read as they are."""
STRIDES = (1, 1, 1, 2)
GROUPED_SHARE, ADDED_SHARE = 0.33, 0.2
"""Of convolutions outside blocks, those in groups; of those in blocks, those that add to their output."""


@dataclass(frozen=True)
class Convolution:
    """Shape of a convolution."""

    size: int
    """Height and width of the output."""
    n_in: int
    n_out: int
    window: int = 1
    """Height and width of the kernel."""
    stride: int = 1
    groups: int = 1
    activation: str = ""
    added: bool = False
    """Adds an activation to its output, as the end of a residual block does."""

    @property
    def flops(self) -> int:
        """Floating-point operations for one image."""
        return 2 * self.size**2 * self.n_out * self.n_in // self.groups * self.window**2

    @property
    def bytes(self) -> int:
        """Bytes of one image before and after."""
        return 4 * self.size**2 * (self.n_in * self.stride**2 + self.n_out)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.n_in // self.groups * self.n_out * self.window**2


def convolution(shape: Convolution, rows: int, working_set: int, *, blocked: bool = True) -> Probe:
    """Return a probe of a convolution; one that adds does it to the output of the copy before it."""
    op = f"{BLOCKED_PREFIX}Conv" if blocked else "FusedConv" if shape.activation else "Conv"
    margin = shape.window // 2
    window = {"kernel_shape": [shape.window] * 2, "strides": [shape.stride] * 2, "pads": [margin] * 4}
    more = {"HardSigmoid": [0.2, 0.5], "Clip": [0.0, 6.0], "LeakyRelu": [0.1]}.get(shape.activation)
    fused: dict[str, Any] = {"activation": shape.activation} if shape.activation else {}
    fused |= {"activation_params": more} if more else {}
    output = (BATCH, shape.n_out, shape.size, shape.size)

    sets = max(1, working_set // (4 * shape.weights))

    def add(graph: OpGraph, x: str, k: int) -> str:
        weight = Parameter(f"w{k % sets}", (shape.n_out, shape.n_in // shape.groups, shape.window, shape.window))
        last = list(graph.network)[-1]
        before = [last] if shape.added and k else []
        constants = weight, Parameter(f"b{k % sets}", (shape.n_out,))
        return graph.add(op, x, *constants, *before, output=output, group=shape.groups, **window, **fused)

    size = shape.size * shape.stride
    return probe(add, (BATCH, shape.n_in, size, size), rows=rows, copies=MAX_COPIES, least=2 if shape.added else 1)


def pool(op: str, channels: int, size: int, window: int, stride: int, rows: int) -> Probe:
    """Return a probe of a pooling window; of pooling over the whole image when `op` says so."""
    is_global = "Global" in op
    shape = {} if is_global else {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [window // 2] * 4}
    end = 1 if is_global else (size * stride + 2 * (window // 2) - window) // stride + 1

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add(op, x, output=(BATCH, channels, end, end), **shape)

    return probe(add, (BATCH, channels, size * stride, size * stride), rows=rows, copies=MAX_COPIES)


def reorder(op: str, channels: int, size: int, rows: int) -> Probe:
    """Return a probe of the change of layout before or after blocked operators."""
    more = {"channels": channels} if op.endswith("Output") else {}

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add(op, x, output=(BATCH, channels, size, size), channels_last=0, **more)

    return probe(add, (BATCH, channels, size, size), rows=rows, copies=MAX_COPIES)


def scaled(op: str, channels: int, size: int, rows: int) -> Probe:
    """Return a probe of an operation of an image with one number a channel, as the gate of squeeze-and-excitation."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        gate = Parameter(f"g{k}", (channels, 1, 1))
        return graph.add(op, x, gate, output=(BATCH, channels, size, size))

    return probe(add, (BATCH, channels, size, size), rows=rows, copies=MAX_COPIES)


def resize(channels: int, size: int, rows: int) -> Probe:
    """Return a probe of a linear change of size, by factors that images are often brought to one size with."""
    small = max(2, size // 2) if channels % 2 else 2 * size

    def add(graph: OpGraph, x: str, k: int) -> str:
        constants = Parameter(f"region{k}", (0,)), Parameter(f"factors{k}", (4,))
        return graph.add("Resize", x, *constants, output=(BATCH, channels, size, size), mode="linear")

    return probe(add, (BATCH, channels, small, small), rows=rows, copies=MAX_COPIES)


def pixels(channels: int, size: int, rows: int) -> Probe:
    """Return a probe of the transposition that puts the channels of raw images first."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add("Transpose", x, output=(BATCH, channels, size, size), perm=[0, 3, 1, 2])

    return probe(add, (BATCH, size, size, channels), rows=rows, copies=MAX_COPIES)


CONVOLUTIONS = {
    "dense": (100, (3, 5, 3, 7, 3)),
    "pointwise": (100, (1,)),
    "depthwise": (100, (3, 5, 3, 7)),
    "stem": (64, (3, 3, 7, 5)),
    "grouped": (16, (3,)),
}
"""Kind -> how many a full build measures, and their windows, the usual ones several times."""
PLAIN = {"plain": (140, (3, 5, 3, 1)), "plain depthwise": (24, (3, 5))}
"""The same of those that are not in blocks."""


def image_streams(seed: int) -> list[Stream]:
    """Return the probes of networks on images."""
    streams = []
    for k, (kind, (n, windows)) in enumerate((CONVOLUTIONS | PLAIN).items()):
        make = partial(convolution, blocked=kind not in PLAIN)
        streams.append(Stream(f"{kind} convolution", n, partial(convolutions, make, kind, windows, seed + 30 + k)))
    return [*streams, *shared_image_streams(seed)]


def shared_image_streams(seed: int) -> list[Stream]:
    """Return the probes of all kernels but convolutions: networks in int8 have them as well."""
    makers = {
        **{f"Reorder{way}": partial(reorder, f"{BLOCKED_PREFIX}Reorder{way}") for way in ("Input", "Output")},
        **{f"{op} by channel": partial(scaled, op) for op in ("Mul", "Add")},
        **{op: partial(window, pool, op) for op in POOLS},
    }
    streams = [Stream(name, 24, partial(images, make, seed + 50 + k)) for k, (name, make) in enumerate(makers.items())]
    raw: dict[str, Callable[[int, int, int], Probe]] = {
        "Resize": resize,
        "channels first": pixels,
        "Mul of pixels": partial(scaled, "Mul"),
    }
    streams += [Stream(name, 14, partial(_raw, make, seed + 65 + k)) for k, (name, make) in enumerate(raw.items())]
    return streams


def _raw(make: Callable[[int, int, int], Probe], seed: int) -> Iterator[Probe]:
    for channels, size, rows in spread((1, 3.4), (14, 224), (0.4, 48), seed=seed):
        if 4 * channels * size**2 * max(1, rows) <= MOST_BYTES:
            yield make(channels, size, max(1, rows))


def window(make: Callable[..., Probe], op: str, channels: int, size: int, rows: int) -> Probe:
    """Return a probe of a pooling operator, with a window and a stride that change with the channels."""
    side, stride = ((3, 2), (2, 2), (3, 1))[channels // BLOCK % 3]
    return make(op, channels, size, side, stride, rows)


def images(make: Callable[[int, int, int], Probe], seed: int) -> Iterator[Probe]:
    """Yield an operation of images, from channels, side and number."""
    for channels, size, rows in spread((16, 1024), (4, 112), (0.4, 48), seed=seed):
        if 4 * channels * size**2 * max(1, rows) <= MOST_BYTES / 4:
            yield make(_blocks(channels), size, max(1, rows))


def convolutions(
    make: Callable[[Convolution, int, int], Probe],
    kind: str,
    windows: tuple[int, ...],
    seed: int,
    *,
    shape_of: Callable[..., Convolution] | None = None,
    fewest: int = BLOCK,
) -> Iterator[Probe]:
    """Yield convolutions of a kind: small images have many channels and large ones few, as in networks.

    Args:
        make: shape, rows and working set -> probe.
        kind: a key of `CONVOLUTIONS` or of `PLAIN`.
        windows: their sides, one of which is drawn for each.
        seed: of the sequence.
        shape_of: kind, side of the output, channels in and out, window and a source of chance -> shape.
        fewest: channels that it is given at least.
    """
    shape_of, random = shape_of or _shape, np.random.default_rng(seed)
    for point in unit_points(5, seed=seed):
        size = round(float(LARGEST ** point[0]))
        most = float(np.clip(CHANNELS_TIMES_SIZE / size, 4 * BLOCK, 1100))
        n_in, n_out = (round(float(fewest * (most / fewest) ** share)) for share in point[1:3])
        rows = max(1, round(float(40 ** (1.3 * point[3] - 0.3))))
        working_set = round(float(2e5 * 80 ** point[4]))
        shape = shape_of(kind, size, n_in, n_out, int(random.choice(windows)), random)
        fits = shape.window <= shape.size * shape.stride
        if fits and rows * shape.flops <= MOST_FLOPS and rows * shape.bytes <= MOST_BYTES:
            yield make(shape, rows, working_set)


def _shape(kind: str, size: int, n_in: int, n_out: int, window: int, random: np.random.Generator) -> Convolution:
    stride, activation = int(random.choice(STRIDES)), str(random.choice(ACTIVATIONS))
    n_in, n_out = (n_in, n_out) if kind.startswith("plain") else (_blocks(n_in), _blocks(n_out))
    if kind.endswith("depthwise"):
        return Convolution(size, n_in, n_in, window, stride, n_in, activation)
    if kind == "stem":
        return Convolution(size, int(random.choice(STEMS)), n_out, window, stride, 1, activation)
    if kind == "grouped":
        groups = int(random.choice((2, 4, 8, 16)))
        return Convolution(size, groups * _blocks(n_in // groups), groups * _blocks(n_out // groups), 3, stride, groups)
    if kind == "plain" and random.random() < GROUPED_SHARE:
        groups = int(random.choice((2, 4, 8)))
        n_in, n_out = groups * max(1, n_in // groups), groups * max(1, n_out // groups)
        return Convolution(size, n_in, n_out, window, stride, groups, activation and "Relu")
    is_added = kind != "plain" and random.random() < ADDED_SHARE
    return Convolution(size, n_in, n_out, window, stride, 1, activation, added=is_added)


def _blocks(channels: int) -> int:
    return BLOCK * max(1, round(channels / BLOCK))
