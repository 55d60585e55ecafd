"""What ``metaml latency validate`` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw_cost import Cost, LatencyTable
from hw_cost.build import networks_for
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import Feeds
from hw_cost.validation import compare, measured_pairs

N_NETWORKS, VALIDATION_SEED = 168, 1_000_003
"""Networks of a validation, and the seed of the first: those of a build are others."""


@dataclass(frozen=True)
class Validated:
    """How far the predictions of a table are off."""

    verdicts: dict[str, dict[str, float]]
    """What `hw_cost.validation.compare` says of ``all``, and of ``batch 1`` and so on where there are several."""
    models: list[dict[str, Any]]
    """Of each model that was given and could be measured: its file, the rows of a call, and both latencies in ms."""


def run_validation(
    table: LatencyTable,
    models: Sequence[Path],
    batches: Sequence[int],
    *,
    feeds: Feeds | None = None,
    time_limit: float,
    seed: int,
) -> Validated:
    """Measure models, or random networks of every kind that the table's runtime executes, with each batch.

    Args:
        table: what predicts.
        models: ONNX files; none for random networks.
        batches: rows of a call; none for those of the table.
        feeds: rows for all models; random ones when None.
        time_limit: seconds for measuring.
        seed: of the random networks and of the order of the measurements.
    """
    by_batch: dict[int, list[Any]] = {batch: list(models) for batch in batches or (1,)} if models else {}
    n, own = 0 if models else N_NETWORKS, table.device.batches
    for network in networks_for(table.runtime, n, seed=VALIDATION_SEED + seed, batches=own):
        for batch in batches or (network.batch,):
            by_batch.setdefault(batch, []).append(write_onnx(network.graph))
    pairs, told = {}, []
    for batch, files in sorted(by_batch.items()):
        seconds = time_limit / len(by_batch)
        measured = measured_pairs(table, files, batch=batch, time_limit_s=seconds, feeds=feeds, seed=seed)
        pairs[batch] = [pair for pair in measured if pair is not None]
        told += [_told(file, batch, *pair) for file, pair in zip(files, measured, strict=True) if models and pair]
    parts = {f"batch {batch}": compare(part) for batch, part in pairs.items()}
    everything = compare([pair for part in pairs.values() for pair in part])
    return Validated({**(parts if len(parts) > 1 else {}), "all": everything}, told)


def rows_for(models: Sequence[Path], data: str) -> Feeds:
    """Return the rows of a file as the models take them, the first of which was written by a search.

    Raises:
        DataError: it was not, or the file cannot be read.
    """
    from metaml.predictor import Predictor

    predictor = Predictor(models[0])
    return predictor.inputs.feeds(predictor.read(data))


def _told(file: Path, batch: int, cost: Cost, measured_ms: float) -> dict[str, Any]:
    interval = [cost.low_ms, cost.high_ms]
    foretold = {"predicted_ms": cost.latency_ms, "interval_ms": interval}
    return {"model": str(file), "batch": batch, "measured_ms": measured_ms, **foretold}
