"""What ``metaml latency validate`` measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw_cost import LatencyTable
from hw_cost.build import networks_for
from hw_cost.random_onnx import write_onnx
from hw_cost.validation import compare, measured_pairs

N_NETWORKS, VALIDATION_SEED = 168, 1_000_003
"""Networks of a validation, and the seed of the first: those of a build are others."""


def run_validation(
    table: LatencyTable, models: Sequence[Path], batches: Sequence[int], *, time_limit: float, seed: int
) -> dict[str, dict[str, float]]:
    """Measure models, or random networks of every kind that the table's runtime executes, with each batch.

    Returns:
        What `hw_cost.validation.compare` says of ``all``, and of ``batch 1`` and so on where there are several.
    """
    by_batch: dict[int, list[Any]] = {batch: list(models) for batch in batches or (1,)} if models else {}
    n, own = 0 if models else N_NETWORKS, table.device.batches
    for network in networks_for(table.runtime, n, seed=VALIDATION_SEED + seed, batches=own):
        for batch in batches or (network.batch,):
            by_batch.setdefault(batch, []).append(write_onnx(network.graph))
    pairs = {}
    for batch, files in sorted(by_batch.items()):
        seconds = time_limit / len(by_batch)
        measured = measured_pairs(table, files, batch=batch, time_limit_s=seconds, seed=seed)
        pairs[batch] = [pair for pair in measured if pair is not None]
    parts = {f"batch {batch}": compare(part) for batch, part in pairs.items()}
    return {**(parts if len(parts) > 1 else {}), "all": compare([pair for part in pairs.values() for pair in part])}
