"""Real onnxruntime; nothing here depends on how fast or how busy the machine is."""

import os

import numpy as np
import pytest

import hw_cost.bench
from hw_cost.bench import Protocol, TooNoisy
from hw_cost.graph import BATCH, OpGraph
from hw_cost.measure import measure_latency
from hw_cost.networks import random_networks
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.sessions import caller, pinned

from .conftest import perceptron


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    """Accept whatever a busy test machine gives."""
    rules = Protocol(block_s=0.001, accepted_blocks=1, drift=100.0, max_drift=100.0, max_cv=100.0, switch_s=1e-9)
    monkeypatch.setattr(hw_cost.bench, "Protocol", lambda: rules)


def test_a_file_is_measured(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(write_onnx(perceptron()))
    measured = measure_latency(path, time_limit_s=0.2)
    assert 0 < measured.p10_ms <= measured.median_ms
    assert measured.low_ms <= measured.median_ms <= measured.high_ms
    assert measured.n >= 1 and measured.calls >= 3 and measured.reference_us > 0


def test_several_models_are_measured_beside_each_other():
    models = [write_onnx(network.graph) for network in random_networks(3, seed=4)]
    measured = measure_latency(models, batch=2, time_limit_s=0.5)
    assert len(measured) == 3 and all(figure.median_ms > 0 for figure in measured)


def test_own_rows_are_used_and_missing_inputs_named():
    model = write_onnx(perceptron(8))
    assert measure_latency(model, time_limit_s=0.1, feeds={"x": np.zeros((5, 8), np.float32)}).median_ms > 0
    with pytest.raises(ValueError, match=r"missing are \['x'\]"):
        measure_latency(model, feeds={"z": np.zeros((5, 8), np.float32)})


def test_noise_is_refused(monkeypatch):
    monkeypatch.setattr(hw_cost.bench, "Protocol", lambda: Protocol(drift=-0.99, max_drift=-0.99))
    with pytest.raises(TooNoisy, match="too noisy, CV = "):
        measure_latency(write_onnx(perceptron(8)), time_limit_s=0.1)


def test_random_feeds_fit_every_kind_of_input():
    graph = OpGraph()
    kinds = {"a": None, "b": "double", "c": "int64", "d": "string"}
    for name, dtype in kinds.items():
        graph.add("Shape", graph.input(name, (BATCH, 3), dtype=dtype), output=(2,))
    feeds = random_feeds(OnnxRuntime().open(write_onnx(graph)).inputs, rows=4, strings=["u"], high=9)
    assert {name: values.shape for name, values in feeds.items()} == dict.fromkeys(kinds, (4, 3))
    assert [feeds[name].dtype for name in "abc"] == [np.float32, np.float64, np.int64]
    assert set(feeds["d"].ravel()) == {"u"}


def test_calls_cycle_through_different_rows():
    seen = []

    class Session:
        def run(self, feeds):
            seen.append(feeds["x"].ravel().tolist())

    call = caller(Session(), {"x": np.arange(5).reshape(5, 1)}, batch=2)
    for _ in range(3):
        call()
    assert seen == [[0, 1], [2, 3], [0, 1]]
    caller(Session(), {"x": np.arange(2).reshape(2, 1)}, batch=3)()
    assert seen[-1] == [0, 1, 0], "too few rows are repeated"
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        caller(Session(), {"x": np.arange(2)}, batch=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
def test_affinity_is_restored_even_after_an_error():
    before = os.sched_getaffinity(0)
    with pytest.raises(RuntimeError, match="stop"), pinned(1) as cpus:
        assert os.sched_getaffinity(0) == set(cpus) and len(cpus) == 1
        raise RuntimeError("stop")
    assert os.sched_getaffinity(0) == before


def test_pinning_that_is_not_allowed_is_no_error(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    with pinned(1) as cpus:
        assert cpus is None


def test_a_known_reference_refuses_a_machine_that_is_slower_now(monkeypatch):
    monkeypatch.setattr(hw_cost.bench, "Protocol", Protocol)
    with pytest.raises(TooNoisy, match="of the reference"):
        measure_latency(write_onnx(perceptron(8)), time_limit_s=0.1, reference_us=1e-3)
