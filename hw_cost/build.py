"""Build a latency table on the machine itself: probe kernels, correct on whole networks, certify on others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hw_cost.apportion import apportion
from hw_cost.bench import Bench, Call, Measurement, Protocol, TooNoisy
from hw_cost.calibration import fit_correction
from hw_cost.devices import Device
from hw_cost.networks import KINDS, Network, random_networks
from hw_cost.probes import Stream, probe_streams
from hw_cost.profiling import GROUP, LOST_SHARE, Profiler, first_probes, profile
from hw_cost.progress import Progress, Report
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import Runtime
from hw_cost.runtimes.feeds import enough_rows, random_feeds
from hw_cost.sessions import bench_for, caller
from hw_cost.sitting import PER_PROCESS, Sitting
from hw_cost.table import LatencyTable
from hw_cost.table_format import Row
from hw_cost.validation import compare

PROTOCOL = Protocol(block_s=0.002, min_blocks=8, accepted_blocks=4, tolerance=0.03, max_drift=0.15)
FULL_S, QUICK_S = 590.0, 90.0
"""Wall time of a build unless another one is asked for."""
KERNEL_SHARE, REFINE_SHARE = 0.55, 0.05
"""Shares of the time for the first kernels, and for more of those that are foretold worst."""
CONTEXTS_LAST = 4
"""Times as many networks share a process on a GPU, whose context takes seconds to make."""
FEWER_NETWORKS = 448
"""Of a build in int8, which must quantise each and run it once before it knows its kernels."""
CORRECTION_SEED, CERTIFICATE_SEED = 1_000, 2_000
"""Seeds of the networks for the correction and the certificate: never the same network."""


@dataclass(frozen=True)
class Plan:
    """How much a build measures."""

    streams: list[Stream]
    n_networks: int
    """Networks that tell how kernels add up; where the runtime cannot run single kernels, also what these take."""
    n_certificate: int
    quick: bool = False

    @classmethod
    def make(cls, runtime: Runtime, *, quick: bool = False, length: float = 1.0) -> Plan:
        """Return the plan of a full or of a quick build.

        Args:
            runtime: what executes kernels and networks.
            quick: whether it is a quick one.
            length: above 1, so many times as many kernels are measured.
        """
        if runtime.isolates:
            drawn = probe_streams(runtime.precision)
            streams = [replace(stream, first=round(max(1.0, length) * stream.first)) for stream in drawn]
            n = 896 if runtime.precision == "fp32" else FEWER_NETWORKS
            return cls(streams, *((42, 28) if quick else (n, 168)), quick=quick)
        return cls([], *((154, 28) if quick else (896, 168)), quick=quick)


def build_table(
    device: Device | None = None,
    *,
    quick: bool = False,
    time_limit_s: float | None = None,
    progress: Report | None = None,
    resume: str | Path | None = None,
    seed: int = 0,
) -> LatencyTable:
    """Measure a latency table on this machine.

    Args:
        device: this machine with its settings; one thread when None.
        quick: measure a quarter of the kernels.
        time_limit_s: wall time; `FULL_S`, or `QUICK_S` for a quick build. Kernels take about half of it at most. In
            more time more kernels are measured, which foretells convolutions in int8 above all better.
        progress: called with a stage, what is done and what there is.
        resume: file that keeps what was measured so far; a build that was stopped goes on from it.
        seed: of the order of measurements.

    Raises:
        ValueError: the device is not this machine.
        TooNoisy: the machine was too busy for a table that can be trusted.
    """
    device = device or Device.here()
    if differences := device.differences(device.now()):
        raise ValueError(f"A table is built on the device itself; this machine differs in {', '.join(differences)}")
    runtime = device.open_runtime()
    if not runtime.tells_sizes:
        raise ValueError(f"There is no table for {device.runtime}: it does not tell the sizes of its kernels")
    limit = time_limit_s or (QUICK_S if quick else FULL_S)
    started, plan = time.monotonic(), Plan.make(runtime, quick=quick, length=1.0 if quick else limit / FULL_S)
    kept = Progress.resume(device, resume, progress)
    sitting = Sitting(kept, PROTOCOL, seed)
    if runtime.isolates:
        _measure_kernels(sitting, plan, runtime, limit)
    networks = networks_for(runtime, plan.n_networks, seed=CORRECTION_SEED, batches=device.batches)
    certificate = networks_for(runtime, plan.n_certificate, seed=CERTIFICATE_SEED, batches=device.batches)
    asked = [(network, network.batch) for network in (*networks, *certificate)]
    for network, batch in (*asked, *((network, 1) for network in certificate)):  # a prediction asks for one row too
        runtime.kernels(network.graph, batch)  # one that must execute them takes its time: before the rest
    budget = max(5.0, started + limit - time.monotonic())
    share = len(networks) / len(asked)
    measured = _measure_apart(sitting, networks, runtime, share * budget, "networks")
    if not runtime.isolates:
        _require_most(measured, networks, sitting.reference_cv)
    fresh = _measure_apart(sitting, certificate, runtime, (1 - share) * budget, "validation")
    table = kept.table() if runtime.isolates else replace(kept.table(), rows=_apportioned(runtime, measured))
    table = replace(table, correction=fit_correction(table, measured))
    foretold = [
        (network.kind, table.predict(network.graph, network.batch), figure.median_ms) for network, figure in fresh
    ]
    verdict = compare([(cost, latency) for _, cost, latency in foretold])
    by_kind = {kind: compare([(cost, latency) for k, cost, latency in foretold if k == kind]) for kind, *_ in foretold}
    return replace(
        table,
        reference_us=kept.reference_us or 0.0,
        certificate=verdict,
        provenance={
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(kept.seconds + time.monotonic() - started, 1),
            "kind": "quick build" if quick else "full build",
            "batches": list(device.batches),
            "within_10pct": {kind: round(told["within_10pct"], 3) for kind, told in by_kind.items()},
            "load_at_end": device.now().load,
        },
    )


def networks_for(
    runtime: Runtime, n: int, *, seed: int, kinds: Sequence[str] = tuple(KINDS), batches: Sequence[int] = (1,)
) -> list[Network]:
    """Return `n` random networks that the runtime can execute, of the kinds and batches in turn."""
    found: list[Network] = []
    for draws in (n, 2 * n, 4 * n, 8 * n):
        drawn = random_networks(draws, seed=seed, kinds=kinds, batches=batches)
        found = [network for network in drawn if not runtime.unsupported(network.graph)]
        if len(found) >= n:
            break
    return found[:n]


def measure_networks(
    bench: Bench, networks: Sequence[Network], runtime: Runtime, progress: Progress, deadline: float
) -> Iterator[None]:
    """Measure networks end to end; those that the machine is too noisy for are left out.

    Yields whenever the progress has new figures.
    """
    for first in range(0, len(networks), GROUP):
        group = networks[first : first + GROUP]
        calls = {network.name: _network_call(network, runtime) for network in group}
        bench.run(calls, (deadline - time.monotonic()) * len(group) / (len(networks) - first))
        for network in group:
            try:
                progress.figures[network.name] = bench.measurement(network.name)
            except TooNoisy:
                continue
        yield


def _measure_apart(
    sitting: Sitting, networks: Sequence[Network], runtime: Runtime, time_limit_s: float, stage: str
) -> list[tuple[Network, Measurement]]:
    """Measure networks in processes of their own, but for those that the progress holds already."""
    figures, deadline = sitting.progress.figures, time.monotonic() + time_limit_s
    waiting = [network for network in networks if network.name not in figures]
    at_a_time = PER_PROCESS * (CONTEXTS_LAST if runtime.accelerator() else 1)
    for first in range(0, len(waiting), at_a_time):
        part = waiting[first : first + at_a_time]
        seconds = (deadline - time.monotonic()) * len(part) / (len(waiting) - first)
        for _ in sitting.measure(measure_networks, part, time.monotonic() + seconds):
            sitting.progress.report(stage, sum(network.name in figures for network in networks), len(networks))
    return [(network, figures[network.name]) for network in networks if network.name in figures]


def _network_call(network: Network, runtime: Runtime) -> Call:
    model = runtime.open(write_onnx(network.graph), batch=network.batch)
    strings = [f"category {k}" for k in range(8)]
    n_rows = enough_rows(model.inputs, network.batch)
    return caller(model, random_feeds(model.inputs, n_rows, strings=strings), network.batch)


def _measure_kernels(sitting: Sitting, plan: Plan, runtime: Runtime, limit: float) -> None:
    profile(first_probes(plan.streams, quick=plan.quick), sitting, sitting.started + KERNEL_SHARE * limit)
    if plan.quick:
        return
    known_us = sitting.progress.reference_us
    floor_s = None if known_us is None else 1e-6 * known_us
    with bench_for(runtime, sitting.protocol, seed=sitting.seed, floor_s=floor_s) as bench:
        Profiler(bench, runtime, sitting.progress).refine(plan.streams, time.monotonic() + REFINE_SHARE * limit)


def _apportioned(runtime: Runtime, measured: Sequence[tuple[Network, Measurement]]) -> tuple[Row, ...]:
    """Share the time of networks out, for a runtime that cannot run one kernel alone."""
    return apportion([(runtime.kernels(network.graph, network.batch), figure) for network, figure in measured])


def _require_most(measured: Sequence[object], networks: Sequence[object], cv: float) -> None:
    if len(measured) < (1 - LOST_SHARE) * len(networks):
        raise TooNoisy(
            f"too noisy, CV = {cv:.2f} of the reference: {len(networks) - len(measured)} of "
            f"{len(networks)} networks could not be measured in the time given. "
            "Please try on a less busy machine or for longer."
        )
