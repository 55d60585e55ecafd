"""Build a latency table on the machine itself: probe kernels, correct on whole networks, certify on others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hw_cost.apportion import apportion
from hw_cost.bench import Bench, Call, Measurement, Protocol, TooNoisy
from hw_cost.correction import fit_correction
from hw_cost.devices import Device
from hw_cost.networks import Network, random_networks
from hw_cost.probes import Probe, all_probes, baseline_of
from hw_cost.quantised_probes import quantised
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import Runtime
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.sessions import N_BATCHES, caller, pinned, reference_call
from hw_cost.table import LatencyTable
from hw_cost.table_format import Row
from hw_cost.validation import compare

Progress = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and how much there is."""

PROTOCOL = Protocol(block_s=0.002, min_blocks=8, accepted_blocks=4, tolerance=0.03, max_drift=0.15)
GROUP = 16
"""Probes that are open at a time and measured interleaved."""
PASSES = 3
"""Times that a kernel is tried when noise kept it from being measured."""
LOST_SHARE = 0.3
"""Refuse a table when more than this share of its kernels could not be measured."""
CORRECTION_SEED, CERTIFICATE_SEED, KERNEL_SEED = 1_000, 2_000, 5_000
"""Seeds of the networks for the correction, the certificate and the kernels: never the same network."""


@dataclass(frozen=True)
class Plan:
    """How much a build measures."""

    probes: list[Probe]
    n_correction: int
    n_certificate: int
    n_apportioned: int = 0
    """Networks measured in the place of single kernels, where the runtime cannot run these."""

    @classmethod
    def make(cls, runtime: Runtime, *, quick: bool = False) -> Plan:
        """Return the plan of a full or of a quick build."""
        probes = all_probes(quick=quick)
        probes = quantised(probes) if runtime.precision == "int8" else probes
        probes = [probed for probed in probes if not runtime.unsupported(probed.graph)]
        if runtime.isolates:
            return cls(probes, 9, 15) if quick else cls(probes, 18, 60)
        return cls([], 24, 15, 90) if quick else cls([], 48, 60, 240)


def build_table(
    device: Device | None = None,
    *,
    quick: bool = False,
    time_limit_s: float | None = None,
    progress: Progress | None = None,
    resume: str | Path | None = None,
    seed: int = 0,
) -> LatencyTable:
    """Measure a latency table on this machine.

    Args:
        device: this machine with its settings; one thread when None.
        quick: measure a third of the kernels.
        time_limit_s: wall time; 240 s, or 40 s for a quick build. Kernels take half of it at most.
        progress: called with a stage, what is done and what there is.
        resume: file that keeps the kernels measured so far; a build that was stopped goes on from it.
        seed: of the order of measurements.

    Raises:
        ValueError: the device is not this machine.
        TooNoisy: the machine was too busy for a table that can be trusted.
    """
    device = device or Device.here()
    if differences := device.differences(device.now()):
        raise ValueError(f"A table is built on the device itself; this machine differs in {', '.join(differences)}")
    if not device.open_runtime().tells_sizes:
        raise ValueError(f"There is no table for {device.runtime}: it does not tell the sizes of its kernels")
    limit = time_limit_s or (40.0 if quick else 240.0)
    started, plan = time.monotonic(), Plan.make(device.open_runtime(), quick=quick)
    report = progress or _silent
    kept = _resumable(resume, device)
    with pinned(device.threads):
        bench = Bench(reference_call(), PROTOCOL, seed=seed, floor_s=1e-6 * kept.reference_us if kept else None)
        if device.open_runtime().isolates:
            rows = _measure_kernels(bench, plan, device, started + 0.6 * limit, report, resume, kept)
        else:
            rows = _apportioned(bench, plan, device.open_runtime(), 0.6 * limit, report)
        table = LatencyTable(device, rows, reference_us=1e6 * bench.floor_s)
        budget = max(5.0, started + limit - time.monotonic())
        correction = networks_for(table.runtime, plan.n_correction, seed=CORRECTION_SEED)
        measured = measure_networks(bench, correction, table.runtime, 0.35 * budget, report, "networks")
        table = replace(table, correction=fit_correction(table, measured))
        certificate = networks_for(table.runtime, plan.n_certificate, seed=CERTIFICATE_SEED)
        fresh = measure_networks(bench, certificate, table.runtime, 0.65 * budget, report, "validation")
    verdict = compare([(table.predict(network.graph), figure.median_ms) for network, figure in fresh])
    return replace(
        table,
        reference_us=1e6 * bench.floor_s,
        certificate=verdict,
        provenance={
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 1),
            "kind": "quick build" if quick else "full build",
            "kernels_planned": len(plan.probes) or len(rows),
            "load_at_end": device.now().load,
        },
    )


def networks_for(runtime: Runtime, n: int, *, seed: int) -> list[Network]:
    """Return `n` random networks that the runtime can execute."""
    found: list[Network] = []
    for draws in (n, 2 * n, 4 * n, 8 * n):
        found = [network for network in random_networks(draws, seed=seed) if not runtime.unsupported(network.graph)]
        if len(found) >= n:
            break
    return found[:n]


def _apportioned(bench: Bench, plan: Plan, runtime: Runtime, time_limit_s: float, report: Progress) -> tuple[Row, ...]:
    """Measure networks and share their time out, for a runtime that cannot run one kernel alone."""
    networks = networks_for(runtime, plan.n_apportioned, seed=KERNEL_SEED)
    measured = measure_networks(bench, networks, runtime, time_limit_s, report, "kernels")
    if len(measured) < (1 - LOST_SHARE) * len(networks):
        raise TooNoisy(
            f"too noisy: {len(networks) - len(measured)} of {len(networks)} networks could not be measured in the time "
            "given. Please try on a less busy machine or for longer."
        )
    return apportion([(runtime.kernels(network.graph), figure) for network, figure in measured])


