"""onnxruntime sessions set up for measuring: threads, affinity, inputs and the reference network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
from onnx import TensorProto, helper, numpy_helper

from hw_cost.bench import Call
from hw_cost.onnx_reader import OnnxModel, load_model

Feeds = Mapping[str, np.ndarray]
"""Input name -> rows, any number of them."""

NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
N_BATCHES = 32
"""Different batches that a measurement cycles through: one row over and over would teach the branch predictor."""


def open_session(
    model: OnnxModel, *, threads: int = 1, optimise: bool = True, dump: str | None = None
) -> ort.InferenceSession:
    """Open a model on the processor with `threads` threads that do not spin while they wait.

    Args:
        model: path, bytes or model.
        threads: threads within an operation; operations run one after the other.
        optimise: let onnxruntime fuse operations.
        dump: path to which the optimised model is written.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    for kind in ("intra", "inter"):
        options.add_session_config_entry(f"session.{kind}_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if dump is not None:
        options.optimized_model_filepath = dump
    source = str(model) if isinstance(model, (str, Path)) else load_model(model).SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def random_feeds(
    session: ort.InferenceSession,
    rows: int,
    *,
    seed: int = 0,
    strings: Sequence[str] = ("a", "b", "c", ""),
    high: int = 2,
) -> dict[str, np.ndarray]:
    """Return random rows for every input of a session.

    Args:
        session: tells the inputs.
        rows: how many rows.
        seed: of the random numbers.
        strings: texts to choose from; numbers are standard normal.
        high: integers are drawn from 0 up to below this.
    """
    random = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    for node in session.get_inputs():
        shape = [rows, *(length if isinstance(length, int) else 1 for length in node.shape[1:])]
        if node.type == "tensor(string)":
            feeds[node.name] = random.choice(np.array(strings, dtype=object), size=shape)
        elif node.type == "tensor(int64)":
            feeds[node.name] = random.integers(0, high, size=shape)
        elif node.type in NUMPY_TYPES:
            feeds[node.name] = random.normal(size=shape).astype(NUMPY_TYPES[node.type])
        else:
            raise ValueError(f"Input {node.name!r} must be float, double, int64 or string, got {node.type}")
    return feeds


def caller(session: ort.InferenceSession, rows: Feeds, batch: int, outputs: list[str] | None = None) -> Call:
    """Return a call that runs the session on the next `batch` of the rows, over and over.

    Rows are repeated when there are fewer than a batch.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    n_rows = min(len(values) for values in rows.values())
    n_batches = int(np.clip(n_rows // batch, 1, N_BATCHES))
    picks = [np.arange(k * batch, (k + 1) * batch) % n_rows for k in range(n_batches)]
    batches = cycle([{name: np.ascontiguousarray(values[pick]) for name, values in rows.items()} for pick in picks])
    run = session.run
    return lambda: run(outputs, next(batches))


def reference_call() -> Call:
    """Return the reference: four dense layers of width 96, some 10 microseconds, the same on every machine."""
    width, n_layers = 96, 4
    random = np.random.default_rng(0)
    names = ["x", *(f"h{layer}" for layer in range(n_layers))]
    weights = [
        numpy_helper.from_array((random.normal(size=(width, width)) / width**0.5).astype(np.float32), f"w{layer}")
        for layer in range(n_layers)
    ]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(n_layers)]
    shape = [1, width]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "reference", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = open_session(model)
    feeds = {"x": random.normal(size=(1, width)).astype(np.float32)}
    return lambda: session.run(None, feeds)


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
