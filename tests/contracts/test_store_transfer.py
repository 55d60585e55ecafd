"""Whole stores on the move: nothing is lost, nothing is there twice, nothing foreign gets in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaml.errors import StoreError
from metaml.history import history_from_store
from metaml.store import (
    DeviceRecord,
    LatencyRecord,
    RunRecord,
    Store,
    StoreCorruptError,
    StoreVersionError,
    TaskRecord,
)
from metaml.store.removal import remove
from metaml.store.transfer import backup, export, import_folder, merge
from metaml.trial import Trial

TABLES = ["configurations", "devices", "latencies", "metafeatures", "runs", "tasks", "trials"]


def add_run(store: Store, run: str, task: str, space: str = "toy-1", n: int = 5) -> None:
    store.add_task(TaskRecord(task, f"task {task}", "binary", group="g"))
    store.add_metafeatures(task, pd.Series({"n": 3.0}), "1")
    store.add_device(DeviceRecord("cpu", runtime="onnxruntime", details={"model": "x"}))
    store.add_run(RunRecord(run, task, space, "log_loss", device="cpu", options={"a": [1]}))
    store.add_trials(run, [Trial(i, {"x": i}, "smac", "ok", error=i / 10, metrics={"m": 0.1 + i}) for i in range(n)])
    store.add_trial(run, Trial(n, {"x": n}, "smac", "crashed", message="no"))
    store.add_latency(LatencyRecord(run, Trial(0, {"x": 0}, "", "ok").configuration_id, "cpu", measured_ms=0.5))


@pytest.fixture
def store(store_url):
    with Store.open(store_url) as store:
        add_run(store, "r1", "t1")
        yield store


@pytest.fixture
def other(tmp_path):
    with Store.open(tmp_path / "other.sqlite") as store:
        yield store


def same(a: Store, b: Store) -> bool:
    assert a.info()["counts"] == b.info()["counts"]
    assert a.verify() == b.verify() == []
    assert {r.run_id: r for r in a.runs()} == {r.run_id: r for r in b.runs()}
    assert all(a.trials(run.run_id) == b.trials(run.run_id) for run in a.runs())
    pd.testing.assert_frame_equal(a.metafeatures("1").sort_index(), b.metafeatures("1").sort_index())
    pd.testing.assert_frame_equal(a.tasks().sort_index(), b.tasks().sort_index())
    return True


def test_a_merge_brings_everything_and_again_nothing(store, other):
    add_run(other, "r2", "t2")
    add_run(other, "r3", "t1", space="toy-2")
    assert set(merge(other, store).new) == set(TABLES)
    counts = other.info()["counts"]
    assert merge(other, store).new == dict.fromkeys(TABLES, 0)
    assert other.info()["counts"] == counts
    merge(store, other)
    assert same(store, other)


def test_merging_two_parts_of_one_run_joins_them(store, other):
    merge(other, store)
    store.add_trial("r1", Trial(6, {"x": 6}, "smac", "ok", error=0.1))
    other.add_trial("r1", Trial(7, {"x": 7}, "smac", "ok", error=0.1))
    merge(store, other)
    assert [t.number for t in store.trials("r1")] == list(range(8))


def test_two_runs_of_one_name_are_not_mixed(store, other):
    add_run(other, "r1", "t2")
    before = store.info()["counts"]
    with pytest.raises(StoreError, match="differ in fingerprint"):
        merge(store, other)
    assert store.info()["counts"] == before


def test_a_store_is_not_merged_with_itself(store):
    with pytest.raises(StoreError, match="itself"):
        merge(store, store)


def test_export_and_import_are_the_same_store(store, other, tmp_path):
    rows = export(store, tmp_path / "export")
    assert rows == store.info()["counts"]
    assert import_folder(other, tmp_path / "export").new == rows
    assert same(store, other)
    assert import_folder(other, tmp_path / "export").new == dict.fromkeys(TABLES, 0)


def test_an_export_does_not_replace_anything(store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="exists"):
        export(store, tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be exported"):
        export(store, tmp_path / "file" / "export")


def spoil(folder: Path, how: str) -> None:
    manifest = json.loads((folder / "store.json").read_text())
    trials, configurations = folder / "trials.parquet", folder / "configurations.parquet"
    match how:
        case "no manifest":
            (folder / "store.json").unlink()
        case "manifest is no object":
            (folder / "store.json").write_text("[" * 100_000)
        case "newer format":
            (folder / "store.json").write_text(json.dumps(manifest | {"format": 99}))
        case "missing table":
            trials.unlink()
        case "truncated table":
            trials.write_bytes(trials.read_bytes()[:-100])
        case "missing rows":
            pq.write_table(pq.read_table(trials).slice(1), trials)
        case "missing column":
            pq.write_table(pq.read_table(trials).drop_columns("error"), trials)
        case "unknown status":
            _replace(trials, "status", "'; DROP TABLE runs; --")
        case "foreign configuration":
            _replace(configurations, "configuration", '{"x": 99}')
        case "dangling run":
            _replace(folder / "runs.parquet", "fingerprint", "nowhere")


def _replace(path: Path, column: str, text: str) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array([text] * table.num_rows)), path)


def test_an_export_from_before_learning_curves_is_read(tmp_path):
    with Store.open(":memory:") as source:
        add_run(source, "r1", "t1")
        export(source, tmp_path / "export")
    trials = tmp_path / "export" / "trials.parquet"
    pq.write_table(pq.read_table(trials).drop_columns(["epochs", "curve"]), trials)
    with Store.open(":memory:") as store:
        assert import_folder(store, tmp_path / "export").new["trials"] > 0
        assert {trial.curve for trial in store.trials("r1")} == {()}


@pytest.mark.parametrize(
    "how",
    [
        *("no manifest", "manifest is no object", "newer format", "missing table", "truncated table", "missing rows"),
        *("missing column", "unknown status", "foreign configuration", "dangling run"),
    ],
)
def test_a_damaged_export_changes_nothing(how, tmp_path):
    with Store.open(":memory:") as source:
        add_run(source, "r1", "t1")
        export(source, tmp_path / "export")
    spoil(tmp_path / "export", how)
    with Store.open(":memory:") as store:
        with pytest.raises(StoreVersionError if how == "newer format" else StoreError):
            import_folder(store, tmp_path / "export")
        assert set(store.info()["counts"].values()) == {0}


def test_a_backup_is_the_store_while_it_is_written(tmp_path):
    with Store.open(tmp_path / "store.sqlite") as store:
        add_run(store, "r1", "t1")
        assert backup(store, tmp_path / "new" / "backup.sqlite") > 0
        with Store.open(tmp_path / "new" / "backup.sqlite") as copied:
            assert same(store, copied)
        with pytest.raises(StoreError, match="exists"):
            backup(store, tmp_path / "new" / "backup.sqlite")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["backup.sqlite"]


def test_a_server_has_its_own_backup(postgres, tmp_path):
    with Store.open(postgres.fresh_url()) as store, pytest.raises(StoreError, match="pg_dump"):
        backup(store, tmp_path / "backup.sqlite")


def test_removing_a_run_a_task_or_a_space_takes_what_belongs_to_it(store):
    add_run(store, "r2", "t1", space="toy-2", n=2)
    add_run(store, "r3", "t2", n=7)
    gone = remove(store, spaces=["toy-2"], run_ids=["unknown"])
    assert gone == {"runs": 1, "trials": 3, "tasks": 0, "metafeatures": 0, "configurations": 3}
    gone = remove(store, fingerprints=["t2"])
    assert gone == {"runs": 1, "trials": 8, "tasks": 1, "metafeatures": 1, "configurations": 2}
    assert remove(store, run_ids=["r1"])["trials"] == 6
    assert store.info()["counts"] | {"trials": 0, "configurations": 0, "latencies": 0} == store.info()["counts"]
    assert store.verify() == []


def test_a_followed_history_notices_a_removal(store):
    from metaml.history import Cells
    from metaml.store import Selection

    cells = Cells(store, Selection("toy-1"))
    assert cells.history().errors.shape == (1, 6)
    remove(store, run_ids=["r1"])
    add_run(store, "r9", "t9")
    assert cells.history().errors.index.tolist() == ["t9"]
    assert history_from_store(store, space="toy-1").errors.shape == (1, 6)


def test_reports_are_plain_values(store, other):
    assert json.dumps(dataclasses.asdict(merge(other, store)))
    with pytest.raises(StoreCorruptError, match="no export"):
        import_folder(other, Path("/nonexistent"))
