"""What every runtime must do, and what is its own."""

import numpy as np
import pytest

from hw_cost.devices import Device
from hw_cost.networks import random_networks
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import RUNTIMES, OnnxRuntime, Runtime, RuntimeMissing, find_runtime
from hw_cost.runtimes.feeds import random_feeds

from .conftest import perceptron


@pytest.fixture(params=RUNTIMES)
def runtime(request) -> Runtime:
    found = RUNTIMES[request.param]
    try:
        found.version()
    except RuntimeMissing as error:
        pytest.skip(str(error))
    return found()


class TestEveryRuntime:
    def test_it_runs_a_network_as_onnxruntime_does(self, runtime):
        model = write_onnx(perceptron(32))
        feeds = random_feeds(runtime.open(model, batch=3).inputs, 3)
        (expected,) = OnnxRuntime().open(model).run(feeds)
        (output,) = runtime.open(model, batch=3).run(feeds)
        assert np.allclose(output, expected, atol=1e-4)

    def test_it_tells_the_kernels_that_it_executes(self, runtime):
        first, *kernels = runtime.kernels(write_onnx(perceptron(32, layers=3)), batch=4)
        assert first.op == "Call"
        assert [kernel.sizes["rows"] for kernel in kernels if kernel.kind == "dense"] == [4, 4, 4]

    def test_a_graph_has_the_kernels_of_its_file(self, runtime):
        graphs = [network.graph for network in random_networks(8, seed=3)]
        for graph in [graph for graph in graphs if not runtime.unsupported(graph)]:
            from_file = runtime.kernels(write_onnx(graph))
            assert sorted(map(str, runtime.kernels(graph))) == sorted(map(str, from_file))

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
        device = Device.here(runtime=runtime.name, threads=2)
        assert (device.runtime, device.runtime_version, device.threads) == (runtime.name, runtime.version(), 2)
        again = device.open_runtime()
        assert type(again) is type(runtime) and again.threads == 2


def test_an_unknown_runtime_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="must be one of onnxruntime.*, got 'caffe'"):
        find_runtime("caffe")


def test_onnxruntime_times_the_larger_kernel_longer():
    times = {
        step.kernel.sizes["n_in"]: step.latency_us
        for width in (32, 1024)
        for step in OnnxRuntime().profile(write_onnx(perceptron(width, 1)), runs=20).kernels
        if step.kernel.kind == "dense"
    }
    assert times[1024] > times[32]
