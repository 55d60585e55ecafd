"""What every store must do, whatever database is behind it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from metaml.errors import StoreError
from metaml.store import DeviceRecord, LatencyRecord, RunRecord, Store, TaskRecord
from metaml.store.errors import StoreReadOnlyError
from metaml.trial import WORST_ERROR, Trial

TASK = TaskRecord(
    "f1", "iris", "multiclass", n_rows=150, n_features=4, n_classes=3, group="iris", source="sklearn:iris"
)
RUN = RunRecord(
    "r1", "f1", "toy-1", "log_loss", device="cpu-4", seed=7, options={"time": "60s"}, host="h", versions={"numpy": "2"}
)


def point(x: int) -> dict[str, object]:
    return {"space": "toy-1", "family": "mlp", "x": x}


@pytest.fixture
def filled(store_url):
    """A store with one task and one run."""
    with Store.open(store_url) as store:
        store.add_task(TASK)
        store.add_run(RUN)
        yield store


def test_a_new_store_is_empty_and_sound(store_url):
    with Store.open(store_url) as store:
        assert set(store.info()["counts"].values()) == {0}
        assert store.verify() == []
        assert store.runs() == [] and store.trials("none") == [] and store.run("none") is None
        assert store.results(space="toy-1").columns.tolist() == [
            *("fingerprint", "configuration_id", "error", "seconds", "budget")
        ]


def test_a_trial_comes_back_as_it_was(filled):
    trial = Trial(
        number=3,
        configuration=point(1) | {"rate": 1e-3, "act": "relu", "skip": None, "on": True},
        source="knn",
        status="ok",
        error=0.25,
        budget=0.5,
        seed=9,
        metrics={"log_loss": 0.1 + 0.2, "r2": math.inf},
        seconds=1.5,
        cpu_seconds=2.5,
        latency_ms=0.7,
        n_parameters=10,
        flops=2**40,
        model_bytes=44,
        message="étrange\nline",
        started="2026-01-01T00:00:00+00:00",
    )
    filled.add_trial("r1", trial)
    assert filled.trials("r1") == [trial]


def test_a_run_comes_back_as_it_was(filled):
    assert filled.run("r1") == RUN
    assert filled.runs() == [RUN]


def test_adding_twice_does_nothing(filled):
    filled.add_task(TaskRecord("f1", "another name", "binary"))
    filled.add_run(RunRecord("r1", "f1", "toy-2", "auc"))
    filled.add_trial("r1", Trial(0, point(1), "smac", "ok", error=0.5))
    filled.add_trial("r1", Trial(0, point(2), "smac", "ok", error=0.9))
    filled.add_trials("r1", [Trial(n, point(3), "smac", "ok", error=0.7) for n in (0, 1, 1)])
    assert filled.tasks().loc["f1", "name"] == "iris"
    assert filled.run("r1") == RUN
    assert [(t.number, t.error) for t in filled.trials("r1")] == [(0, 0.5), (1, 0.7)]


def test_all_that_is_kept_of_a_task_comes_back_by_version(filled):
    assert filled.metafeatures_of("f1") == {}
    filled.add_metafeatures("f1", pd.Series({"b": 1.5, "a": math.nan}), "1")
    filled.add_metafeatures("f1", pd.Series({"words": 2.0}), "text-1")
    kept = filled.metafeatures_of("f1")
    assert list(kept) == ["1", "text-1"]
    pd.testing.assert_series_equal(kept["1"], pd.Series({"b": 1.5, "a": math.nan}))
    assert filled.metafeatures_of("none") == {}


def test_trials_come_in_the_order_of_their_numbers(filled):
    filled.add_trials("r1", [Trial(n, point(n), "smac", "ok", error=0.5) for n in (4, 0, 2)])
    assert [t.number for t in filled.trials("r1")] == [0, 2, 4]


def test_numpy_numbers_are_numbers(filled):
    values = {"error": np.float32(0.5), "seconds": np.float64(1.5), "n_parameters": np.int64(3), "seed": np.int32(2)}
    filled.add_trial("r1", Trial(np.int64(0), point(0), "smac", "ok", metrics={"a": np.float32(0.5)}, **values))
    (trial,) = filled.trials("r1")
    assert (trial.error, trial.seconds, trial.n_parameters, trial.seed, trial.metrics) == (0.5, 1.5, 3, 2, {"a": 0.5})


def test_results_are_full_budget_trials_and_failures_count_as_worst(filled):
    statuses = ["ok", "infeasible", "pruned", "crashed", "diverged", "timeout", "memout"]
    filled.add_trials(
        "r1", [Trial(n, point(n), "smac", s, error=0.1 if s == "ok" else None) for n, s in enumerate(statuses)]
    )
    filled.add_trial("r1", Trial(7, point(7), "smac", "ok", error=0.2, budget=0.3))
    results = filled.results(space="toy-1")
    assert results["error"].tolist() == [0.1, *[WORST_ERROR] * 3]
    assert filled.results(space="toy-1", budget=0.3)["error"].tolist() == [0.1, *[WORST_ERROR] * 3, 0.2]


def test_results_are_of_one_space_and_metric_and_leave_out_tasks(filled):
    filled.add_task(TaskRecord("f2", "wine", "multiclass"))
    filled.add_run(RunRecord("r2", "f2", "toy-1", "roc_auc"))
    filled.add_run(RunRecord("r3", "f2", "other-1", "roc_auc"))
    filled.add_trial("r1", Trial(0, point(0), "smac", "ok", error=0.1))
    filled.add_trial("r2", Trial(0, point(0), "smac", "ok", error=0.2))
    filled.add_trial("r3", Trial(0, {"family": "mlp", "x": 0}, "smac", "ok", error=0.3))
    assert filled.results(space="toy-1")["fingerprint"].tolist() == ["f1", "f2"]
    assert filled.results(space="toy-1", exclude=["f1"])["error"].tolist() == [0.2]
    assert filled.results(space="toy-1", metric="log_loss")["error"].tolist() == [0.1]
    assert filled.results(space="other-1")["error"].tolist() == [0.3]


def test_configurations_by_id_and_by_space(filled):
    filled.add_trials("r1", [Trial(n, point(n), "smac", "ok", error=0.5) for n in range(3)])
    known = filled.configurations()
    assert list(known.values()) == [point(0), point(1), point(2)]
    some = next(iter(known))
    assert filled.configurations([some, "unknown"]) == {some: point(0)}
    assert filled.configurations(space="other") == {}


def test_metafeatures_keep_their_version_and_undefined_values(filled):
    filled.add_metafeatures("f1", pd.Series({"n": 150.0, "skew": math.nan}), "1")
    filled.add_metafeatures("f1", pd.Series({"n": 151.0}), "2")
    frame = filled.metafeatures("1")
    assert frame.loc["f1", "n"] == 150.0 and math.isnan(frame.loc["f1", "skew"])
    assert filled.metafeatures("2").columns.tolist() == ["n"]
    assert filled.metafeatures("3").empty


def test_devices_and_latencies(filled):
    filled.add_trial("r1", Trial(0, point(0), "smac", "ok", error=0.5))
    (known,) = filled.configurations()
    filled.add_device(DeviceRecord("cpu-4", runtime="onnxruntime", threads=4, details={"model": "x"}))
    latency = LatencyRecord("r1", known, "cpu-4", predicted_ms=0.2, measured_ms=0.3)
    for _ in range(2):
        filled.add_latency(latency)
    assert filled.latencies() == filled.latencies("cpu-4") == [latency]
    assert filled.latencies("other") == []
    assert filled.devices() == {
        "cpu-4": DeviceRecord("cpu-4", runtime="onnxruntime", threads=4, details={"model": "x"})
    }


@pytest.mark.parametrize("what", ["task", "run", "metafeatures", "configuration"])
def test_what_must_come_first_is_named(filled, what):
    calls = {
        "task": lambda: filled.add_run(RunRecord("r9", "f9", "s", "m")),
        "run": lambda: filled.add_trial("r9", Trial(0, point(0), "smac", "ok", error=0.5)),
        "metafeatures": lambda: filled.add_metafeatures("f9", pd.Series({"n": 1.0}), "1"),
        "configuration": lambda: filled.add_latency(LatencyRecord("r1", "0" * 16, "cpu")),
    }
    with pytest.raises(StoreError, match="has no"):
        calls[what]()


def test_a_failing_bulk_write_leaves_nothing(filled):
    good, bad = Trial(0, point(0), "smac", "ok", error=0.5), Trial(1, {"x": math.nan}, "smac", "ok", error=0.5)
    with pytest.raises((StoreError, ValueError)):
        filled.add_trials("r1", [good, bad])
    assert filled.trials("r1") == [] and filled.configurations() == {}


def test_a_store_opened_read_only_refuses_to_write(filled, store_url):
    with Store.open(store_url, read_only=True) as store:
        assert store.run("r1") == RUN
        with pytest.raises(StoreReadOnlyError):
            store.add_task(TaskRecord("f2", "wine", "binary"))


@pytest.mark.parametrize("name", ["'; DROP TABLE tasks; --", "../../etc/passwd", "a\0b", "\ud800", "💥" * 300, '"\\%'])
def test_names_are_only_text(filled, name):
    filled.add_task(TaskRecord("f2", name, "binary", source=name, group=name))
    filled.add_trial("r1", Trial(0, point(0), "smac", "crashed", message=name))
    assert len(filled.tasks()) == 2
    assert filled.verify() == []
    try:
        filled.add_run(RunRecord(name, "f2", "toy-1", "m", host=name))
    except StoreError:
        assert "\0" in name or "\ud800" in name
    else:
        assert filled.run(name).run_id == name
