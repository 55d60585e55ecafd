"""Clocks that jump and time zones that change: what the store says of time stays true."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from metaml.history import Cells
from metaml.store import Recorder, RunRecord, Selection, Store, StoreUnavailableError, TaskRecord
from metaml.store.transfer import export
from metaml.trial import Trial

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu"])
def time_zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.sqlite") as store:
        store.add_task(TaskRecord("f", "iris", "binary"))
        store.add_run(RunRecord("r", "f", "toy-1", "roc_auc"))
        yield store


def trial(number: int, *, started: datetime = NOON, seconds: float = 1.0) -> Trial:
    configuration = {"space": "toy-1", "x": number}
    return Trial(number, configuration, "smac", "ok", 0.5, seconds=seconds, started=started.isoformat())


def test_the_last_writing_is_told_in_utc(store, time_zone):
    moment = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()  # an hour that Vienna has twice
    path = Path(store.info()["path"])
    for file in path.parent.iterdir():
        os.utime(file, (moment, moment))
    assert store.info()["last_write"] == "2026-10-25T01:30:00+00:00"


def test_an_export_is_dated_in_utc(store, time_zone, tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    export(store, tmp_path / "out")
    written = datetime.fromisoformat(json.loads((tmp_path / "out" / "store.json").read_text())["written"])
    assert written.utcoffset() == timedelta(0)
    assert before <= written <= datetime.now(UTC)


def test_a_clock_that_goes_back_changes_no_order(store):
    """Runs and trials are in the order of writing, and a history follows by that order and not by the time."""
    cells = Cells(store, Selection("toy-1"))
    for number in range(6):
        start = NOON - timedelta(hours=number) if number % 2 else NOON + timedelta(hours=number)
        run = RunRecord(f"r{number}", "f", "toy-1", "roc_auc", started=start.isoformat())
        store.add_run(run)
        store.add_trial("r", trial(number, started=start))
        assert cells.history().errors.notna().sum().sum() == number + 1
    assert [run.run_id for run in store.runs()] == ["r", *(f"r{number}" for number in range(6))]
    assert [each.number for each in store.trials("r")] == list(range(6))
    assert store.verify() == []


def test_a_store_that_is_away_is_asked_again_by_the_monotonic_clock(store, tmp_path, monkeypatch):
    """The wall clock jumps an hour either way at every look; tries are 20 s of the monotonic clock apart."""
    now, looks, tries = [1000.0], [0], []

    def wall() -> float:
        looks[0] += 1
        return NOON.timestamp() + (-1) ** looks[0] * 3600

    def away(*_: object) -> None:
        tries.append(now[0])
        raise StoreUnavailableError("away")

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", wall)
    monkeypatch.setattr(store, "add_trial", away)
    monkeypatch.setattr(store, "add_runs_of_trials", away)
    recorder = Recorder(store, "r", tmp_path / "spool.jsonl")
    for number in range(100):
        recorder.add(trial(number))
        now[0] += 1
    assert len(tries) == 5 and {b - a for a, b in pairwise(tries)} == {20}


def test_a_negative_duration_is_found(store):
    store.add_trial("r", trial(0, seconds=-3600.0))
    assert store.verify() == ["1 trials of run r have a negative time or budget"]
