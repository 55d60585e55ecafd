"""The device of a search: this machine, where models are measured, or another one, for which they are foretold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hw_cost import Device, LatencyTable
from hw_cost.networks import random_networks
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime, find_runtime
from hw_cost.runtimes.feeds import random_feeds
from hw_cost.shipped import SHIPPED
from metaml.context import runnable
from metaml.data import load_task
from metaml.errors import UsageError
from metaml.latency import DeviceTable, LatencyModel, latency_of, open_device, own_table
from metaml.space import SPACES
from tests.conftest import mixed_table, striped_images

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def shipped(name: str, **changes: str) -> DeviceTable:
    table = LatencyTable.load(SHIPPED / name)
    return DeviceTable(replace(table, device=replace(table.device, **changes)) if changes else table, name)


def here(name: str, **changes: str) -> DeviceTable:
    """A shipped table, said to be of this machine."""
    table = LatencyTable.load(SHIPPED / name)
    device = replace(Device.here(runtime=table.device.runtime), **changes)
    return DeviceTable(replace(table, device=device, reference_us=0.0), name)


def test_a_machine_is_itself_in_another_version_of_its_runtime_but_not_with_another_processor():
    assert here("epyc-torch-1thread.json").is_here
    assert here("epyc-torch-1thread.json", runtime_version="0.1").is_here
    assert not here("epyc-torch-1thread.json", cpu_signature="1-2-3").is_here


@NO_GPU
def test_a_gpu_that_is_not_there_is_another_device():
    assert not shipped("h200-torch-cuda-graph.json").is_here
    for ask in (open_device, own_table):
        with pytest.raises(UsageError, match="no CUDA GPU on this machine. Please use the device cpu"):
            ask("gpu")


def test_a_model_is_measured_here_and_foretold_for_another_device(tmp_path):
    network = random_networks(1, seed=3, kinds=("resnet",))[0]
    path = tmp_path / "model.onnx"
    path.write_bytes(write_onnx(network.graph))
    shapes = {name: data["shape"] for name, data in network.graph.network.nodes(data=True) if "operation" not in data}
    rows = {name: np.ones((4, *shape[1:]), np.float32) for name, shape in shapes.items()}
    measured = latency_of(path, rows, here("epyc-torch-1thread.json"), batch=1, seconds=0.2)
    assert measured.is_measured and measured.judged_ms == measured.ms > 0
    foreign = here("epyc-torch-1thread.json", cpu="another")
    foretold = latency_of(path, rows, foreign, batch=1)
    cost = foreign.table.predict(path)
    assert not foretold.is_measured
    assert (foretold.ms, foretold.judged_ms) == (cost.latency_ms, cost.high_ms)


def test_what_a_runtime_cannot_run_is_not_searched():
    numbers = load_task(mixed_table().select_dtypes("number").fillna(0).replace(np.inf, 0), "value")
    space = runnable(SPACES["tabular"], LatencyModel(shipped("h200-torch-cuda-graph.json"), numbers))
    assert {"hist_gradient_boosting", "extra_trees"} <= space.left_out
    assert {"mlp", "resnet", "tabm", "ft_transformer", "saint", "linear"} <= set(space.families)
    assert {c["family"] for c in (*space.defaults(), *space.sample(20, 0), space.safe())} <= set(space.families)
    assert (
        runnable(SPACES["tabular"], LatencyModel(shipped("epyc-onnxruntime-1thread.json"), numbers)).left_out == set()
    )


def test_a_runtime_that_can_run_nothing_of_a_task_is_refused_in_one_sentence():
    texts = load_task(mixed_table(), "value")
    with pytest.raises(
        UsageError, match=r"torch-cuda-graph can run no model of this task, for .*text inputs.*another runtime"
    ):
        runnable(SPACES["tabular"], LatencyModel(shipped("h200-torch-cuda-graph.json"), texts))


@pytest.mark.parametrize("modality", ["tabular", "image"])
def test_torch_runs_what_is_deployed_as_onnxruntime_does(modality, tmp_path):
    if modality == "tabular":
        task = load_task(mixed_table().select_dtypes("number").fillna(0).replace(np.inf, 0), "value")
    else:
        images, labels = striped_images(30, side=12)
        np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
        task = load_task(tmp_path / "stripes.npz")
    model, torch_runtime = LatencyModel(shipped("h200-torch-cuda-graph.json"), task), find_runtime("torch")()
    space = runnable(SPACES[modality], model)
    for configuration in (*space.defaults(), *space.sample(12, 0)):
        file = write_onnx(model.graph([configuration]))
        session = OnnxRuntime().open(file)
        feeds = random_feeds(session.inputs, 3)
        (expected,), (output,) = session.run(feeds), torch_runtime.open(file).run(feeds)
        np.testing.assert_allclose(output, expected, atol=1e-4 * np.abs(expected).max())
