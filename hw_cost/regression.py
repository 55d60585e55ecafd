"""Kernel latency from sizes: a sum of physical quantities with non-negative weights.

Every quantity grows with every size, so a prediction does too; it is positive because the first quantity, the cost of
starting a kernel, is constant. Weights minimise the relative error on the measured kernels (non-negative least
squares, Lawson & Hanson 1974, ch. 23).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hw_cost.kernels import Sizes

CACHE_STEPS = range(15, 27)
"""Powers of two of the working set, bytes, between which the cost of reading constants may rise: 32 KiB to 64 MiB."""
TILE = 16
"""Outputs that a dense kernel computes together: 64 bytes of floats."""


def _rises(working_set: float) -> list[float]:
    """Quantities from 0 to 1 that step up as the working set outgrows each power of two."""
    level = math.log2(max(1.0, working_set))
    return [min(1.0, max(0.0, level - step)) for step in CACHE_STEPS]


def _dense(s: Sizes) -> list[float]:
    rows, n_in, n_out = s["rows"], s["n_in"], s["n_out"]
    tiled = TILE * math.ceil(n_out / TILE)
    weights = n_in * tiled
    reads = [weights * rise for rise in _rises(s["working_set"])]
    return [1, rows, tiled, n_in, rows * tiled, rows * n_in, weights, rows * weights, *reads]


def _trees(s: Sizes) -> list[float]:
    rows, trees, outputs = s["rows"], s["trees"], s["outputs"]
    paths = rows * trees * math.log2(max(2.0, s["leaves"] / trees))
    reads = [paths * rise for rise in _rises(s["working_set"])]
    return [1, rows, trees, rows * trees, rows * outputs, paths, paths * min(1, outputs - 1), *reads]


def _elementwise(s: Sizes) -> list[float]:
    moved = s["bytes"]
    return [1, s["spans"], moved, moved * _ramp(moved, 14, 16), moved * _ramp(moved, 20, 23)]


def _rowwise(s: Sizes) -> list[float]:
    rows, width = s["rows"], s["width"]
    elements = rows * width
    return [1, rows, width, width * _ramp(width, 10, 12), elements, elements * _ramp(elements, 16, 19)]


def _gather(s: Sizes) -> list[float]:
    return [1, s["lookups"], s["lookups"] * s["bytes"]]


def _encoder(s: Sizes) -> list[float]:
    return [1, s["elements"], s["elements"] * math.log2(max(1, s["n_keys"]))]


def _concat(s: Sizes) -> list[float]:
    return [1, s["parts"], s["rows"], s["parts"] * s["rows"], s["bytes"]]


def _call(s: Sizes) -> list[float]:
    return [1, s["inputs"], s["strings"], min(1, s["strings"])]


def _other(s: Sizes) -> list[float]:
    return [1, s["flops"], s["bytes"]]


def _ramp(value: float, start: float, end: float) -> float:
    """0 below 2^start, 1 above 2^end, linear in the logarithm between."""
    return min(1.0, max(0.0, (math.log2(max(1.0, value)) - start) / (end - start)))


QUANTITIES: dict[str, Callable[[Sizes], list[float]]] = {
    "dense": _dense,
    "trees": _trees,
    "elementwise": _elementwise,
    "rowwise": _rowwise,
    "gather": _gather,
    "encoder": _encoder,
    "concat": _concat,
    "call": _call,
    "other": _other,
}
"""Kind -> quantities of a kernel, each of which does not fall when a size grows."""


@dataclass(frozen=True)
class Fit:
    """Weights of the quantities of one operator, and how far they miss."""

    kind: str
    weights: tuple[float, ...]
    """Microseconds for a unit of each quantity."""
    spread: float
    """Standard deviation of the logarithmic error on kernels left out of the fit."""
    largest: tuple[float, ...]
    """The largest measured value of each quantity: beyond them a prediction is an extrapolation."""
    n: int

    def predict(self, sizes: Sizes) -> float:
        """Return microseconds."""
        quantities = QUANTITIES[self.kind](sizes)
        return sum(weight * quantity for weight, quantity in zip(self.weights, quantities, strict=True))

    def excess(self, sizes: Sizes) -> float:
        """How many times the largest measured quantity is exceeded; 1 within what was measured."""
        quantities = QUANTITIES[self.kind](sizes)
        ratios = [q / top for q, top, w in zip(quantities, self.largest, self.weights, strict=True) if w and top]
        return max([1.0, *ratios])


def fit_kernels(kind: str, sizes: Sequence[Sizes], latencies_us: np.ndarray, *, folds: int = 5) -> Fit:
    """Fit the kernels of one operator.

    Args:
        kind: tells the quantities.
        sizes: sizes of each measured kernel.
        latencies_us: their latencies, ``(n,)``, positive.
        folds: parts of the cross-validation behind the spread.
    """
    quantities = np.array([QUANTITIES[kind](s) for s in sizes], dtype=float)
    weights = _relative_nnls(quantities, latencies_us)
    errors = []
    for fold in range(min(folds, len(sizes))):
        left_out = np.arange(len(sizes)) % folds == fold
        if left_out.all():
            continue
        predicted = quantities[left_out] @ _relative_nnls(quantities[~left_out], latencies_us[~left_out])
        errors.append(np.log(np.maximum(predicted, 1e-3) / latencies_us[left_out]))
    spread = float(np.sqrt(np.mean(np.square(np.concatenate(errors))))) if errors else math.log(2)
    largest = tuple(quantities.max(axis=0).tolist())
    return Fit(kind, tuple(weights.tolist()), max(spread, 0.02), largest, len(sizes))


def _relative_nnls(quantities: np.ndarray, latencies: np.ndarray) -> np.ndarray:
    """Minimise the sum of squared relative errors over non-negative weights; the constant stays above 0."""
    scale = np.maximum(quantities.max(axis=0), 1e-12)
    weights, _ = nnls(quantities / scale / latencies[:, None], np.ones(len(latencies)))
    weights = weights / scale
    weights[0] = max(weights[0], 1e-3 * float(latencies.min()))
    return np.asarray(weights)
