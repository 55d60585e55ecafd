"""The spool: nothing is lost between a store that fails and one that is back."""

from __future__ import annotations

import math

import pytest

from metaml.errors import StoreError
from metaml.store import RunRecord, Store, StoreFullError, TaskRecord
from metaml.store.spool import Recorder, Spool
from metaml.trial import Trial


def trial(number: int) -> Trial:
    return Trial(number, {"x": number}, "smac", "ok", error=0.5, metrics={"r2": -math.inf}, message="é\n")


@pytest.fixture
def store():
    with Store.open(":memory:") as store:
        store.add_task(TaskRecord("f", "iris", "multiclass"))
        store.add_run(RunRecord("r", "f", "toy-1", "log_loss"))
        yield store


def test_replaying_twice_is_replaying_once(store, tmp_path):
    spool = Spool(tmp_path / "spool.jsonl")
    for number in range(3):
        spool.add("r", trial(number))
    content = spool.path.read_bytes()
    assert spool.replay(store) == 3
    spool.path.write_bytes(content)
    assert spool.replay(store) == 3
    assert store.trials("r") == [trial(n) for n in range(3)]
    assert spool.replay(store) == 0


def test_a_line_cut_short_is_passed_over(store, tmp_path):
    spool = Spool(tmp_path / "spool.jsonl")
    for number in range(3):
        spool.add("r", trial(number))
    spool.path.write_bytes(spool.path.read_bytes()[:-20])
    assert spool.replay(store) == 2


def test_a_full_store_is_tried_again_later(store, tmp_path, monkeypatch):
    recorder, add = Recorder(store, "r", tmp_path / "spool.jsonl"), store.add_runs_of_trials

    def full(_trials):
        msg = "full"
        raise StoreFullError(msg)

    monkeypatch.setattr(store, "add_runs_of_trials", full)
    for number in range(3):
        recorder.add(trial(number))
    monkeypatch.setattr(store, "add_runs_of_trials", add)
    assert recorder.flush()
    assert [t.number for t in store.trials("r")] == [0, 1, 2]


def test_an_unknown_run_is_an_error_and_not_a_wait(store, tmp_path):
    with pytest.raises(StoreError, match="has no run"):
        Recorder(store, "other", tmp_path / "spool.jsonl").add(trial(0))


def test_a_spool_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="neither in the store nor in"):
        Spool(tmp_path / "file" / "spool.jsonl").add("r", trial(0))
