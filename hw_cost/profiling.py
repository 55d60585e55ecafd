"""Measuring kernels by their probes, with more probes of the sorts that are foretold worst."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from hw_cost.bench import Bench, Call, Measurement, TooNoisy
from hw_cost.probes import Probe, Stream, baseline_of
from hw_cost.progress import Progress
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import Runtime
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.sessions import caller
from hw_cost.sitting import PER_PROCESS, Sitting
from hw_cost.table_format import Row

GROUP = 16
"""Probes that are open at a time and measured interleaved."""
GROUP_S = 2.0
"""Time for a group; its probes stop before when their figures are narrow."""
PASSES = 3
"""Times that a kernel is tried when noise kept it from being measured."""
LOST_SHARE = 0.3
"""Refuse a table when more than this share of its kernels could not be measured."""
WORST, NEXT = 6, 6
"""In each adaptive round, the next probes of the streams that are foretold worst."""
GOOD_ENOUGH = 0.03
"""Spread of an operator's fit below which more kernels of it say nothing new."""


class Profiler:
    """Measures probes on one bench and keeps their rows."""

    def __init__(self, bench: Bench, runtime: Runtime, progress: Progress) -> None:
        self._bench, self._runtime, self._progress = bench, runtime, progress
        self._baselines: dict[str, Call] = {}
        self._tried: dict[str, Probe] = {}
        self._started = time.monotonic()

    def measure(self, probes: Sequence[Probe], deadline: float) -> Iterator[None]:
        """Measure probes group by group until the deadline; yields after each."""
        for first in range(0, len(probes), GROUP):
            if first and time.monotonic() > deadline:
                break
            self._measure_group(probes[first : first + GROUP], deadline)
            yield
        self._recount()

    def refine(self, streams: Sequence[Stream], deadline: float) -> None:
        """Measure the next probes of the streams whose kernels are foretold worst, round by round."""
        drawn = {stream.name: stream.draw() for stream in streams}
        shown: dict[str, set[str]] = {}
        for stream in streams:
            shown[stream.name] = {probed.kernel.op for probed in islice(drawn[stream.name], stream.first)}
        rounds, n_before = 0, len(self._progress.rows)
        while time.monotonic() < deadline:
            table = self._progress.table()
            worst = sorted(streams, key=lambda stream: -max(map(table.spread_of, shown[stream.name]), default=0.0))
            worst = [s for s in worst if max(map(table.spread_of, shown[s.name]), default=0.0) > GOOD_ENOUGH]
            chosen = worst[rounds % 2 : 2 * WORST : 2]  # every second one in turn: a hopeless one must not take all
            probes = [probed for stream in chosen for probed in islice(drawn[stream.name], NEXT)]
            if not probes:
                break
            self._measure_group(probes, deadline)
            rounds += 1
            self._progress.report("refining", len(self._progress.rows) - n_before, len(self._progress.rows) - n_before)
        self._recount()

    def _measure_group(self, probes: Sequence[Probe], deadline: float) -> None:
        """Open probes and measure them beside the calls that they are compared with."""
        calls: dict[str, Call] = {}
        for probed in (probed for probed in probes if str(probed.kernel) not in self._progress.rows):
            self._tried[str(probed.kernel)] = probed
            if probed.copies:
                calls[str(probed.kernel)] = _call(probed, self._runtime)
            key = _baseline_key(probed)
            if key not in self._baselines:
                self._baselines[key] = _call(baseline_of(probed), self._runtime)
            calls[key] = self._baselines[key]
        if not calls:
            return
        self._bench.run(calls, min(GROUP_S, max(0.5, deadline - time.monotonic())))
        self._progress.rows |= _rows(self._bench, probes)
        self._progress.reference_us = 1e6 * self._bench.floor_s
        self._progress.save(time.monotonic() - self._started)

    def _recount(self) -> None:
        """Read all rows of this sitting again: the reference's floor may have fallen since."""
        fresh = _rows(self._bench, self._tried.values())
        for name in self._tried:
            self._progress.rows.pop(name, None)
        self._progress.rows |= fresh


def profile(probes: Iterable[Probe], sitting: Sitting, deadline: float) -> None:
    """Measure the probes that have no row yet, and again what was lost to noise, until the deadline.

    Raises:
        TooNoisy: too many could not be measured.
    """
    planned = {str(probed.kernel): probed for probed in probes}
    rows = sitting.progress.rows
    waiting = [name for name in planned if name not in rows]
    for _ in range(PASSES):
        for first in range(0, len(waiting), PER_PROCESS):
            if time.monotonic() > deadline:
                break
            part = [planned[name] for name in waiting[first : first + PER_PROCESS]]
            for _ in sitting.measure(measure_probes, part, deadline):
                sitting.progress.report("kernels", sum(name in rows for name in planned), len(planned))
        waiting = [name for name in planned if name not in rows]
    if len(waiting) > LOST_SHARE * len(planned):
        raise TooNoisy(
            f"too noisy, CV = {sitting.reference_cv:.2f} of the reference: {len(waiting)} of {len(planned)} "
            "kernels could not be measured in the time given. Please try on a less busy machine or for longer."
        )


def measure_probes(
    bench: Bench, probes: Sequence[Probe], runtime: Runtime, progress: Progress, deadline: float
) -> Iterator[None]:
    """Measure probes on a bench; yields whenever the progress has new rows."""
    yield from Profiler(bench, runtime, progress).measure(probes, deadline)
    yield


def first_probes(streams: Iterable[Stream], *, quick: bool = False, seed: int = 0) -> list[Probe]:
    """Return the probes that every build measures, in random order: a busy phase must not take all of one operator."""
    probes = [
        probed
        for stream in streams
        for probed in islice(stream.draw(), max(3, stream.first // 4) if quick else stream.first)
    ]
    return [probes[position] for position in np.random.default_rng(seed).permutation(len(probes))]


def _call(probed: Probe, runtime: Runtime) -> Call:
    model = runtime.open(write_onnx(probed.graph, outputs=[probed.output]), batch=probed.rows, optimise=False)
    strings = [f"category {k}" for k in range(min(64, max(4, probed.high)))]
    return caller(model, random_feeds(model.inputs, probed.n_rows, strings=strings, high=probed.high), probed.rows)


def _baseline_key(probed: Probe) -> str:
    return f"call {probed.baseline}"


def _rows(bench: Bench, probes: Iterable[Probe]) -> dict[str, Row]:
    """Return the kernels that have quiet blocks enough, with the call's own time taken off."""
    rows = {}
    for probed in probes:
        try:
            call = bench.measurement(_baseline_key(probed))
            whole = bench.measurement(str(probed.kernel)) if probed.copies else call
        except (TooNoisy, KeyError):
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
