"""Physical quantities of a kernel: what its latency is a sum of, each growing with every size."""

from __future__ import annotations

import math
from collections.abc import Callable

from hw_cost.sizes import Sizes

CACHE_STEPS = range(15, 27)
"""Powers of two of the working set, bytes, between which the cost of reading constants may rise: 32 KiB to 64 MiB."""
TILE = 16
"""Outputs that a dense kernel computes together: 64 bytes of floats."""
DOT = 4
"""Bytes whose products are added at once where a kernel computes in 8 bits."""
DEPTH = 256
"""Inputs that a dense kernel goes through before it writes sums."""
PIXELS = 6
"""Pixels of a row that a convolving kernel computes together."""
FILTERS = 64
"""Output channels that a convolving kernel computes together."""


def _rises(working_set: float) -> list[float]:
    """Quantities from 0 to 1 that step up as the working set outgrows each power of two."""
    level = math.log2(max(1.0, working_set))
    return [min(1.0, max(0.0, level - step)) for step in CACHE_STEPS]


def _dense(s: Sizes) -> list[float]:
    rows, n_in, n_out = s["rows"], s["n_in"], s["n_out"]
    tiled = TILE * math.ceil(n_out / TILE)
    weights = n_in * tiled
    reads = [weights * rise for rise in _rises(s["working_set"])]
    one = [tiled, n_in, weights, *reads]  # a row alone waits for the weights, several of them for the arithmetic
    several = [
        *(rows, n_in, tiled, rows * tiled, rows * n_in, rows * tiled * math.ceil(n_in / DEPTH)),
        *(weights, rows * weights, max(4, rows) * weights, max(12, rows) * weights, *reads),
    ]
    return [1, *(q * (rows == 1) for q in one), *(q * (rows > 1) for q in several)]


def _product(s: Sizes) -> list[float]:
    matrices, rows, n_in, n_out = s["matrices"], s["rows"], s["n_in"], s["n_out"]
    tiled = TILE * math.ceil(n_out / TILE)
    bytes_out = 4 * matrices * rows * n_out
    return [
        *(1, matrices, matrices * rows, matrices * n_in * tiled, matrices * rows * n_in, matrices * rows * tiled),
        *(matrices * rows * n_in * tiled, bytes_out * _ramp(bytes_out, 18, 21)),
    ]


def _batched(s: Sizes) -> list[float]:
    weights = s["matrices"] * s["n_in"] * TILE * math.ceil(s["n_out"] / TILE)
    return [*_product(s), *(weights * rise for rise in _rises(s["working_set"]))]


def _conv(s: Sizes) -> list[float]:
    """Quantities of a direct convolution over blocks of channels (as of Georganas et al. 2018, algorithm 3)."""
    images, height, width, stride = s["images"], s["height"], s["width"], s["stride"]
    n_in, n_out, window = s["n_in"] // s["groups"], s["n_out"], s["window"]
    side = math.sqrt(window)
    rows_read = images * math.sqrt(s["taps"] * height / max(1, width))  # rows of the window inside the image
    edge = min(width, math.ceil((side - 1) / stride))  # pixels of a row that are computed one by one
    groups = edge + math.ceil((width - edge) / PIXELS)
    macs = images * s["taps"] * n_in * n_out
    loads = rows_read * groups * side * n_in * n_out  # weights, once for each group of pixels
    out, inside = images * height * width * n_out, images * height * width * stride**2 * n_in * s["groups"]
    weights, blocks = n_in * n_out * window, math.ceil(n_in / TILE)
    filters = math.ceil(n_out / s["groups"] / FILTERS) * s["groups"]
    broadcasts = images * s["taps"] * n_in * filters
    is_matrix = window == 1 and stride == 1  # else the image is written as a matrix first, where that is the way
    pixels = images * height * width * s["groups"]
    copies = 0 if is_matrix else pixels * window  # of as many channels as a group has
    columns = copies * n_in
    tiles = TILE * math.ceil(n_out / s["groups"] / TILE) * math.ceil(n_in * window / DOT)
    calls = rows_read * filters * blocks if n_in > 1 else 0
    return [
        *(1, images, images * n_out, macs, loads, out, out * blocks, inside, calls, calls * groups, weights),
        *(out * (s["activation"] >= level) for level in (1, 2, 3)),
        *(broadcasts, columns, columns * _ramp(4 * columns / images, 17, 20), images * s["groups"]),
        *(out * s["added"], macs * (stride > 1), loads * (stride > 1), images * height * n_out),
        *(out * _ramp(4 * out, 18, 21), out * _ramp(4 * out, 21, 25)),
        *(copies, pixels * tiles),
        *(inside * _ramp(4 * inside, 14, 17), inside * _ramp(4 * inside, 18, 21), inside * _ramp(4 * inside, 21, 25)),
        *(loads * _ramp(4 * weights, 14, 16), loads * _ramp(4 * weights, 18, 21)),
        *(weights * rise for rise in _rises(s["working_set"])),
    ]


