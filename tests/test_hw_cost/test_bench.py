"""The protocol on a machine whose clock and load are scripted."""

from collections.abc import Callable

import numpy as np
import pytest

from hw_cost.bench import Bench, Protocol, TooNoisy

US = 1e-6


class Machine:
    """Time passes only in calls, by their cost times the load of the moment."""

    def __init__(self, load: Callable[[float], float] = lambda _: 1.0):
        self.now = 0.0
        self.load = load
        self.switches = 0
        self.log: list[str] = []

    def clock(self) -> float:
        return self.now

    def call(self, cost_us: float, name: str = "") -> Callable[[], None]:
        def run() -> None:
            self.now += cost_us * US * self.load(self.now)
            self.log.append(name)

        return run

    def bench(self, **changes: object) -> Bench:
        return Bench(self.call(10, "reference"), Protocol(**changes), clock=self.clock, switches=lambda: self.switches)


def test_a_quiet_machine_gives_the_exact_time():
    machine = Machine()
    bench = machine.bench()
    bench.run({"a": machine.call(50), "b": machine.call(200)}, time_limit_s=10)
    a, b = bench.measurement("a"), bench.measurement("b")
    assert a.median_ms == pytest.approx(0.050) and b.median_ms == pytest.approx(0.200)
    assert a.p10_ms == pytest.approx(0.050)
    assert a.cv == pytest.approx(0, abs=1e-9) and a.dropped == 0
    assert a.n == Protocol().min_blocks, "it stops as soon as the interval is narrow"
    assert machine.now < 1
    assert a.reference_us == pytest.approx(10)


def test_busy_phases_are_dropped_by_the_reference_alone():
    machine = Machine(load=lambda now: 1.5 if now % 0.1 < 0.06 else 1.0)  # busy 60 % of the time
    bench = machine.bench()
    bench.run({"a": machine.call(50), "b": machine.call(300)}, time_limit_s=10)
    assert bench.measurement("a").median_ms == pytest.approx(0.050)
    assert bench.measurement("b").median_ms == pytest.approx(0.300)
    assert bench.measurement("a").dropped > 0


def test_blocks_that_the_processor_was_taken_away_from_do_not_count():
    """The reference is too short to see it: others wait while it runs."""
    machine = Machine()
    bench = machine.bench()

    def long() -> None:
        is_taken = machine.now % 0.1 < 0.06
        machine.switches += is_taken
        machine.call(3000 if is_taken else 1000)()

    bench.run({"a": long}, time_limit_s=2)
    assert bench.measurement("a").median_ms == pytest.approx(1.0)
    assert bench.measurement("a").dropped > 0


def test_a_slow_drift_within_the_bound_shows_in_the_interval():
    machine = Machine(load=lambda now: 1 + 0.04 * np.sin(now * 300))
    bench = machine.bench(tolerance=1e-4)
    bench.run({"a": machine.call(50)}, time_limit_s=0.5)
    measured = bench.measurement("a")
    assert measured.low_ms < measured.median_ms < measured.high_ms
    assert measured.median_ms == pytest.approx(0.050, rel=0.05)


def test_a_machine_that_never_settles_is_refused():
    noise = np.random.default_rng(0)
    machine = Machine(load=lambda _: float(noise.choice([1.0, 2.0, 4.0])))
    bench = machine.bench(drift=1e-6, max_drift=1e-6, accepted_blocks=5)
    bench._known_floor = 5 * US  # the reference was once seen to take 5 us
    bench.run({"a": machine.call(500)}, time_limit_s=0.5)
    with pytest.raises(
        TooNoisy, match=r"too noisy, CV = \d\.\d\d of the reference: only 0 of \d+ blocks were quiet, at least 5"
    ):
        bench.measurement("a")


def test_quiet_blocks_that_disagree_are_refused():
    machine = Machine()
    bench = machine.bench(max_cv=0.05, min_blocks=20)
    costs = iter(range(50, 10**6))

    def growing() -> None:
        machine.now += next(costs) * US

    bench.run({"a": growing}, time_limit_s=0.2)
    with pytest.raises(TooNoisy, match="at most 0.05 is accepted"):
        bench.measurement("a")


def test_a_key_that_was_never_measured_is_refused():
    with pytest.raises(TooNoisy, match="only 0 of 0"):
        Machine().bench().measurement("a")


def test_blocks_are_interleaved_in_random_order():
    machine = Machine()
    bench = machine.bench(min_blocks=10)
    bench.run({name: machine.call(100, name) for name in "abc"}, time_limit_s=10)
    order = [name for name in machine.log if name != "reference"]
    blocks = [name for before, name in zip([""] + order, order, strict=False) if name != before]
    assert len(set("".join(blocks[i : i + 3]) for i in range(0, 27, 3))) > 2


def test_time_limit_holds_and_every_call_gets_one_block():
    machine = Machine()
    bench = machine.bench(tolerance=0.0, min_blocks=10**6)
    bench.run({name: machine.call(1000) for name in "abcdef"}, time_limit_s=0.3)
    assert machine.now < 0.5
    bench.run({"late": machine.call(1000)}, time_limit_s=0.0)
    assert len(bench.quiet("late")) == 1


def test_a_call_that_gets_faster_is_warmed_up_first():
    machine = Machine()
    costs = iter([5000.0] + [500.0] * 5 + [50.0] * 10**6)

    def warming() -> None:
        machine.now += next(costs) * US

    bench = machine.bench()
    bench.run({"a": warming}, time_limit_s=10)
    assert bench.measurement("a").high_ms == pytest.approx(0.050)


def test_on_a_machine_that_is_mostly_a_little_slower_the_quietest_quarter_counts():
    machine = Machine(load=lambda now: 1.0 if now < 0.003 else 1.25)
    bench = machine.bench()
    bench.run({"a": machine.call(50)}, time_limit_s=1)
    assert bench.measurement("a").median_ms == pytest.approx(1.25 * 0.050)
    strict = machine.bench(max_drift=0.2)
    strict._known_floor = 10 * US
    strict.run({"a": machine.call(50)}, time_limit_s=1)
    with pytest.raises(TooNoisy):
        strict.measurement("a")


def test_a_known_floor_keeps_a_busy_start_from_passing_as_quiet():
    machine = Machine(load=lambda now: 2.0 if now < 0.2 else 1.0)
    bench = Bench(machine.call(10), Protocol(), clock=machine.clock, floor_s=10 * US)
    bench.run({"a": machine.call(50)}, time_limit_s=5)
    assert bench.measurement("a").median_ms == pytest.approx(0.050)
    assert bench.measurement("a").dropped > 0


def test_the_bootstrap_interval_holds_the_median():
    bench = Machine().bench()
    low, high = bench.interval(np.arange(1.0, 102.0))
    assert 35 < low < 51 < high < 67


def test_bound_of_a_busy_machine_is_above_the_quiet_figure():
    """The reference never settles: no figure, but all blocks together still bound it from above."""
    bench = Bench(lambda: sum(range(200)), Protocol(min_blocks=3, block_s=0.0005), seed=0, floor_s=1e-9)
    bench.run({"call": lambda: sum(range(2000))}, 0.05)
    with pytest.raises(TooNoisy):
        bench.measurement("call")
    bound = bench.bound("call")
    assert bound.is_bound
    assert bound.low_ms <= bound.median_ms <= bound.high_ms
    assert bound.median_ms > 0
