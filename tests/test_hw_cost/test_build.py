"""Building, resuming, validating and adapting with a plan of a few kernels and lenient rules."""

import math
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import hw_cost.build
import hw_cost.profiling
import hw_cost.shipped
from hw_cost.bench import Bench, Measurement, Protocol, TooNoisy
from hw_cost.build import Plan, build_table
from hw_cost.calibration import fit_correction
from hw_cost.correction import GROUPS, PARTS, part_sums
from hw_cost.devices import Device
from hw_cost.kernels import kernels_of
from hw_cost.networks import KINDS, random_networks
from hw_cost.probes import Stream, baseline_of, call_probe, dense, encoder, probe_streams, trees, unary
from hw_cost.profiling import first_probes
from hw_cost.progress import Progress
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.shipped import adapt, nearest_table, table_for
from hw_cost.table import LatencyTable
from hw_cost.validation import compare, validate

from .conftest import make_table

LENIENT = Protocol(
    block_s=0.0005,
    min_blocks=3,
    accepted_blocks=1,
    drift=1e6,
    max_drift=1e6,
    switch_s=1e-9,
    max_cv=1e6,
    tolerance=10.0,
    patience=1,
)


@pytest.fixture
def tiny(monkeypatch):
    probes = [dense(None, n, n, 1, 10**5) for n in (16, 64, 256)]
    probes += [unary("Gelu", 256, 1), encoder(9, 4, 1), trees(20, 8, 2, 1), call_probe(1), call_probe(2, 4)]
    streams = [Stream("all", 8, lambda: iter([*probes, *(unary("Gelu", 300 + n, 1) for n in range(3))]))]
    monkeypatch.setattr(Plan, "make", lambda *_, **__: Plan(streams, 3, 3))
    monkeypatch.setattr(hw_cost.build, "KINDS", {"mlp": None})
    monkeypatch.setattr(hw_cost.build, "PROTOCOL", LENIENT)
    monkeypatch.setattr(hw_cost.profiling, "LOST_SHARE", 1.0)  # on a busy machine a small kernel may drown


def test_a_table_is_built_corrected_and_certified(tiny, tmp_path):
    told = []
    table = build_table(time_limit_s=8, progress=lambda *step: told.append(step), resume=tmp_path / "part.json")
    assert {row.kernel.op for row in table.rows} <= {"Gemm", "Gelu", "LabelEncoder", "TreeEnsembleRegressor", "Call"}
    assert all(row.low_us <= row.latency_us <= row.high_us for row in table.rows)
    assert table.correction.networks == 3 and table.certificate["n"] == 3
    assert table.device.batches == (1, 32)
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["kernels", "refining", "networks", "validation"]
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").predict(random_networks(1)[0].graph).latency_ms > 0


def test_a_build_goes_on_where_it_was_stopped(tiny, tmp_path, monkeypatch):
    path = tmp_path / "part.json"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(hw_cost.build, "_measure_apart", stop)
        with pytest.raises(KeyboardInterrupt):
            build_table(time_limit_s=8, resume=path)
    kept = {str(row.kernel): row for row in LatencyTable.load(path).rows}
    rows = {str(row.kernel): row for row in build_table(time_limit_s=8, resume=path).rows}
    assert kept and {name: rows[name] for name in kept} == kept  # no figure is like another's


def test_networks_of_a_build_are_kept_before_it_has_any_kernel(tmp_path):
    progress = Progress(Device.here(), tmp_path / "part.json", reference_us=9.0)
    progress.figures["mlp-1-0"] = measurement(0.01)
    progress.save()
    kept = Progress.resume(Device.here(), tmp_path / "part.json")
    assert not kept.rows and kept.figures == progress.figures


BUILD = """
import sys
from hw_cost import build
from hw_cost.probes import Stream, unary
stream = Stream("all", 400, lambda: (unary("Gelu", 8 + n, 1) for n in range(400)))
build.Plan.make = lambda *_, **__: build.Plan([stream], 3, 3)
build.build_table(time_limit_s=60, resume=sys.argv[1])
"""


