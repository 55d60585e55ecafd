import itertools

import numpy as np
import pytest

from hw_cost.energy import energy_counter, energy_of, measure_resources, peak_memory
from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime

from .conftest import perceptron


@pytest.fixture
def powercap(tmp_path):
    """Two packages and a part of one, which must not count twice."""
    for name, microjoules in {"intel-rapl:0": 3_000_000, "intel-rapl:1": 500_000, "intel-rapl:0:0": 7_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
    return tmp_path


def test_packages_are_added_up_in_joules(powercap):
    counter, source = energy_counter(powercap)
    assert source == "rapl" and counter() == 3.5


def test_energy_of_a_call_is_what_the_counter_rises_by():
    joules, calls = [0.0], itertools.count()

    def call():
        next(calls)
        joules[0] += 0.002

    assert energy_of(call, lambda: joules[0], seconds=0.01) == pytest.approx(2.0)
    assert next(calls) > 1


def test_a_counter_that_stands_still_tells_nothing():
    assert energy_of(lambda: None, lambda: 5.0, seconds=0.0) is None


def test_what_the_machine_does_not_tell_is_none_and_never_zero(tmp_path, monkeypatch):
    monkeypatch.setattr("hw_cost.energy.energy_counter", lambda: (None, None))
    resources = measure_resources(OnnxRuntime(), write_onnx(perceptron(8)))
    assert resources.energy_mj is None and resources.energy_source is None
    assert resources.peak_mib is None or resources.peak_mib > 0


def test_a_larger_model_needs_more_memory():
    graph = OpGraph()
    n = 2048
    graph.add("Gemm", graph.input("x", (BATCH, n)), Parameter("w", (n, n)), output=(BATCH, n), transB=1)
    peak = peak_memory(OnnxRuntime(), write_onnx(graph))
    assert peak is None or peak > 4 * n * n / 2**20, "at least its weights"
    assert np.isfinite(peak or 1.0)
