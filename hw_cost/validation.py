"""Predictions against measurements on networks that were used for nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hw_cost.bench import Measurement, TooNoisy
from hw_cost.devices import Device
from hw_cost.measure import measure_on
from hw_cost.onnx_reader import OnnxModel
from hw_cost.runtimes import Feeds
from hw_cost.sessions import bench_for
from hw_cost.sitting import PER_PROCESS
from hw_cost.table import Cost, LatencyTable
from hw_cost.young import in_young_process

TOGETHER = 16
"""Models that are open at a time and measured interleaved."""


def validate(
    table: LatencyTable,
    models: Sequence[OnnxModel],
    *,
    batch: int = 1,
    time_limit_s: float = 30.0,
    seed: int = 0,
) -> dict[str, float]:
    """Measure ONNX models and compare with what the table predicts; see `compare`.

    Models that the machine is too noisy for are left out; ``n`` tells how many remain.

    Raises:
        TooNoisy: fewer than half of the models could be measured.
    """
    pairs = measured_pairs(table, models, batch=batch, time_limit_s=time_limit_s, seed=seed)
    return compare([pair for pair in pairs if pair is not None])


def measured_pairs(
    table: LatencyTable,
    models: Sequence[OnnxModel],
    *,
    batch: int = 1,
    time_limit_s: float = 30.0,
    feeds: Feeds | None = None,
    seed: int = 0,
) -> list[tuple[Cost, float] | None]:
    """Return prediction and measured milliseconds of each model, None where the machine was too noisy.

    Args:
        table: what predicts.
        models: what is predicted and measured.
        batch: rows of a call.
        time_limit_s: for measuring.
        feeds: rows for all models, as in `hw_cost.measure_latency`; random ones when None.
        seed: of the order of the measurements.

    Raises:
        TooNoisy: fewer than half of the models could be measured.
    """
    measured: list[Measurement | TooNoisy] = []
    for first in range(0, len(models), PER_PROCESS):
        part = models[first : first + PER_PROCESS]
        seconds = time_limit_s * len(part) / len(models)
        for figures in in_young_process(_measure, table.device, part, batch, feeds, seconds, seed):
            measured += figures
    noisy = [figure for figure in measured if isinstance(figure, TooNoisy)]
    if 2 * len(noisy) > len(models):
        raise noisy[0]
    return [
        (table.predict(model, batch), figure.median_ms) if isinstance(figure, Measurement) else None
        for model, figure in zip(models, measured, strict=True)
    ]


def _measure(
    device: Device, models: Sequence[OnnxModel], batch: int, feeds: Feeds | None, seconds: float, seed: int
) -> Iterator[list[Measurement | TooNoisy]]:
    """Measure models group by group; what runs in a new process."""
    runtime = device.open_runtime()
    with bench_for(runtime, seed=seed) as bench:
        for first in range(0, len(models), TOGETHER):
            group = models[first : first + TOGETHER]
            share = seconds * len(group) / len(models)
            yield measure_on(bench, group, batch=batch, runtime=runtime, time_limit_s=share, feeds=feeds)


def compare(pairs: Sequence[tuple[Cost, float]]) -> dict[str, float]:
    """Return the agreement of predictions with measured milliseconds.

    Returns:
        ``n``; ``mape`` and ``median_ape``, percent; ``within_5pct`` and ``within_10pct``, shares; ``spearman``;
        ``interval_coverage``, the share of measurements inside the 90 % interval.
    """
    if not pairs:
        raise ValueError("At least one network is needed for a validation, got none")
    predicted = np.array([cost.latency_ms for cost, _ in pairs])
    measured = np.array([latency for _, latency in pairs])
    errors = np.abs(predicted / measured - 1)
    inside = [cost.low_ms <= latency <= cost.high_ms for cost, latency in pairs]
    return {
        "n": len(pairs),
        "mape": 100 * float(errors.mean()),
        "median_ape": 100 * float(np.median(errors)),
        "within_5pct": float((errors <= 0.05).mean()),
        "within_10pct": float((errors <= 0.10).mean()),
        "spearman": spearman(predicted, measured),
        "interval_coverage": float(np.mean(inside)),
    }


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties averaged; 1.0 for fewer than two values or without any variation.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0
    return round(float(np.corrcoef(_ranks(a), _ranks(b))[0, 1]), 6)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, equal ones share their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts + 1) / 2)[group]
    return ranks
