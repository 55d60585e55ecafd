"""Kernel latency from sizes: a sum of physical quantities with non-negative weights, and a smooth residual.

Every quantity grows with every size, so the sum does too; it is positive because the first quantity, the cost of
starting a kernel, is constant. Weights minimise the relative error on the measured kernels (non-negative least
squares, Lawson & Hanson 1974, ch. 23). For kinds whose time is no plain sum of anything (convolutions above all) a
residual in the logarithms of sizes multiplies it, where it foretells kernels better that were left out.

A quantity that one kernel alone has, such as weights beyond a cache, would take all of that kernel's error. Operators
that differ in what is fused into them share such experience: their weights are drawn to those that serve all best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

import numpy as np
from scipy.optimize import nnls

from hw_cost.kernels import Kernel, work_of
from hw_cost.quantities import DOT, QUANTITIES, TILE
from hw_cost.residual import Residual
from hw_cost.sizes import Sizes

_EXAMPLES = {
    **{"conv": "Conv", "product": "Product", "batched": "BatchedMatMul"},
    **{"copy": "Slice", "pool": "MaxPool", "reorder": "NchwcReorderInput", "trees": "TreeEnsembleRegressor"},
}
IRREGULAR = tuple(_EXAMPLES)
"""Kinds whose fits have a residual; the latencies of all others never fall when a size grows."""
ENOUGH = 24
"""Kernels without which there is no residual."""
LEAST_SPREAD = 0.02
ENOUGH_ALONE = 12
"""Dense kernels on one row without which they are not told from those on several."""
OUTLIER, REWEIGHTINGS = 0.2, 4
"""Relative error from which on a kernel counts less, and how often that is looked at again."""
BETTER = 0.95
"""Share of the sum's error that a residual must get below."""
RELATIVES_WEIGHT = 10.0
"""Kernels of its own that an operator needs for a quantity to count for as much as its relatives'."""

Measured = tuple[Sequence[Sizes], np.ndarray]
"""Sizes of kernels, and their latencies in microseconds, ``(n,)``."""


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
    residual: Residual | None = None
    least_rows: int = 1
    """A dense kernel on fewer rows counts as one on so many: there were not enough of a row alone for a fit."""
    most_constants: int | None = None
    """Bytes of the largest working set that was measured: one beyond it costs no more, as far as is known."""

    def predict(self, sizes: Sizes) -> float:
        """Return microseconds."""
        return self.tell(sizes)[0]

    def tell(self, sizes: Sizes) -> tuple[float, float]:
        """Return microseconds, and how many times what was measured most of is exceeded; 1 within that."""
        quantities = self._quantities(sizes)
        total = sum(map(mul, self.weights, quantities))
        if self.kind == "dense" and sizes["rows"] > 1:  # a row alone and several are fitted apart
            total = max(total, sum(map(mul, self.weights, self._quantities({**sizes, "rows": 1}))))
        if self.residual is not None:
            total *= math.exp(float(self.residual.predict(np.array([features(self.kind, sizes)]))[0]))
        ratios = [q / top for q, top, w in zip(quantities, self.largest, self.weights, strict=True) if w and top]
        if self.most_constants is not None:
            ratios.append(sizes["working_set"] / self.most_constants)
        return total, max([1.0, *ratios])

    def _quantities(self, sizes: Sizes) -> list[float]:
        if self.most_constants is not None and sizes["working_set"] > self.most_constants:
            sizes = {**sizes, "working_set": self.most_constants}
        return QUANTITIES[self.kind](_at_least(sizes, self.least_rows))


def _at_least(sizes: Sizes, rows: int) -> Sizes:
    return {**sizes, "rows": rows} if sizes.get("rows", rows) < rows else sizes


def features(kind: str, sizes: Sizes) -> list[float]:
    """Return what a residual is a function of: the logarithms of sizes, FLOPs and bytes, and odd channels."""
    work = work_of(Kernel(_EXAMPLES[kind], sizes)) or {}
    logs = [math.log(max(0.5, value)) for value in (*sizes.values(), *work.values())]
    return logs + _oddness(sizes) if kind == "conv" else logs


def _oddness(s: Sizes) -> list[float]:
    """Return how far the channels of a convolution are from whole vectors, which slower code computes than the others.

    Inputs of a window that are no multiple of `DOT`, and the halvings of `TILE` until it divides the outputs.
    """
    n_out = s["n_out"] if s["groups"] == s["n_out"] else s["n_out"] // s["groups"]
    inputs = s["n_in"] // s["groups"] * s["window"]
    return [float(inputs % DOT > 0), math.log2(TILE / math.gcd(n_out, TILE))]