def test_a_build_that_is_killed_leaves_a_file_to_go_on_from(tmp_path):
    path = tmp_path / "part.json"
    with subprocess.Popen([sys.executable, "-c", BUILD, str(path)], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    kept = Progress.resume(Device.here(), path)
    assert 0 < len(kept.rows) < 400 and kept.reference_us


@pytest.mark.slow
def test_beside_busy_processes_a_build_is_refused_or_its_figures_stand(monkeypatch):
    probes = [unary("Gelu", 8 * n, 1) for n in range(1, 17)]
    monkeypatch.setattr(Plan, "make", lambda *_, **__: Plan([Stream("all", 16, lambda: iter(probes))], 3, 3))
    quiet = {str(row.kernel): row.latency_us for row in build_table(time_limit_s=20).rows}
    burn = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(burn) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        table = build_table(time_limit_s=20)
    except TooNoisy as error:
        assert "too noisy" in str(error)
    else:
        ratios = [row.latency_us / quiet[str(row.kernel)] for row in table.rows if str(row.kernel) in quiet]
        assert 0.9 < float(np.median(ratios)) < 1.1
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_table_of_another_device_is_not_resumed(tiny, tmp_path):
    other = Device.from_json(Device.here().to_json() | {"cpu": "Another"})
    table = make_table()
    LatencyTable(other, table.rows).save(tmp_path / "part.json")
    with pytest.raises(ValueError, match="measured on another device .it differs in cpu"):
        build_table(resume=tmp_path / "part.json")
    with pytest.raises(ValueError, match="built on the device itself; this machine differs in cpu"):
        build_table(other)


def test_a_build_drowned_in_noise_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(hw_cost.profiling, "LOST_SHARE", 0.3)
    monkeypatch.setattr(hw_cost.build, "PROTOCOL", Protocol(block_s=0.0005, drift=-0.99, max_drift=-0.99, patience=1))
    with pytest.raises(TooNoisy, match=r"too noisy, CV = \d.* of the reference: 8 of 8 kernels could not be measured"):
        build_table(time_limit_s=1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_probe_runs(precision):
    for probed in first_probes(probe_streams(precision), quick=True)[::4]:
        OnnxRuntime().open(write_onnx(probed.graph, outputs=[probed.output]), optimise=False)
        OnnxRuntime().open(write_onnx(baseline_of(probed).graph), optimise=False)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_probes_are_distinct_and_the_same_each_time(precision):
    names = [str(probed.kernel) for probed in first_probes(probe_streams(precision), quick=True)]
    assert names == [str(probed.kernel) for probed in first_probes(probe_streams(precision), quick=True)]
    assert len(set(names)) > 0.95 * len(names)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_probes_show_what_networks_of_all_kinds_are_made_of(precision):
    shown = {probed.kernel.op for probed in first_probes(probe_streams(precision))}
    runtime = OnnxRuntime(precision=precision)
    networks = random_networks(2 * len(KINDS), seed=5, kinds=tuple(KINDS))
    assert {kernel.op for network in networks for kernel in runtime.kernels(network.graph)} <= shown


def test_a_longer_build_measures_more_kernels():
    usual, longer = (len(first_probes(Plan.make(OnnxRuntime(), length=length).streams)) for length in (0.5, 2.0))
    assert 1.9 * usual < longer <= 2 * usual


def measurement(ms: float) -> Measurement:
    return Measurement(ms, ms, ms, ms, 0.0, 10, 100, 0, 9.0)


def measured_by(table, scales, base, n):
    """Networks that take exactly base + scales * sums."""
    pairs = []
    for network in random_networks(n, seed=11):
        sums = part_sums((kernel, table.kernel_cost(kernel).latency_us) for kernel in kernels_of(network.graph))
        latency_us = base + sum(scales[group] * us for group, us in zip(PARTS.values(), sums, strict=True))
        pairs.append((network, measurement(1e-3 * latency_us)))
    return pairs


def test_a_correction_finds_a_common_scale():
    table = make_table()
    scales = dict.fromkeys(GROUPS, 1.3)
    correction = fit_correction(table, measured_by(table, scales, 0.0, 18))
    assert correction.scales == pytest.approx(dict.fromkeys(PARTS, 1.3), rel=0.02)
    assert correction.spread == pytest.approx(0.01) and correction.networks == 18


def test_a_correction_tells_groups_apart():
    table = make_table()
    correction = fit_correction(table, measured_by(table, {**dict.fromkeys(GROUPS, 1.0), "dense": 2.0}, 2.0, 18))
    assert correction.scale("row") > 1.4 > correction.scale("others")


def test_many_networks_show_what_no_scale_can_tell():
    table = make_table()
    plain = measured_by(table, dict.fromkeys(GROUPS, 1.0), 0.0, 120)
    bends = [0.2 * math.tanh(math.log(figure.median_ms / 0.02)) for _, figure in plain]
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(plain))
    crooked = [
        (network, measurement(figure.median_ms * (1 + bend + off)))
        for (network, figure), bend, off in zip(plain, bends, noise, strict=True)
    ]
    correction = fit_correction(table, crooked[:90])
    assert correction.experience is not None and correction.spread < 0.04
    told = replace(table, correction=correction)
    verdict = compare([(told.predict(network.graph), figure.median_ms) for network, figure in crooked[90:]])
    without = replace(table, correction=replace(correction, experience=None))
    scaled = compare([(without.predict(network.graph), figure.median_ms) for network, figure in crooked[90:]])
    assert verdict["mape"] < 0.7 * scaled["mape"] and verdict["interval_coverage"] >= 0.8


def test_two_networks_are_too_few_for_a_correction():
    table = make_table()
    with pytest.raises(TooNoisy, match="only 2 whole networks"):
        fit_correction(table, measured_by(table, dict.fromkeys(GROUPS, 1.0), 0.0, 2))


def test_validation_of_exact_predictions():
    table = make_table()
    costs = [table.predict(network.graph) for network in random_networks(6)]
    assert compare([(cost, cost.latency_ms) for cost in costs]) == {
        "n": 6,
        "mape": 0.0,
        "median_ape": 0.0,
        "within_5pct": 1.0,
        "within_10pct": 1.0,
        "spearman": 1.0,
        "interval_coverage": 1.0,
    }
    off = compare([(cost, 2 * cost.latency_ms) for cost in costs])
    assert off["mape"] == pytest.approx(50) and off["within_10pct"] == 0


def test_models_are_validated(monkeypatch):
    models = [write_onnx(network.graph) for network in random_networks(3)]
    monkeypatch.setattr("hw_cost.validation.in_young_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr("hw_cost.bench.Protocol", lambda: LENIENT)
    assert validate(make_table(), models, time_limit_s=0.5)["n"] == 3
    monkeypatch.setattr("hw_cost.bench.Protocol", lambda: Protocol(drift=-0.99, max_drift=-0.99, patience=1))
    with pytest.raises(TooNoisy, match="too noisy"):
        validate(make_table(), models, time_limit_s=0.1)


def device(**changes) -> Device:
    return Device.from_json(Device.here().to_json() | changes)


def test_the_nearest_table_agrees_in_what_tells_most():
    rows = make_table().rows
    tables = [
        LatencyTable(device(cpu="A", threads=4), rows),
        LatencyTable(device(cpu="B"), rows),
        LatencyTable(device(cpu="A", runtime="torch"), rows),
    ]
    assert nearest_table(device(cpu="A"), tables).device.cpu == "B", "threads tell more than the processor"
    assert nearest_table(device(cpu="A", threads=4), tables).device.cpu == "A"
    with pytest.raises(ValueError, match="No latency table of the runtime 'tensorrt' is known"):
        nearest_table(device(runtime="tensorrt"), tables)


@pytest.fixture
def foreign(monkeypatch, tmp_path):
    """A shipped table of another machine."""
    table = make_table()
    LatencyTable(device(cpu="Foreign"), table.rows, table.correction, 9.0, None, table.provenance).save(
        tmp_path / "shipped.json"
    )
    monkeypatch.setattr(hw_cost.shipped, "SHIPPED", tmp_path)
    monkeypatch.setattr(hw_cost.shipped, "Protocol", lambda **_: LENIENT)
    monkeypatch.setattr(hw_cost.shipped, "N_ADAPTATION", 3)


def test_an_unknown_machine_adapts_the_nearest_table_and_keeps_it(foreign, tmp_path):
    here = Device.here()
    table, how = table_for(here, cache_dir=tmp_path / "cache", time_limit_s=2)
    assert "adapted from the table of Foreign by 3 networks measured here" in how
    assert table.device.same_machine(here) and table.correction.networks == 3
    again, how_again = table_for(here, cache_dir=tmp_path / "cache", time_limit_s=0)
    assert again.correction.networks == 3 and how_again == how


def test_a_built_table_is_preferred_to_an_adapted_one(foreign, tmp_path):
    cache = tmp_path / "cache"
    table_for(Device.here(), cache_dir=cache, time_limit_s=2)
    make_table().save(cache / "built.json")
    (cache / "broken.json").write_text("{")
    table, how = table_for(Device.here(), cache_dir=cache)
    assert table.provenance["kind"] == "test" and how.startswith("built on this machine")


def test_on_a_busy_machine_foreign_numbers_come_with_a_wide_interval_and_are_said_aloud(foreign, monkeypatch, tmp_path):
    def refuse(*_: object, **__: object) -> LatencyTable:
        raise TooNoisy("too noisy, CV = 0.90")

    monkeypatch.setattr(hw_cost.shipped, "adapt", refuse)
    table, how = table_for(Device.here(), cache_dir=tmp_path / "cache")
    cost = table.predict(random_networks(1)[0].graph)
    assert cost.high_ms > 3 * cost.latency_ms
    assert "another machine (Foreign)" in how and "too noisy, CV = 0.90" in how
    assert not (tmp_path / "cache").exists(), "such a table is not kept"


def test_adapting_keeps_the_rows_and_says_whose_they_are(foreign):
    table = adapt([make_table()], device(cpu="New"), time_limit_s=1)
    assert table.device.cpu == "New" and table.rows == make_table().rows
    assert table.provenance["adapted_from"] == Device.here().to_json() | {
        "load": table.provenance["adapted_from"]["load"]
    }


def test_a_bench_can_be_shared():
    bench = Bench(lambda: None, LENIENT)
    networks = random_networks(2)
    progress = Progress(Device.here())
    list(hw_cost.build.measure_networks(bench, networks, OnnxRuntime(), progress, time.monotonic() + 0.2))
    assert list(progress.figures) == [network.name for network in networks]