def measure_networks(
    bench: Bench, networks: Sequence[Network], runtime: Runtime, time_limit_s: float, report: Progress, stage: str
) -> list[tuple[Network, Measurement]]:
    """Measure networks end to end; those that the machine is too noisy for are left out."""
    deadline = time.monotonic() + time_limit_s
    measured: list[tuple[Network, Measurement]] = []
    for first in range(0, len(networks), GROUP):
        group = networks[first : first + GROUP]
        calls = {network.name: _network_call(network, runtime) for network in group}
        left = (deadline - time.monotonic()) * len(group) / (len(networks) - first)
        bench.run(calls, left)
        for network in group:
            try:
                measured.append((network, bench.measurement(network.name)))
            except TooNoisy:
                continue
        report(stage, min(first + GROUP, len(networks)), len(networks))
    return measured


def _network_call(network: Network, runtime: Runtime) -> Call:
    model = runtime.open(write_onnx(network.graph))
    rows = random_feeds(model.inputs, N_BATCHES, strings=[f"category {k}" for k in range(8)])
    return caller(model, rows, 1)


def _measure_kernels(
    bench: Bench,
    plan: Plan,
    device: Device,
    deadline: float,
    report: Progress,
    resume: str | Path | None,
    kept: LatencyTable | None,
) -> tuple[Row, ...]:
    """Measure group by group, and what was lost to noise again while there is time."""
    known = {str(row.kernel): row for row in kept.rows} if kept else {}
    probes = {str(probed.kernel): probed for probed in plan.probes}
    baselines: dict[str, Call] = {}
    waiting = [name for name in probes if name not in known]
    rows, runtime = dict(known), device.open_runtime()
    for _ in range(PASSES):
        for group in _groups(waiting):
            _measure_group(bench, [probes[name] for name in group], runtime, baselines, deadline)
            rows |= _rows(bench, [probes[name] for name in group])
            report("kernels", len(rows), len(probes))
            if resume is not None and rows:
                LatencyTable(device, tuple(rows.values()), reference_us=1e6 * bench.floor_s).save(resume)
            if time.monotonic() > deadline:
                break
        rows = known | _rows(bench, probes.values())  # the floor may have fallen since
        waiting = [name for name in probes if name not in rows] if time.monotonic() < deadline else []
    if len(rows) < (1 - LOST_SHARE) * len(probes):
        raise TooNoisy(
            f"too noisy: {len(probes) - len(rows)} of {len(probes)} kernels could not be measured in the time given. "
            "Please try on a less busy machine or for longer."
        )
    return tuple(rows.values())


def _groups(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), GROUP):
        yield names[first : first + GROUP]


def _measure_group(
    bench: Bench, probes: Sequence[Probe], runtime: Runtime, baselines: dict[str, Call], deadline: float
) -> None:
    """Open the probes of a group and measure them beside the calls that they are compared with."""
    calls: dict[str, Call] = {}
    for probed in probes:
        if probed.copies:
            calls[str(probed.kernel)] = _probe_call(probed, runtime)
        key = _baseline_key(probed)
        if key not in baselines:
            baselines[key] = _probe_call(baseline_of(probed), runtime)
        calls[key] = baselines[key]
    bench.run(calls, min(5.0, max(0.5, deadline - time.monotonic())))


def _probe_call(probed: Probe, runtime: Runtime) -> Call:
    onnx = write_onnx(probed.graph, outputs=[probed.output])
    model = runtime.open(onnx, batch=probed.rows, optimise=False)
    strings = [f"category {k}" for k in range(min(64, max(4, probed.high)))]
    rows = random_feeds(model.inputs, min(N_BATCHES * probed.rows, 4096), strings=strings, high=probed.high)
    return caller(model, rows, probed.rows)


def _baseline_key(probed: Probe) -> str:
    return f"call {probed.baseline}"


def _rows(bench: Bench, probes: Iterable[Probe]) -> dict[str, Row]:
    """Return the kernels that have quiet blocks enough, with the call's own time taken off."""
    rows = {}
    for probed in probes:
        try:
            call = bench.measurement(_baseline_key(probed))
            whole = bench.measurement(str(probed.kernel)) if probed.copies else call
        except TooNoisy:
            continue
        row = kernel_row(probed, whole, call)
        if row.latency_us > 0 and row.low_us > 0:
            rows[str(probed.kernel)] = row
    return rows


def kernel_row(probed: Probe, whole: Measurement, call: Measurement) -> Row:
    """Return the row of a kernel: the probe's time less that of its call, shared among the copies."""
    if not probed.copies:
        return Row(probed.kernel, 1e3 * whole.median_ms, 1e3 * whole.low_ms, 1e3 * whole.high_ms, whole.n)
    ends = (whole.median_ms - call.median_ms, whole.low_ms - call.high_ms, whole.high_ms - call.low_ms)
    latency, low, high = (1e3 * value / probed.copies for value in ends)
    return Row(probed.kernel, latency, low, high, whole.n)


def _resumable(resume: str | Path | None, device: Device) -> LatencyTable | None:
    """Return the table that an earlier build of this device left, if it did."""
    if resume is None or not Path(resume).exists():
        return None
    table = LatencyTable.load(resume)
    if not table.device.same_machine(device):
        names = ", ".join(table.device.differences(device))
        raise ValueError(
            f"{resume} was measured on another device (it differs in {names}). Please choose another file."
        )
    return table


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
    del stage, done, total