def _pool(s: Sizes) -> list[float]:
    planes, out = s["planes"], s["planes"] * s["height"] * s["width"]
    work, moved = out * s["window"], 4 * out * min(s["window"], s["stride"] ** 2)
    cached = [moved * _ramp(moved, 18, 21), work * _ramp(4 * work, 18, 21), moved * _ramp(moved, 22, 25)]
    return [1, planes, planes * s["height"], out, work, *cached]


def _reorder(s: Sizes) -> list[float]:
    planes, moved = s["planes"], 4 * s["planes"] * s["pixels"]
    return [1, planes, moved, moved * _ramp(moved, 14, 16), moved * _ramp(moved, 18, 21), moved * _ramp(moved, 21, 24)]


def _copy(s: Sizes) -> list[float]:
    moved, pieces, singles = s["bytes"], s["pieces"], s["singles"]
    return [
        *(1, pieces, singles, moved, moved * _ramp(moved, 14, 16), moved * _ramp(moved, 18, 21)),
        *(pieces * _ramp(moved, 14, 18), singles * _ramp(moved, 14, 18)),
    ]


def _trees(s: Sizes) -> list[float]:
    """Trees are gone through one by one, each by all rows: a row finds in the cache what others went through."""
    rows, trees, outputs, votes = s["rows"], s["trees"], s["outputs"], s["votes"]
    leaves = max(2.0, s["leaves"] / trees)
    depth = 2 * math.log(leaves)  # of the mean leaf of a tree that grew at random (Knuth 1998, section 6.2.2)
    ends, paths, several = rows * trees, rows * trees * depth, min(1, outputs - 1)
    ways = min(rows, leaves)
    fresh = trees * ways * (2 + depth - math.log2(ways))  # nodes that no row went to before
    return [
        *(1, rows, trees, ends, rows * outputs, paths, paths * _ramp(trees * depth, 5, 10)),
        *(ends * several, paths * several, ends * (votes - 1), *(fresh * rise for rise in _rises(s["working_set"]))),
    ]


def _elementwise(s: Sizes) -> list[float]:
    moved, spans, inner = s["bytes"], s["spans"], s["inner"]
    return [
        *(1, spans, min(1, spans - 1), moved, moved * min(1, spans - 1)),
        *(moved * _ramp(moved, 14, 16), moved * _ramp(moved, 18, 20), moved * _ramp(moved, 20, 23)),
        *(moved / inner if inner > 1 else 0, moved * (inner == 1)),  # a reduction run by run, or along a row
    ]


def _rowwise(s: Sizes) -> list[float]:
    rows, width = s["rows"], s["width"]
    elements = rows * width
    return [1, rows, width, width * _ramp(width, 10, 12), elements, elements * _ramp(elements, 16, 19)]


def _select(s: Sizes) -> list[float]:
    """Every entry is compared with the least of a heap, which changes seldom (Knuth 1998, section 5.2.3)."""
    rows, width, kept = s["rows"], s["width"], s["kept"]
    changes = rows * kept * (1 + math.log(max(1.0, width / kept)))
    several = min(1, kept - 1)
    return [1, rows, rows * width, rows * width * several, changes * several, changes * math.log2(kept)]


def _gather(s: Sizes) -> list[float]:
    return [1, s["lookups"], s["lookups"] * s["bytes"]]


def _encoder(s: Sizes) -> list[float]:
    return [1, s["elements"], s["elements"] * math.log2(max(1, s["n_keys"]))]


def _concat(s: Sizes) -> list[float]:
    moved = s["bytes"]
    return [1, s["parts"], s["rows"], s["parts"] * s["rows"], moved, moved * _ramp(moved, 18, 21)]


def _call(s: Sizes) -> list[float]:
    return [1, s["inputs"], s["strings"], min(1, s["strings"])]


def _other(s: Sizes) -> list[float]:
    return [1, s["flops"], s["bytes"]]


def _ramp(value: float, start: float, end: float) -> float:
    """0 below 2^start, 1 above 2^end, linear in the logarithm between."""
    return min(1.0, max(0.0, (math.log2(max(1.0, value)) - start) / (end - start)))


QUANTITIES: dict[str, Callable[[Sizes], list[float]]] = {
    "dense": _dense,
    "product": _product,
    "batched": _batched,
    "conv": _conv,
    "pool": _pool,
    "reorder": _reorder,
    "copy": _copy,
    "trees": _trees,
    "elementwise": _elementwise,
    "rowwise": _rowwise,
    "select": _select,
    "gather": _gather,
    "encoder": _encoder,
    "concat": _concat,
    "call": _call,
    "other": _other,
}
"""Kind -> quantities of a kernel, each of which does not fall when a size grows."""
