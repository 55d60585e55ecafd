"""What only a server can do: go away, refuse, be shared."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaml.store import RunRecord, Store, StoreMissingError, StoreReadOnlyError, StoreUnavailableError, TaskRecord
from metaml.store.spool import Recorder
from metaml.trial import Trial

ROOT = Path(__file__).parents[2]


def trial(number: int) -> Trial:
    return Trial(number, {"x": number}, "smac", "ok", error=0.5)


@pytest.fixture
def url(postgres):
    url = postgres.fresh_url()
    with Store.open(url) as store:
        store.add_task(TaskRecord("f", "iris", "multiclass"))
        store.add_run(RunRecord("r", "f", "toy-1", "log_loss"))
    return url


def test_the_password_is_never_shown(url, caplog):
    with caplog.at_level(logging.DEBUG), Store.open(f"{url}&password=hush") as store:
        store.add_trial("r", trial(0))
        assert "hush" not in f"{store!r} {store.url} {store.engine!r} {store.location!r} {store.info()}"
    assert "hush" not in caplog.text


def test_a_server_that_is_not_there(url, postgres, tmp_path):
    away = url.replace(str(postgres.folder), str(tmp_path))
    with pytest.raises(StoreUnavailableError, match="does not answer") as caught:
        Store.open(away)
    assert "hush" not in str(caught.value)


def test_a_database_without_a_store(postgres):
    with pytest.raises(StoreMissingError, match="no store in"):
        Store.open(postgres.fresh_url(), create=False)


def test_a_database_that_does_not_exist(postgres):
    with pytest.raises(StoreMissingError, match="createdb"):
        Store.open(postgres.url("nobody_made_it"))


def test_a_user_without_rights(url, postgres):
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    with Store.open(url.replace("metaml:hush@", "guest@")) as store:
        assert store.trials("r") == []
        with pytest.raises(StoreReadOnlyError, match="cannot be written"):
            store.add_trial("r", trial(0))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP OWNED BY guest")


def test_trials_wait_while_the_server_is_away(url, postgres, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("metaml.store.spool.RETRY_SECONDS", 0.0)
    spool = tmp_path / "run" / "spool.jsonl"
    with Store.open(url) as store, Recorder(store, "r", spool) as recorder:
        recorder.add(trial(0))
        assert not spool.exists()
        postgres.control("stop", "-m", "immediate")
        try:
            recorder.add(trial(1))
            recorder.add(trial(2))
        finally:
            postgres.control("start")
        assert len(spool.read_text().splitlines()) == 2
        assert "wait in" in caplog.text and "hush" not in caplog.text
        recorder.add(trial(3))
        assert not spool.exists()
        assert [t.number for t in store.trials("r")] == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [2, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_processes_write_into_one_store(postgres, n):
    program = str(ROOT / "tests" / "assets" / "store_writers.py")
    command = [sys.executable, program, "crowd", postgres.fresh_url(), "4" if n < 10 else "8", str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["median_ms"] > 0
