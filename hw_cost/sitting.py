"""A sitting of measurements, handed out in parts to young processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hw_cost.bench import Bench, Measurement, Protocol
from hw_cost.devices import Device
from hw_cost.progress import Progress
from hw_cost.runtimes import Runtime
from hw_cost.sessions import bench_for
from hw_cost.table_format import Row
from hw_cost.young import in_young_process

PER_PROCESS = 64
"""Networks or probes that one process measures: after hundreds, what it opens is slower than where users open it."""

Measure = Callable[[Bench, Sequence[Any], Runtime, Progress, float], Iterator[None]]
"""Measures things on a bench until a deadline; yields whenever the progress has new figures."""


@dataclass
class Sitting:
    """What all parts have in common, and what they found."""

    progress: Progress
    protocol: Protocol
    seed: int = 0
    """Of the order of measurements."""
    reference_cv: float = float("nan")
    """How noisy the machine was for the last part."""
    started: float = field(default_factory=time.monotonic)

    def measure(self, measure: Measure, things: Sequence[Any], deadline: float) -> Iterator[None]:
        """Measure things in a new process; yields whenever the progress has new figures."""
        progress, seconds = self.progress, deadline - time.monotonic()
        part = (progress.device, self.protocol, self.seed, progress.reference_us, measure, things, seconds)
        before = dict(progress.rows)
        for told in in_young_process(_part, *part):
            progress.rows.clear()  # a row may be gone again: when the floor falls, fewer blocks were quiet
            progress.rows.update({**before, **told.rows})
            progress.figures |= told.figures
            progress.reference_us, self.reference_cv = told.reference_us, told.reference_cv
            progress.save(time.monotonic() - self.started)
            yield


@dataclass(frozen=True)
class _Told:
    """What a process has measured so far."""

    rows: Mapping[str, Row]
    figures: Mapping[str, Measurement]
    reference_us: float
    reference_cv: float


def _part(
    device: Device,
    protocol: Protocol,
    seed: int,
    reference_us: float | None,
    measure: Measure,
    things: Sequence[Any],
    seconds: float,
) -> Iterator[_Told]:
    """Measure a part; what runs in the new process."""
    runtime, progress = device.open_runtime(), Progress(device)
    floor_s = None if reference_us is None else 1e-6 * reference_us
    with bench_for(runtime, protocol, seed=seed, floor_s=floor_s) as bench:
        for _ in measure(bench, things, runtime, progress, time.monotonic() + seconds):
            yield _Told(progress.rows, progress.figures, 1e6 * bench.floor_s, bench.reference_cv)
