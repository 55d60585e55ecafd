"""What networks measured end to end say about the sums of their kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hw_cost.bench import Measurement, TooNoisy
from hw_cost.correction import PARTS, Correction, Experience, features, nearby_errors, part_sums
from hw_cost.kernel_residual import TimedNetwork, fit_kernel_residual
from hw_cost.networks import Network
from hw_cost.residual import Residual
from hw_cost.table import LEVEL_Z, KernelCost, LatencyTable, strangeness

INTERVAL_Z = 1.96
"""Half width of the 95 % interval of a measurement in standard deviations."""
MIN_NETWORKS = 3
ENOUGH = 40
"""Networks without which they are not told apart."""
LEVEL = 0.9
"""Probability that a latency lies in its interval."""
LEAST_SPREAD = 0.01
STIFFNESS = 0.25
"""Weight that holds the scales of the parts together: with few networks they are nearly one scale."""
OUTLIER = 0.05
"""Relative error from which on a network counts less (Huber 1964, p. 74)."""
REWEIGHTINGS = 6


def fit_correction(table: LatencyTable, measured: Sequence[tuple[Network, Measurement]]) -> Correction:
    """Fit the scales of all parts, what is left as a function of what networks are made of, and how far that errs.

    The interval is conformal: of errors on networks left out of the fit, relative to those of their neighbours, nine in
    ten are below the quantile.

    Args:
        table: tells the kernels' latencies; its own correction plays no part.
        measured: networks with their latency.

    Raises:
        TooNoisy: fewer than `MIN_NETWORKS` networks could be measured.
    """
    n = len(measured)
    if n < MIN_NETWORKS:
        raise TooNoisy(f"too noisy: only {n} whole networks could be measured, at least {MIN_NETWORKS} are needed")
    costs = [
        [table.kernel_cost(kernel) for kernel in table.runtime.kernels(network.graph, network.batch)]
        for network, _ in measured
    ]
    sums = np.array([part_sums((cost.kernel, cost.latency_us) for cost in kernels) for kernels in costs])
    times = np.array([1e3 * figure.median_ms for _, figure in measured])
    base, scales = solve(sums, times)
    missed = np.array([_missed(sums, times, k) for k in range(n)])
    spread = max(LEAST_SPREAD, conformal(np.abs(missed)) / LEVEL_Z)
    correction = Correction(base, dict(zip(PARTS, scales.tolist(), strict=True)), spread, n)
    if n < ENOUGH:
        return correction
    of_kernels, missed = fit_kernel_residual(
        [_timed(correction, kernels, figure) for kernels, (_, figure) in zip(costs, measured, strict=True)]
    )
    residual = Residual.fit(features(sums, np.array([len(kernels) for kernels in costs])), missed)
    nearby = nearby_errors(residual.points, residual.points, residual.left_out, but_itself=True)
    strange = np.array([strangeness(kernels) for kernels in costs])
    quantile = conformal(np.abs(residual.left_out) / np.hypot(nearby, strange))
    spread = max(LEAST_SPREAD, conformal(np.abs(residual.left_out)) / LEVEL_Z)
    return Correction(base, correction.scales, spread, n, Experience(residual, quantile, of_kernels))


def _timed(correction: Correction, costs: Sequence[KernelCost], figure: Measurement) -> TimedNetwork:
    kernels = [cost.kernel for cost in costs]
    scaled = correction.scaled(kernels, np.array([cost.latency_us for cost in costs]))
    deviation = (figure.high_ms - figure.low_ms) / (2 * INTERVAL_Z * figure.median_ms)
    return TimedNetwork(kernels, scaled, correction.base_us, 1e3 * figure.median_ms, deviation**2)


def _missed(sums: np.ndarray, times: np.ndarray, k: int) -> float:
    """Return how far a network is off when it is left out of the fit, as a logarithm."""
    others = np.arange(len(times)) != k
    base, scales = solve(sums[others], times[others])
    return math.log(times[k] / max(base + float(sums[k] @ scales), 0.5 * float(sums[k].sum())))


def conformal(errors: np.ndarray, level: float = LEVEL) -> float:
    """Return what a new error stays below with probability `level`, from errors on what was left out of the fit.

    The quantile of rank ceil((n + 1) level) of n exchangeable errors (Vovk et al. 2005, section 2.3); with too few of
    them for the rank, twice the largest.
    """
    rank = math.ceil((len(errors) + 1) * level)
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else 2 * float(np.max(errors))


def solve(sums: np.ndarray, times: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the base and the scale of each part of least relative error, drawn towards the one that serves all best.

    **Shape**
    - sums: ``(n_networks, n_parts)``, times: ``(n_networks,)``, the same unit
    """
    n, n_parts = sums.shape
    common = _affine(sums.sum(axis=1), times)[1]
    design = np.column_stack([np.ones(n), sums]) / times[:, None]
    ridge = np.sqrt(STIFFNESS) * np.eye(n_parts + 1)[1:]
    system, target = np.vstack([design, ridge]), np.concatenate([np.ones(n), ridge.sum(axis=1) * common])
    weights = np.ones(n + n_parts)
    for _ in range(REWEIGHTINGS):
        solution, *_ = np.linalg.lstsq(system * weights[:, None], target * weights, rcond=None)
        errors = np.abs(design @ solution - 1)
        weights[:n] = np.sqrt(np.minimum(1, OUTLIER / np.maximum(errors, 1e-9)))
    return float(solution[0]), np.maximum(solution[1:], 0.1 * common)


def _affine(sums: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Return base and scale of least relative squares; without a base where it would be far below 0."""
    design = np.column_stack([np.ones_like(sums), sums]) / times[:, None]
    (base, scale), *_ = np.linalg.lstsq(design, np.ones_like(sums), rcond=None)
    if base < -0.5 * sums.min() or scale <= 0:
        base, scale = 0.0, float(np.median(times / sums))
    return float(base), float(scale)
