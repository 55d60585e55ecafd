"""``metaml latency adapt`` as a user calls it."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from hw_cost import LatencyTable, ModelError
from hw_cost.adaptation import Sample, adapt_tables
from hw_cost.networks import random_networks
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import RUNTIMES, OnnxRuntime
from hw_cost.shipped import SHIPPED
from metaml.cli.latency import latency
from metaml.errors import UsageError


class Picky(OnnxRuntime):
    """A runtime that cannot run what the others can."""

    def kernels(self, network, batch=1):
        raise ModelError("there are no texts here")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Ten networks that take three times as long as on the machine of the shipped table."""
    folder = tmp_path_factory.mktemp("measured")
    known = LatencyTable.load(SHIPPED / "xeon-onnxruntime-1thread.json")
    lines = ["model,latency_ms"]
    for network in random_networks(10, seed=77):
        (folder / f"{network.name}.onnx").write_bytes(write_onnx(network.graph))
        lines.append(f"{network.name}.onnx,{3 * known.predict(network.graph).latency_ms}")
    (folder / "measured.csv").write_text("\n".join(lines))
    return folder


def test_a_device_three_times_as_slow_is_recognised(measured, tmp_path):
    out = tmp_path / "slow.json"
    known = SHIPPED / "xeon-onnxruntime-1thread.json"
    arguments = ["adapt", str(measured / "measured.csv"), "--name", "Slow", "--out", str(out), "--from", str(known)]
    result = CliRunner().invoke(latency, [*arguments, "--json"], catch_exceptions=False)
    answer = json.loads(result.stdout)
    assert set(answer["leave_one_out"]) == {"transfer", "additive", "best proxy"}
    adapted, fast = LatencyTable.load(out), LatencyTable.load(known)
    assert adapted.device.cpu == "Slow"
    for network in random_networks(6, seed=78):
        ratio = adapted.predict(network.graph).latency_ms / fast.predict(network.graph).latency_ms
        assert 2.5 < ratio < 3.5


def test_a_table_whose_runtime_cannot_run_a_network_plays_no_part(measured, monkeypatch):
    known = [LatencyTable.load(SHIPPED / f"{name}-onnxruntime-1thread.json") for name in ("xeon", "epyc")]
    samples = [Sample(path, 1.0 + k) for k, path in enumerate(sorted(measured.glob("*.onnx")))]
    monkeypatch.setitem(RUNTIMES, "picky", f"{__name__}:Picky")
    known[0] = replace(known[0], device=replace(known[0].device, runtime="picky"))
    table, _ = adapt_tables(known, samples)
    assert table.device == known[1].device
    with pytest.raises(ValueError, match="no texts here"):
        adapt_tables(known[:1], samples)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model,ms\na.onnx,1", "missing are latency_ms"),
        ("model,latency_ms\nnowhere.onnx,1", "no ONNX file"),
        ("model,latency_ms\na.onnx,-1", "must be positive"),
        ("model,latency_ms\na.onnx,soon", "must be numbers"),
        ("model,latency_ms\na.onnx,1", "at least 3 measured networks"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(content, said, tmp_path):
    (tmp_path / "measured.csv").write_text(content)
    (tmp_path / "a.onnx").write_bytes(write_onnx(random_networks(1)[0].graph))
    arguments = ["adapt", str(tmp_path / "measured.csv"), "--name", "x", "--out", str(tmp_path / "out.json")]
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(latency, arguments, catch_exceptions=False)
