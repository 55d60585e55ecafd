"""What surrounds a measurement: calls whose rows change, the processors they run on, and the reference network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import numpy as np
import psutil
from onnx import ModelProto, TensorProto, helper, numpy_helper

from hw_cost.bench import Bench, Call, Protocol, involuntary_switches, switches_of_thread
from hw_cost.runtimes import Feeds, OnnxRuntime, OpenModel, Runtime
from hw_cost.runtimes.feeds import MOST_BATCHES

REFERENCE_WIDTH = 96
DRIVER_CORES = 2
"""Processors beside those of the calling threads that the driver of a GPU gets for its own: on the same one, they take
it away from each other in the midst of a call."""


@contextmanager
def bench_for(
    runtime: Runtime, protocol: Protocol | None = None, *, seed: int = 0, floor_s: float | None = None
) -> Iterator[Bench]:
    """Yield a bench for calls of a runtime, with this thread on the least busy processors; see `Bench` and `pinned`.

    The reference is a small network: on a GPU where the runtime computes on one, else in onnxruntime on one thread.
    """
    on_gpu = bool(runtime.accelerator())
    with pinned(runtime.threads + DRIVER_CORES * on_gpu):
        model = runtime.open(reference_model()) if on_gpu else OnnxRuntime().open(reference_model())
        switches = switches_of_thread if on_gpu else involuntary_switches  # a driver's own threads do not matter
        yield Bench(reference_call(model), protocol, switches=switches, seed=seed, floor_s=floor_s)


def caller(model: OpenModel, rows: Feeds, batch: int) -> Call:
    """Return a call that runs the model on the next `batch` of the rows, over and over.

    Rows are repeated when there are fewer than a batch.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    n_rows = min(len(values) for values in rows.values())
    n_batches = int(np.clip(n_rows // batch, 1, MOST_BATCHES))
    picks = [np.arange(k * batch, (k + 1) * batch) % n_rows for k in range(n_batches)]
    batches = cycle([{name: np.ascontiguousarray(values[pick]) for name, values in rows.items()} for pick in picks])
    run = model.run
    return lambda: run(next(batches))


def reference_call(model: OpenModel) -> Call:
    """Return the call of the reference network."""
    feeds = {"x": np.random.default_rng(0).normal(size=(1, REFERENCE_WIDTH)).astype(np.float32)}
    return lambda: model.run(feeds)


def reference_model(n_layers: int = 4) -> ModelProto:
    """Return the reference: four dense layers of width 96, some 10 microseconds, the same on every machine."""
    width, random = REFERENCE_WIDTH, np.random.default_rng(0)
    names = ["x", *(f"h{layer}" for layer in range(n_layers))]
    weights = [
        numpy_helper.from_array((random.normal(size=(width, width)) / width**0.5).astype(np.float32), f"w{layer}")
        for layer in range(n_layers)
    ]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(n_layers)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "reference", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@contextmanager
def pinned(threads: int = 1) -> Iterator[tuple[int, ...] | None]:
    """Keep the calling thread, and those that it starts, on the `threads` least busy processors.

    Yields the processors, or None where the system does not allow it. The affinity is restored in the end.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    busy = psutil.cpu_percent(interval=0.1, percpu=True)
    ranked = sorted(before, key=lambda cpu: busy[cpu] if cpu < len(busy) else 100.0)
    chosen = tuple(sorted(ranked[:threads]))
    try:
        os.sched_setaffinity(0, chosen)
    except OSError:
        yield None
        return
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)
