"""What bounds each kernel of a device: its arithmetic, its memory, or the start of a kernel.

The roofline model (Williams, Waterman & Patterson 2009) with measured roofs: the peak of matrix products, and the
bandwidth of an elementwise operation, which depends on the cache that its tensors fit into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hw_cost.bench import Bench, Call, Protocol, TooNoisy
from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import work_of
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime, Runtime
from hw_cost.sessions import bench_for, caller
from hw_cost.table_format import Row

PRODUCTS = (256, 512, 1024)
"""Sides of the square matrices whose fastest product is the peak."""
STREAMS = tuple(2**k for k in range(12, 25, 2))
"""Elements of the vectors that are read and written once: 32 KiB to 128 MiB of traffic."""
CLASSES = ("compute", "memory", "overhead")


@dataclass(frozen=True)
class Roofs:
    """What a machine can do at best."""

    peak_flops: float
    """Floating-point operations a second."""
    bandwidths: tuple[tuple[float, float], ...]
    """Bytes moved by a kernel, and bytes a second at that size; sizes rise."""
    start_us: float
    """Microseconds that the smallest kernels take."""

    def bandwidth(self, moved: float) -> float:
        """Return bytes a second for a kernel that moves so many bytes."""
        sizes, speeds = np.array(self.bandwidths).T
        return float(np.exp(np.interp(np.log(max(1.0, moved)), np.log(sizes), np.log(speeds))))


@dataclass(frozen=True)
class Placed:
    """A kernel under the roofs."""

    row: Row
    flops: float
    bytes: float
    bound: str
    """One of `CLASSES`: what takes longest at best."""
    efficiency: float
    """Time at best / time measured, 1 at the roof."""

    @property
    def intensity(self) -> float:
        """FLOPs for each byte."""
        return self.flops / max(1.0, self.bytes)


def place(rows: Sequence[Row], roofs: Roofs) -> list[Placed]:
    """Return the kernels whose work is known, with what bounds each."""
    placed = []
    for row in rows:
        work = work_of(row.kernel)
        if work is None or not work["flops"] + work["bytes"]:
            continue
        moved = max(work["bytes"], row.kernel.sizes.get("working_set", 0))
        times = (1e6 * work["flops"] / roofs.peak_flops, 1e6 * work["bytes"] / roofs.bandwidth(moved), roofs.start_us)
        longest = int(np.argmax(times))
        placed.append(Placed(row, work["flops"], work["bytes"], CLASSES[longest], times[longest] / row.latency_us))
    return placed


def measure_roofs(rows: Sequence[Row], runtime: Runtime | None = None, *, time_limit_s: float = 20.0) -> Roofs:
    """Measure the roofs of this machine.

    Args:
        rows: kernels measured on it; the fastest tell what starting one takes.
        runtime: onnxruntime with one thread when None.
        time_limit_s: wall time for all measurements.

    Raises:
        TooNoisy: the machine was too busy.
    """
    runtime = runtime or OnnxRuntime()
    with bench_for(runtime, Protocol(accepted_blocks=3, min_blocks=5)) as bench:
        calls = {f"product {side}": _call(runtime, _product(side), (side, side)) for side in PRODUCTS}
        calls |= {"call": _call(runtime, _stream(1), (1, 1))}
        calls |= {f"stream {n}": _call(runtime, _stream(n), (1, n)) for n in STREAMS}
        bench.run(calls, time_limit_s)
    start = _seconds(bench, "call")
    seconds = [_seconds(bench, name) - start for name in calls if name != "call"]
    flops = [2.0 * side**3 for side in PRODUCTS]
    peak = max(work / time for work, time in zip(flops, seconds[: len(flops)], strict=True))
    pairs = [(8.0 * n, 8.0 * n / time) for n, time in zip(STREAMS, seconds[len(flops) :], strict=True)]
    known = tuple((size, speed) for size, speed in pairs if speed > 0)
    if not peak > 0 or not known:
        raise TooNoisy(
            "too noisy: neither the peak nor the bandwidth could be measured. Please try on a quieter machine."
        )
    start_us = float(np.percentile([row.latency_us for row in rows], 2))
    return Roofs(peak, known, start_us)


def _call(runtime: Runtime, graph: OpGraph, shape: tuple[int, int]) -> Call:
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return caller(runtime.open(write_onnx(graph), batch=shape[0]), {"x": rows}, shape[0])


def _seconds(bench: Bench, name: str) -> float:
    try:
        return 1e-3 * bench.measurement(name).median_ms
    except TooNoisy:
        return np.inf


def _product(side: int) -> OpGraph:
    graph = OpGraph()
    x = graph.input("x", (BATCH, side))
    graph.add("MatMul", x, Parameter("w", (side, side)), output=(BATCH, side))
    return graph


def _stream(elements: int) -> OpGraph:
    graph = OpGraph()
    x = graph.input("x", (BATCH, elements))
    graph.add("Relu", x, output=(BATCH, elements))
    return graph
