"""The latency table for a device: its own, or the nearest known one adapted by a few quick measurements."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hw_cost.adaptation import Sample, adapt_tables
from hw_cost.bench import Protocol, TooNoisy
from hw_cost.build import measure_networks, networks_for
from hw_cost.calibration import MIN_NETWORKS
from hw_cost.devices import Device
from hw_cost.networks import ON_TABLES
from hw_cost.progress import Progress
from hw_cost.sessions import bench_for
from hw_cost.table import LatencyTable
from hw_cost.table_format import TableError

SHIPPED = Path(__file__).parent / "tables"
"""Tables that come with the package."""
ADAPTATION_SEED, N_ADAPTATION = 3_000, 12
"""The networks measured on a machine without a table; those of `hw_cost.build` are others."""
ADAPTATION_BLOCKS = 50
"""Blocks of each of them: about 8 s in all, to see more than one phase of a machine that is busy now and then."""
LEAST_SPREAD = 0.2
"""An adapted table is never trusted more than this (standard deviation of the logarithm): it is good enough to reject
what is far too slow, and delivered models are measured anyway."""
NEARNESS = (
    "runtime",
    "precision",
    "accelerator",
    "threads",
    "architecture",
    "os",
    "cpu",
    "cpu_signature",
    "runtime_version",
)
"""Fields of a device by which tables are ranked, the most telling first."""


def table_for(
    device: Device, *, cache_dir: str | Path | None = None, time_limit_s: float = 15.0, seed: int = 0
) -> tuple[LatencyTable, str]:
    """Return a latency table for this machine and a sentence on where it comes from.

    A table of the device itself, shipped or from the cache, is taken as it is. Otherwise the nearest shipped table is
    adapted by measuring a dozen small networks, and the result is kept in the cache.

    Args:
        device: this machine with its settings.
        cache_dir: folder with tables built or adapted before; nothing is kept when None.
        time_limit_s: wall time for the measurements.
        seed: of the order of measurements.

    Raises:
        ValueError: no table of the device's runtime is known.
    """
    cached = list(_tables_in(Path(cache_dir))) if cache_dir is not None else []
    complete = [table for table in (*cached, *_tables_in(SHIPPED)) if table.correction.networks]
    own = [table for table in complete if table.device.same_machine(device)]
    if own:
        best = max(own, key=_trust)
        return best, _origin(best, came_along=not cached or all(best is not table for table in cached))
    shipped = list(_tables_in(SHIPPED))
    nearest = nearest_table(device, shipped)
    try:
        adapted = adapt(shipped, device, time_limit_s=time_limit_s, seed=seed)
    except TooNoisy as error:
        guess = replace(nearest, correction=replace(nearest.correction, spread=math.log(2)), certificate=None)
        return guess, (
            f"latencies of another machine ({nearest.device.chip}), taken as they are within a factor of three: "
            f"this one could not be measured ({error})"
        )
    if cache_dir is not None:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        adapted.save(Path(cache_dir) / f"{device.slug}-adapted.json")
    return adapted, _origin(adapted)


def adapt(known: Sequence[LatencyTable], device: Device, *, time_limit_s: float = 15.0, seed: int = 0) -> LatencyTable:
    """Return a known table, adapted to this machine by networks measured on it; see `hw_cost.adaptation`.

    Known tables of the device's runtime and precision are used, or of its runtime alone if there are no such ones.

    Raises:
        ValueError: no table of the device's runtime is known.
        TooNoisy: the machine was too busy.
    """
    started = time.monotonic()
    runtime, progress = device.open_runtime(), Progress(device)
    with bench_for(runtime, Protocol(min_blocks=ADAPTATION_BLOCKS), seed=seed) as bench:
        networks = networks_for(runtime, N_ADAPTATION, seed=ADAPTATION_SEED, kinds=ON_TABLES)
        for _ in measure_networks(bench, networks, runtime, progress, time.monotonic() + time_limit_s):
            pass
        reference_us = 1e6 * bench.floor_s
    measured = [(network, progress.figures[network.name]) for network in networks if network.name in progress.figures]
    if len(measured) < MIN_NETWORKS:
        raise TooNoisy(f"too noisy: only {len(measured)} whole networks could be measured, {MIN_NETWORKS} are needed")
    nearest = nearest_table(device, known)
    alike = [
        table
        for table in known
        if (table.device.runtime, table.device.precision) == (nearest.device.runtime, nearest.device.precision)
    ]
    table, _ = adapt_tables(alike, [Sample(network.graph, figure.median_ms) for network, figure in measured])
    return replace(
        table,
        device=device,
        correction=replace(table.correction, spread=max(table.correction.spread, LEAST_SPREAD)),
        reference_us=reference_us,
        provenance={
            "kind": "adapted",
            "adapted_from": table.device.to_json(),
            "networks": len(measured),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 1),
        },
    )


def nearest_table(device: Device, tables: Sequence[LatencyTable]) -> LatencyTable:
    """Return the table of the device that agrees in the most telling fields.

    Raises:
        ValueError: none is of the same runtime.
    """
    fitting = [table for table in tables if table.device.runtime == device.runtime]
    if not fitting:
        raise ValueError(f"No latency table of the runtime {device.runtime!r} is known. Please build one.")
    return max(fitting, key=lambda table: [name not in device.differences(table.device) for name in NEARNESS])


def _tables_in(folder: Path) -> Iterator[LatencyTable]:
    """Yield the tables of a folder; a file that cannot be read is passed over."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield LatencyTable.load(path)
        except TableError:
            continue


def _trust(table: LatencyTable) -> tuple[bool, bool, str]:
    """Built on the machine before adapted, certified before not, then the newest."""
    adapted = table.provenance.get("kind") == "adapted"
    return (not adapted, table.certificate is not None, str(table.provenance.get("measured_at", "")))


def _origin(table: LatencyTable, *, came_along: bool = False) -> str:
    made = table.provenance
    spread = f"typical error {100 * math.expm1(table.correction.spread):.0f} %"
    if made.get("kind") == "adapted":
        source = made["adapted_from"]
        return (
            f"adapted from the table of {source.get('accelerator') or source['cpu']} by {made['networks']} networks "
            f"measured here in {made['seconds']:.0f} s; {spread}"
        )
    where = "a machine like this one" if came_along else "this machine"
    return f"built on {where} ({table.device.chip}) at {made.get('measured_at', 'an unknown time')}; {spread}"
