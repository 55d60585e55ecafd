"""Runtimes, precisions and threads on the command line, with a table whose kernels are made up."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from hw_cost import BATCH, Device, Kernel, LatencyTable, OpGraph, Parameter
from hw_cost.correction import Correction
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import RUNTIMES
from hw_cost.table_format import Row
from metaml.cli import cli, latency_validation
from metaml.errors import UsageError
from metaml.latency import open_device


@pytest.fixture
def model(tmp_path):
    graph = OpGraph()
    x = graph.input("x", (BATCH, 16))
    graph.add("Gemm", x, Parameter("w", (8, 16)), Parameter("b", (8,)), output=(BATCH, 8), transB=1)
    path = tmp_path / "model.onnx"
    path.write_bytes(write_onnx(graph))
    return str(path)


@pytest.fixture
def table(tmp_path):
    rows = [Row(Kernel("Call", {"inputs": 1, "strings": 0}), 5.0, 4.9, 5.1, 9)]
    rows += [
        Row(Kernel("Gemm", {"rows": 1, "n_in": n, "n_out": n, "working_set": 4 * n * n}), n / 10, n / 11, n / 9, 9)
        for n in (8, 16, 32)
    ]

    def save(**changes):
        path = tmp_path / "table.json"
        made = {"kind": "test", "measured_at": "2026-01-01"}
        LatencyTable(replace(Device.here(), **changes), tuple(rows), Correction(networks=3), provenance=made).save(path)
        return str(path)

    return save


def run(*arguments):
    return CliRunner().invoke(cli, ["latency", *arguments])


def refusal(*arguments) -> str:
    error = run(*arguments).exception
    assert isinstance(error, UsageError), error
    return str(error)


def test_a_table_that_fits_is_used(model, table):
    ran = run("predict", model, "--table", table(), "--threads", "1", "--runtime", "onnxruntime", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["latency_ms"] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--threads", "2"], "threads is 2 here and 1 in the table"),
        (["--precision", "int8"], "precision is int8 here and fp32 in the table"),
        (["--runtime", "torch"], "runtime is torch here and onnxruntime in the table"),
    ],
)
def test_other_settings_are_refused_unless_told_otherwise(model, table, changes, said):
    path = table()
    refused = refusal("predict", model, "--table", path, *changes)
    assert said in refused and "--any-device" in refused
    assert run("predict", model, "--table", path, *changes, "--any-device").exit_code == 0


def test_another_version_of_the_runtime_is_refused(model, table):
    assert "0.1 in the table" in refusal("predict", model, "--table", table(runtime_version="0.1"))


def test_only_the_table_of_this_machine_is_validated(model, table):
    assert "differs in cpu" in refusal("validate", model, "--table", table(cpu="Another"))


def test_a_runtime_that_does_not_tell_sizes_has_no_table(tmp_path):
    refused = refusal("build", "--runtime", "torch-compile", "--out", str(tmp_path / "t.json"))
    assert "it does not tell the sizes" in refused
    refused = refusal("build", "--runtime", "openvino", "--precision", "int8", "--out", str(tmp_path / "t.json"))
    assert "openvino runs in fp32 or bf16, not in 'int8'" in refused


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_profile_tells_kernels_precision_and_memory(model, precision):
    ran = run("profile", model, "--precision", precision, "--runs", "2", "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["precision"] == {"asked": precision, "ran": precision}
    assert {"Gemm", "QGemm"} & {kernel["op"] for kernel in told["kernels"]}
    assert told["energy_mj"] is None or told["energy_mj"] > 0
    assert "us" in run("profile", model, "--runs", "1").stdout


def test_every_runtime_can_be_asked_for():
    (offered,) = [
        parameter.type.choices
        for parameter in cli.get_command(None, "latency").commands["profile"].params
        if parameter.name == "runtime"
    ]
    assert set(offered) == set(RUNTIMES)


def test_a_table_without_a_certificate_is_refused_unless_told_otherwise(tmp_path, device_table):
    path = tmp_path / "uncertified.json"
    replace(LatencyTable.load(device_table), certificate=None).save(path)
    with pytest.raises(UsageError, match=r"has no certificate.*validate --certify .*or say --uncertified"):
        open_device(str(path))
    assert open_device(str(path), uncertified=True).table.certificate is None


def test_random_networks_are_validated_with_every_batch_of_the_table(monkeypatch, table):
    asked = dict[int, int]()

    def pairs(known, models, *, batch, **_):
        asked[batch] = len(models)
        cost = known.predict(models[0], batch)
        return [(cost, cost.latency_ms)] * len(models)

    monkeypatch.setattr(latency_validation, "N_NETWORKS", 28)
    monkeypatch.setattr(latency_validation, "measured_pairs", pairs)
    validated = latency_validation.run_validation(LatencyTable.load(table()), [], (), time_limit=1, seed=5)
    told = validated.verdicts
    assert asked == {1: 14, 32: 14}
    assert set(told) == {"batch 1", "batch 32", "all"} and told["all"]["n"] == 28
    assert not validated.models


def test_only_the_file_of_a_table_is_certified():
    result = CliRunner().invoke(cli, ["latency", "validate", "--certify", "--any-device"])
    assert result.exit_code and "--certify needs the file of a table" in str(result.output) + str(result.exception)