def fit_kernels(
    kind: str, sizes: Sequence[Sizes], latencies_us: np.ndarray, *, relatives: Measured | None = None, folds: int = 5
) -> Fit:
    """Fit the kernels of one operator.

    Args:
        kind: tells the quantities.
        sizes: sizes of each measured kernel.
        latencies_us: their latencies, ``(n,)``, positive.
        relatives: kernels of operators that compute the same but for what is fused into them.
        folds: parts of the cross-validation behind the spread.
    """
    n_own = len(sizes)
    if relatives is not None:
        sizes, latencies_us = [*sizes, *relatives[0]], np.concatenate([latencies_us, relatives[1]])
    alone = sum(s.get("rows") == 1 for s in sizes)
    least_rows = 2 if kind == "dense" and len(sizes) - alone > 0 and alone < ENOUGH_ALONE else 1
    quantities = np.array([QUANTITIES[kind](_at_least(s, least_rows)) for s in sizes], dtype=float)
    largest = tuple(quantities.max(axis=0).tolist())
    most_constants = max(s["working_set"] for s in sizes) if "working_set" in sizes[0] else None
    prior = None if relatives is None else _Prior.of(quantities, latencies_us)
    sizes, quantities, latencies_us = sizes[:n_own], quantities[:n_own], latencies_us[:n_own]
    weights = _relative_nnls(quantities, latencies_us, prior)
    missed = []
    for fold in range(min(folds, len(sizes))):
        left_out = np.arange(len(sizes)) % folds == fold
        if not left_out.all():
            predicted = quantities[left_out] @ _relative_nnls(quantities[~left_out], latencies_us[~left_out], prior)
            missed.append(np.log(np.maximum(predicted, 1e-3) / latencies_us[left_out]))
    spread = _root_mean_square(np.concatenate(missed)) if missed else math.log(2)
    residual = None
    if kind in IRREGULAR and len(sizes) >= ENOUGH and spread > LEAST_SPREAD:
        residual = Residual.fit_robustly(
            np.array([features(kind, s) for s in sizes]), np.log(latencies_us / (quantities @ weights))
        )
        error = _root_mean_square(residual.left_out)
        residual, spread = (residual, error) if error < BETTER * spread else (None, spread)
    spread, told = max(spread, LEAST_SPREAD), tuple(weights.tolist())
    return Fit(kind, told, spread, largest, len(sizes), residual, least_rows, most_constants)


@dataclass(frozen=True)
class _Prior:
    """Weights that serve an operator and its relatives best, and how firmly each is held to."""

    weights: np.ndarray
    pull: np.ndarray
    """Of each quantity, the share of the latency that a unit weight is: the root mean square over all that have it."""

    @classmethod
    def of(cls, quantities: np.ndarray, latencies: np.ndarray) -> _Prior:
        shares = np.square(quantities / latencies[:, None]).sum(axis=0)
        having = np.maximum(1, (quantities > 0).sum(axis=0))
        return cls(_relative_nnls(quantities, latencies), np.sqrt(RELATIVES_WEIGHT * shares / having))


def _relative_nnls(quantities: np.ndarray, latencies: np.ndarray, prior: _Prior | None = None) -> np.ndarray:
    """Minimise relative errors over non-negative weights, great ones less than by their square (Huber 1964, p. 74).

    The constant stays above 0. Where there is a prior, distances from it are errors too.
    """
    scale = quantities.max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design, trust = quantities / scale / latencies[:, None], np.ones(len(latencies))
    held, goal = np.empty((0, len(scale))), np.empty(0)
    if prior is not None:
        held, goal = np.diag(prior.pull / scale), prior.pull * prior.weights
    for _ in range(REWEIGHTINGS):
        system, target = np.vstack([design * trust[:, None], held]), np.concatenate([trust, goal])
        weights, _ = nnls(system, target, maxiter=100 * len(scale))
        trust = np.sqrt(np.minimum(1, OUTLIER / np.maximum(np.abs(design @ weights - 1), 1e-9)))
    weights = weights / scale
    weights[0] = max(weights[0], 1e-3 * float(latencies.min()))
    return np.asarray(weights)


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
