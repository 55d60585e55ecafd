"""Kernel latency from sizes: a sum of physical quantities with non-negative weights.

Every quantity grows with every size, so a prediction does too; it is positive because the first quantity, the cost of
starting a kernel, is constant. Weights minimise the relative error on the measured kernels (non-negative least
squares, Lawson & Hanson 1974, ch. 23).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hw_cost.quantities import QUANTITIES
from hw_cost.sizes import Sizes


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
