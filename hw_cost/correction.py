"""What networks measured end to end say about the sums of their kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hw_cost.bench import Measurement, TooNoisy
from hw_cost.networks import Network
from hw_cost.table import LEVEL_Z, LatencyTable, group_sums
from hw_cost.table_format import GROUPS, Correction

MIN_NETWORKS = 3
LEVEL = 0.9
"""Probability that a latency lies in its interval."""
LEAST_SPREAD = 0.01
STIFFNESS = 0.01
"""Weight that holds the scales of the groups together: with few networks they are nearly one scale."""


def fit_correction(table: LatencyTable, measured: Sequence[tuple[Network, Measurement]]) -> Correction:
    """Fit latency = base + sum of scale * kernels of each group by least squares of the relative error.

    The scales are drawn towards the one that serves all groups best (ridge regression). The spread is the error on
    each network of a fit to the others: 90 % of them lie within `LEVEL_Z` times it.

    Args:
        table: tells the kernels' latencies; its own correction plays no part.
        measured: networks with their latency.

    Raises:
        TooNoisy: fewer than `MIN_NETWORKS` networks could be measured.
    """
    n = len(measured)
    if n < MIN_NETWORKS:
        raise TooNoisy(f"too noisy: only {n} whole networks could be measured, at least {MIN_NETWORKS} are needed")
    sums = np.array([_sums(table, network) for network, _ in measured])
    times = np.array([1e3 * figure.median_ms for _, figure in measured])
    errors = []
    for k in range(n):
        others = np.arange(n) != k
        base, scales = solve(sums[others], times[others])
        predicted = max(base + float(sums[k] @ scales), 0.5 * float(sums[k].sum()))
        errors.append(np.log(predicted / times[k]))
    base, scales = solve(sums, times)
    spread = max(LEAST_SPREAD, conformal(np.abs(errors)) / LEVEL_Z)
    return Correction(base, dict(zip(GROUPS, scales.tolist(), strict=True)), spread, n)


def _sums(table: LatencyTable, network: Network) -> list[float]:
    kernels = table.runtime.kernels(network.graph, network.batch)
    sums = group_sums(table.kernel_cost(kernel) for kernel in kernels)
    return [sums[group] for group in GROUPS]


def conformal(errors: np.ndarray, level: float = LEVEL) -> float:
    """Return what a new error stays below with probability `level`, from errors on what was left out of the fit.

    The quantile of rank ceil((n + 1) level) of n exchangeable errors (Vovk et al. 2005, section 2.3); with too few of
    them for the rank, twice the largest.
    """
    rank = math.ceil((len(errors) + 1) * level)
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else 2 * float(np.max(errors))


def solve(sums: np.ndarray, times: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the base and the scale of each group.

    **Shape**
    - sums: ``(n_networks, n_groups)``, times: ``(n_networks,)``, the same unit
    """
    n, n_groups = sums.shape
    common = _affine(sums.sum(axis=1), times)[1]
    design = np.column_stack([np.ones(n), sums]) / times[:, None]
    ridge = np.sqrt(STIFFNESS * n) * np.eye(n_groups + 1)[1:]
    target = np.concatenate([np.ones(n), ridge.sum(axis=1) * common])
    solution, *_ = np.linalg.lstsq(np.vstack([design, ridge]), target, rcond=None)
    return float(solution[0]), np.maximum(solution[1:], 0.1 * common)


def _affine(sums: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Return base and scale of least relative squares; without a base where it would be far below 0."""
    design = np.column_stack([np.ones_like(sums), sums]) / times[:, None]
    (base, scale), *_ = np.linalg.lstsq(design, np.ones_like(sums), rcond=None)
    if base < -0.5 * sums.min() or scale <= 0:
        base, scale = 0.0, float(np.median(times / sums))
    return float(base), float(scale)
