"""Kernels of a runtime that cannot show one alone: whole networks are measured and their time is shared out.

A compiler that fuses and removes operations leaves nothing of a graph of many equal copies, and its profiler counts
whole microseconds. What it can tell is which kernels a network has become. The times of many random networks then
decide what each kernel takes: least squares of the relative error, with non-negative weights on the physical quantities
of each operator (`hw_cost.quantities.QUANTITIES`), as if all of them were one regression.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from hw_cost.bench import Measurement
from hw_cost.kernels import Kernel, work_of
from hw_cost.quantities import QUANTITIES
from hw_cost.table_checks import of_another_unit
from hw_cost.table_format import Row

STIFFNESS = 0.01
"""Weight that draws the starting costs of all operators towards one: rare ones would otherwise get nothing, or all."""
LEAST_US = 0.01
LEAST_START, FASTEST_BYTES = 0.1, 2e5
"""A kernel takes at least this share of the starting cost that serves all, and a microsecond for so many bytes (a fast
cache): a regression that is free to do so gives some operators nothing."""
VIEWS = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
"""Operators that only give data another shape: a regression would blame them for what stands beside them."""
MOST_ROWS = 40
"""Kernels of an operator that are kept, beside those of the greatest quantities."""

Measured = Sequence[tuple[Sequence[Kernel], Measurement]]
"""The kernels of each network, and its latency."""


def apportion(measured: Measured) -> tuple[Row, ...]:
    """Return rows of the kernels that the networks are made of, with the time that the regression gives each.

    Of an operator with very many kernels some are kept, from the quickest to the slowest, and the largest: they lie on
    one law, which a few of them tell as well as all.
    """
    latencies, figures = dict[Kernel, float](), defaultdict[Kernel, list[Measurement]](list)
    for (kernels, figure), predicted in zip(measured, _predicted(measured), strict=True):
        for kernel, latency in zip(kernels, predicted, strict=True):
            latencies[kernel] = float(latency)
            figures[kernel].append(figure)
    rows = [_row(kernel, latencies[kernel], figures[kernel]) for kernel in _kept(latencies)]
    while (stranger := of_another_unit(rows)) is not None:
        del rows[stranger]  # too few networks have it, and no table with such a row would be read
    return tuple(rows)


def _kept(latencies: Mapping[Kernel, float]) -> list[Kernel]:
    by_operator = defaultdict[str, list[Kernel]](list)
    for kernel in sorted(latencies, key=lambda kernel: latencies[kernel]):
        by_operator[kernel.op].append(kernel)
    kept: list[Kernel] = []
    for kernels in by_operator.values():
        quantities = np.array([_quantities(kernel) for kernel in kernels], dtype=float)
        evenly = np.linspace(0, len(kernels) - 1, MOST_ROWS).round().astype(int)
        chosen = {*evenly.tolist(), *quantities.argmax(axis=0).tolist()}
        kept += [kernels[position] for position in sorted(chosen)]
    return kept


def _row(kernel: Kernel, latency: float, figures: Sequence[Measurement]) -> Row:
    low = float(np.median([figure.low_ms / figure.median_ms for figure in figures]))
    high = float(np.median([figure.high_ms / figure.median_ms for figure in figures]))
    return Row(kernel, latency, latency * low, latency * high, sum(figure.n for figure in figures))


def _predicted(measured: Measured) -> list[np.ndarray]:
    """Return microseconds of each kernel of each network by the joint regression."""
    columns = _columns(measured)
    times = np.array([1e3 * figure.median_ms for _, figure in measured])
    design = np.zeros((len(measured), sum(part.stop - part.start for part in columns.values())))
    for row, (kernels, _) in zip(design, measured, strict=True):
        for kernel in kernels:
            row[columns[kernel.op]] += _quantities(kernel)
    starts = np.array([part.start for part in columns.values()])
    common = _common_start(measured, times)
    floors = [np.array([_floor(kernel, common) for kernel in kernels]) for kernels, _ in measured]
    least = np.array([floor.sum() for floor in floors])
    weights = _solve(design, np.maximum(times - least, 0.1 * times) / times, times, starts, common)
    return [
        floor + np.array([weights[columns[kernel.op]] @ _quantities(kernel) for kernel in kernels])
        for floor, (kernels, _) in zip(floors, measured, strict=True)
    ]


def _quantities(kernel: Kernel) -> np.ndarray:
    """Return what the kernel's latency is a sum of: for a view, which moves nothing, the starting cost alone."""
    quantities = np.array(QUANTITIES[kernel.kind](kernel.sizes), dtype=float)
    if kernel.op in VIEWS:
        quantities[1:] = 0.0
    return quantities


def _floor(kernel: Kernel, common: float) -> float:
    moves = kernel.kind in {"elementwise", "copy", "concat"} and kernel.op not in VIEWS
    moved = kernel.sizes["bytes"] if moves else 0
    return LEAST_START * common + moved / FASTEST_BYTES


def _columns(measured: Measured) -> dict[str, slice]:
    """Operator -> its columns in the joint regression; the first of them is its starting cost."""
    columns: dict[str, slice] = {}
    end = 0
    for kernel in (kernel for kernels, _ in measured for kernel in kernels):
        if kernel.op not in columns:
            width = len(_quantities(kernel))
            columns[kernel.op] = slice(end, end + width)
            end += width
    return columns


def _solve(design: np.ndarray, shares: np.ndarray, times: np.ndarray, starts: np.ndarray, common: float) -> np.ndarray:
    """Return weights, microseconds for a unit of each quantity.

    **Shape**
    - design: ``(n_networks, n_quantities)``, times and the shares of them to explain: ``(n_networks,)``, starts:
      ``(n_operators,)`` columns
    """
    scale = np.maximum(design.max(axis=0), 1e-12)
    ridge = np.zeros((len(starts), design.shape[1]))
    ridge[np.arange(len(starts)), starts] = np.sqrt(STIFFNESS) / common
    system = np.vstack([design / times[:, None], ridge]) / scale
    target = np.concatenate([shares, np.full(len(starts), np.sqrt(STIFFNESS))])
    solution, _ = nnls(system, target)
    return np.asarray(solution / scale)


def _common_start(measured: Measured, times: np.ndarray) -> float:
    """Return the one starting cost of all kernels, microseconds, that explains networks best beside their FLOPs."""
    counts = [len(kernels) for kernels, _ in measured]
    flops = [sum((work_of(kernel) or {"flops": 0})["flops"] for kernel in kernels) for kernels, _ in measured]
    (start, _), _ = nnls(np.column_stack([counts, np.array(flops) / 1e6]) / times[:, None], np.ones(len(times)))
    return float(max(start, LEAST_US))
