"""What every runtime must do, and what is its own."""

import importlib
import sys

import numpy as np
import onnx
import pytest

from hw_cost.devices import Device
from hw_cost.kernels import Kernel
from hw_cost.networks import KINDS, random_networks
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime, Runtime, RuntimeMissing, find_runtime
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.runtimes.quantisation import quantise

from .conftest import perceptron

SETTINGS = [
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("torch", "fp32"),
    pytest.param(("torch-cuda", "fp32"), marks=pytest.mark.gpu),
    pytest.param(("torch-cuda-graph", "fp32"), marks=pytest.mark.gpu),
    pytest.param(("tensorrt", "fp32"), marks=pytest.mark.gpu),
]


@pytest.fixture(params=SETTINGS, ids=str)
def runtime(request) -> Runtime:
    name, precision = request.param
    found = find_runtime(name)(precision=precision)
    try:
        found.open(write_onnx(perceptron(8)))
    except RuntimeMissing as error:
        pytest.skip(str(error))
    return found


def without_set(kernel: Kernel) -> tuple:
    return kernel.op, {name: size for name, size in kernel.sizes.items() if name != "working_set"}


def by_name(kernels) -> list[Kernel]:
    return sorted(kernels, key=str)


class TestEveryRuntime:
    def test_it_runs_a_network_as_onnxruntime_does(self, runtime):
        model = write_onnx(perceptron(32))
        feeds = random_feeds(runtime.open(model, batch=3).inputs, 3)
        (expected,) = OnnxRuntime().open(model).run(feeds)
        (output,) = runtime.open(model, batch=3).run(feeds)
        error = np.abs(output - expected).max() / np.abs(expected).max()
        assert error < {"fp32": 1e-4, "bf16": 0.02, "int8": 0.1}[runtime.precision]

    def test_it_tells_the_kernels_that_it_executes(self, runtime):
        first, *kernels = runtime.kernels(write_onnx(perceptron(32, layers=3)), batch=4)
        assert first.op == "Call"
        assert [kernel.sizes["rows"] for kernel in kernels if kernel.kind == "dense"] == [4, 4, 4]

    def test_a_graph_has_the_kernels_of_its_file(self, runtime):
        graphs = [network.graph for network in random_networks(len(KINDS), seed=3, kinds=tuple(KINDS))]
        for graph in [graph for graph in graphs if not runtime.unsupported(graph)]:
            from_file = runtime.kernels(write_onnx(graph))
            for told, read in zip(by_name(runtime.kernels(graph)), by_name(from_file), strict=True):
                sizes = (kernel.sizes.get("working_set", 0) for kernel in (told, read))
                assert without_set(told) == without_set(read)
                assert next(sizes) == pytest.approx(next(sizes), rel=1e-3)  # a file has constants of shapes as well

    def test_its_profiler_finds_the_same_kernels(self, runtime):
        model = write_onnx(perceptron(64, layers=2))
        profile = runtime.profile(model, batch=2, runs=3)
        assert [step.kernel for step in profile.kernels] == runtime.kernels(model, batch=2)
        times = [step.latency_us for step in profile.kernels if step.latency_us is not None]
        assert times and min(times) >= 0
        assert profile.precision == runtime.precision

    def test_it_refuses_settings_that_it_has_not(self, runtime):
        with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
            type(runtime)(threads=0)
        with pytest.raises(ValueError, match=rf"{runtime.name} runs in .*fp32.*, not in 'fp7'"):
            type(runtime)(precision="fp7")

    def test_a_device_names_it_with_its_settings(self, runtime):
        device = Device.here(runtime=runtime.name, threads=2, precision=runtime.precision)
        assert (device.runtime, device.runtime_version, device.threads) == (runtime.name, runtime.version(), 2)
        assert repr(device.open_runtime()) == repr(type(runtime)(threads=2, precision=runtime.precision))


def test_an_unknown_runtime_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="must be one of onnxruntime.*, got 'caffe'"):
        find_runtime("caffe")


@pytest.mark.parametrize("name", ["openvino", "tensorrt"])
def test_a_runtime_that_is_not_installed_says_how_to_get_it(name, monkeypatch):
    module = importlib.import_module(f"hw_cost.runtimes.{name}")
    monkeypatch.setitem(sys.modules, name, None)
    module._library.cache_clear()
    with pytest.raises(RuntimeMissing, match=rf"pip install 'metaml\[{name}\]'"):
        find_runtime(name).version()


def test_onnxruntime_times_the_larger_kernel_longer():
    times = {
        step.kernel.sizes["n_in"]: step.latency_us
        for width in (32, 1024)
        for step in OnnxRuntime().profile(write_onnx(perceptron(width, 1)), runs=20).kernels
        if step.kernel.kind == "dense"
    }
    assert times[1024] > times[32]


def test_a_quantised_network_has_a_relu_between_dense_kernels_as_the_lower_end_of_a_range():
    """As of trained weights, which have both signs; of positive ones onnxruntime leaves even the conversion out."""
    kernels = OnnxRuntime(precision="int8").kernels(perceptron(32, layers=2, activation="Relu"))
    between = ["QGemm", "DequantizeLinear", "QuantizeLinear", "QGemm"]
    assert [kernel.op for kernel in kernels] == ["Call", "QuantizeLinear", *between, "DequantizeLinear", "Relu"]
    assert {kernel.sizes["working_set"] for kernel in kernels if kernel.kind == "dense"} < set(range(2 * 32 * 32 + 400))


def test_quantising_leaves_the_given_model_as_it_is():
    model = onnx.load_model_from_string(write_onnx(perceptron(8)))
    before = model.SerializeToString()
    quantise(model, [{"x": np.ones((1, 8), np.float32)}])
    assert model.SerializeToString() == before
