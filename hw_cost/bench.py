"""The measurement protocol: interleaved blocks in random order, each between two readings of a reference.

Other load on a machine only ever adds time, and it comes and goes in phases that are longer than a block. A reference
of fixed cost, read before and after every block, tells the phases apart. A block counts only when both readings lie
near the fastest ones seen, or among the fastest quarter, and when the system did not take the processor away from it
(involuntary context switches): the choice looks at the reference and the system alone, never at the figure itself, so
it does not favour lucky blocks. The figure is the median over quiet blocks of the median call of a block.
When quiet blocks are too few or disagree, there is no figure but an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # of systems that are no Unix
    resource = None  # type: ignore[assignment]

Call = Callable[[], object]


def involuntary_switches() -> int:
    """Times that the system took the processor away from this process; 0 where it does not tell."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def switches_of_thread() -> int:
    """Times that the system took the processor away from this thread; 0 where it does not tell."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if hasattr(resource, "RUSAGE_THREAD") else 0


class TooNoisy(RuntimeError):  # noqa: N818 (the name says what the machine was)
    """The machine was too busy for a figure that can be trusted."""


@dataclass(frozen=True)
class Protocol:
    """When a block counts, when to stop and when to refuse."""

    block_s: float = 0.003
    """Length of a block of consecutive calls, seconds; at least three calls."""
    min_blocks: int = 12
    """Quiet blocks wanted before stopping early."""
    accepted_blocks: int = 5
    """Quiet blocks without which there is no figure."""
    tolerance: float = 0.02
    """Stop when half the confidence interval is below this share of the median."""
    drift: float = 0.1
    """A reading of the reference up to this share above its floor is quiet."""
    max_drift: float = 0.3
    """When less than a quarter of the readings is, the lowest quarter is, but never one this share above the floor."""
    max_cv: float = 0.2
    """Refuse a figure whose quiet blocks vary more than this."""
    switch_s: float = 0.05
    """Seconds in which a quiet system may take the processor away once, for its own work."""
    patience: int = 10
    """Readings to wait for a quiet phase before a block is skipped."""


@dataclass(frozen=True)
class Measurement:
    """The wall time of one call, in milliseconds."""

    median_ms: float
    p10_ms: float
    """Median over quiet blocks of the 10th percentile of the calls of a block."""
    low_ms: float
    """Lower end of the 95 % bootstrap interval of the median."""
    high_ms: float
    cv: float
    """Robust coefficient of variation of the quiet blocks: interquartile range / 1.349 / median."""
    n: int
    """Quiet blocks."""
    calls: int
    """Calls in them."""
    dropped: int
    """Blocks that did not count or were skipped because the reference was too slow."""
    reference_us: float
    """Floor of the reference, microseconds: it tells whether two measurements saw the machine in the same state."""
    is_bound: bool = False
    """True when the machine was too busy: the figures are over all blocks, and the true ones are lower."""


@dataclass(frozen=True)
class _Block:
    median: float
    p10: float
    calls: int
    before: int
    """Position of the reading before it; the next one came after it."""
    undisturbed: bool = True
    """False when the processor was taken away more often than the protocol allows."""


class Bench:
    """Measures calls beside each other under one reference.

    Keep one bench for measurements that are to be compared: they then share the reference's floor.
    """

    def __init__(
        self,
        reference: Call,
        protocol: Protocol | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        switches: Callable[[], int] = involuntary_switches,
        seed: int = 0,
        floor_s: float | None = None,
    ) -> None:
        """Prepare a bench.

        Args:
            reference: call of fixed cost, some 10 microseconds.
            protocol: rules.
            clock: monotonic time in seconds.
            switches: how often the system took the processor away so far.
            seed: of the random order and of the bootstrap.
            floor_s: floor of the same reference known from earlier, seconds.
        """
        self.protocol = protocol or Protocol()
        self._reference, self._clock, self._switches = reference, clock, switches
        self._random = np.random.default_rng(seed)
        self._readings: list[float] = []
        self._known_floor = floor_s
        self._blocks: dict[Hashable, list[_Block]] = {}
        self._skipped: dict[Hashable, int] = {}
        self._calls_a_block: dict[Hashable, int] = {}
        for _ in range(20):
            self._read()

    @property
    def floor_s(self) -> float:
        """The reference in quiet phases, seconds: the 2nd percentile of its readings, or the floor known before.

        A reading is a median of calls and load only adds to it, so that there are no lucky ones.
        """
        seen = float(np.percentile(self._readings, 2))
        return seen if self._known_floor is None else min(seen, self._known_floor)

    @property
    def reference_cv(self) -> float:
        """Robust coefficient of variation of the reference: how noisy the machine is."""
        return _robust_cv(np.array(self._readings))

    @property
    def limit_s(self) -> float:
        """The slowest reading of the reference that counts as quiet, seconds."""
        quarter, floor = float(np.percentile(self._readings, 25)), self.floor_s
        return min(max(quarter, floor * (1 + self.protocol.drift)), floor * (1 + self.protocol.max_drift))

    def run(
        self,
        calls: Mapping[Any, Call],
        time_limit_s: float,
        *,
        done: Callable[[Any], bool] | None = None,
    ) -> None:
        """Measure until every call's interval is narrow enough or time is up; at least one round is made.

        Args:
            calls: key -> call. Blocks of a key that was measured before add up.
            time_limit_s: wall time for all of them together.
            done: tells whether a key needs no more blocks; the protocol's stop rule when None.
        """
        deadline = self._clock() + time_limit_s
        done = done or self.narrow
        waiting = dict(calls)
        while waiting:
            self.round(waiting, deadline)
            if self._clock() >= deadline:
                break
            waiting = {key: call for key, call in waiting.items() if not done(key)}

    def round(self, calls: Mapping[Hashable, Call], deadline: float = np.inf) -> None:
        """Take one block of each call in random order; none is begun after the deadline but a key's first."""
        keys = list(calls)
        for position in self._random.permutation(len(keys)):
            key = keys[position]
            if key not in self._calls_a_block:
                self._calls_a_block[key] = self._warm_up(calls[key])
            elif self._clock() >= deadline:
                continue
            blocks = self._blocks.setdefault(key, [])
            if self._settle() or not blocks:
                blocks.append(self._block(calls[key], self._calls_a_block[key]))
            else:
                self._skipped[key] = self._skipped.get(key, 0) + 1

    def quiet(self, key: Hashable) -> np.ndarray:
        """Medians and 10th percentiles of the quiet blocks and their calls, ``(n_blocks, 3)``, seconds."""
        limit = self.limit_s
        kept = [
            (block.median, block.p10, block.calls)
            for block in self._blocks.get(key, ())
            if block.undisturbed and max(self._readings[block.before : block.before + 2]) <= limit
        ]
        return np.array(kept).reshape(-1, 3)

    def narrow(self, key: Hashable) -> bool:
        """True when the key has blocks enough and an interval narrower than the tolerance."""
        medians = self.quiet(key)[:, 0]
        if len(medians) < self.protocol.min_blocks:
            return False
        low, high = self.interval(medians)
        return bool(high - low <= 2 * self.protocol.tolerance * np.median(medians))

    def interval(self, medians: np.ndarray, level: float = 0.95, resamples: int = 300) -> tuple[float, float]:
        """Bootstrap interval of the median of ``(n_blocks,)`` values."""
        draws = self._random.choice(medians, size=(resamples, len(medians)))
        low, high = np.quantile(np.median(draws, axis=1), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def measurement(self, key: Hashable) -> Measurement:
        """Return the figure of a key.

        Raises:
            TooNoisy: too few quiet blocks, or they vary too much.
        """
        blocks, rules = self.quiet(key), self.protocol
        dropped = len(self._blocks.get(key, ())) - len(blocks) + self._skipped.get(key, 0)
        if len(blocks) < rules.accepted_blocks:
            raise TooNoisy(
                f"too noisy, CV = {self.reference_cv:.2f} of the reference: only {len(blocks)} of "
                f"{len(blocks) + dropped} blocks were quiet, at least {rules.accepted_blocks} are needed. "
                "Please try on a less busy machine or for longer."
            )
        medians = blocks[:, 0]
        cv = _robust_cv(medians)
        if cv > rules.max_cv:
            raise TooNoisy(
                f"too noisy, CV = {cv:.2f}: at most {rules.max_cv:.2f} is accepted over {len(medians)} quiet blocks. "
                "Please try on a less busy machine or for longer."
            )
        low, high = self.interval(medians)
        return Measurement(
            median_ms=1e3 * float(np.median(medians)),
            p10_ms=1e3 * float(np.median(blocks[:, 1])),
            low_ms=1e3 * low,
            high_ms=1e3 * high,
            cv=cv,
            n=len(medians),
            calls=int(blocks[:, 2].sum()),
            dropped=dropped,
            reference_us=1e6 * self.floor_s,
        )

    def bound(self, key: Hashable) -> Measurement:
        """Return the figure over all blocks of a key, quiet or not: load only adds time, so the true one is lower."""
        blocks = self._blocks[key]
        medians = np.array([block.median for block in blocks])
        low, high = self.interval(medians)
        return Measurement(
            median_ms=1e3 * float(np.median(medians)),
            p10_ms=1e3 * float(np.median([block.p10 for block in blocks])),
            low_ms=1e3 * low,
            high_ms=1e3 * high,
            cv=_robust_cv(medians),
            n=len(medians),
            calls=sum(block.calls for block in blocks),
            dropped=0,
            reference_us=1e6 * self.floor_s,
            is_bound=True,
        )

    def _time(self, call: Call) -> float:
        start = self._clock()
        call()
        return self._clock() - start

    def _read(self) -> float:
        """Read the reference: the median of a few calls, after one that brings it back into the caches."""
        self._reference()
        reading = float(np.median([self._time(self._reference) for _ in range(15)]))
        self._readings.append(reading)
        return reading

    def _settle(self) -> bool:
        """Wait for a quiet phase for a while; tell whether it came."""
        limit = self.limit_s
        return any(self._read() <= limit for _ in range(self.protocol.patience))

    def _block(self, call: Call, n_calls: int) -> _Block:
        before = len(self._readings) - 1
        call()  # the caches still hold other models
        switches = self._switches()
        times = [self._time(call) for _ in range(n_calls)]
        undisturbed = self._switches() - switches <= sum(times) / self.protocol.switch_s
        self._read()
        return _Block(float(np.median(times)), float(np.percentile(times, 10)), n_calls, before, undisturbed)

    def _warm_up(self, call: Call, window: int = 5, max_windows: int = 20, max_s: float = 0.3) -> int:
        """Call until the median of a window of calls stops falling; return the calls that fill a block."""
        start, last = self._clock(), np.inf
        for _ in range(max_windows):
            typical = float(np.median([self._time(call) for _ in range(window)]))
            if typical >= 0.98 * last or self._clock() - start > max_s:
                break
            last = typical
        return int(np.clip(self.protocol.block_s / max(typical, 1e-9), 3, 1000))


def _robust_cv(values: np.ndarray) -> float:
    if len(values) < 2:
        return float("nan")
    quarter, half, three_quarters = np.quantile(values, [0.25, 0.5, 0.75])
    return float((three_quarters - quarter) / 1.349 / half)
