"""A search that is killed, interrupted, or asked for the impossible; with real processes and signals."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import psutil
import pytest

import metaml
from metaml.answer import Answer
from metaml.errors import UsageError
from metaml.events import Listener
from metaml.run_folder import RunFolder
from metaml.sentences import notes_on_crashes
from metaml.store import Store
from metaml.trial import Trial
from tests.conftest import mixed_table

METAML = [sys.executable, "-m", "metaml"]


@pytest.fixture(scope="module")
def table_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "members.csv"
    mixed_table(1000).drop(columns="value").to_csv(path, index=False)
    return path


def test_impossible_limit_is_said_plainly_and_the_closest_model_delivered(table_file, device_table, tmp_path):
    arguments = [
        *("search", "--task", table_file, "--target", "label", "--device", device_table, "--max-latency-ms", 1e-6),
        *("--time", "60s", "--trials", 2, "--out", tmp_path / "run", "--no-store", "--json"),
    ]
    ran = subprocess.run([*METAML, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["best"]["latency_ms"]["measured"] > 1e-6
    assert "nothing kept the limit" in ran.stderr
    assert any(trial["status"] == "infeasible" for trial in answer["trials"])


def test_kill_in_the_middle_then_resume(table_file, device_table, tmp_path):
    run, store = tmp_path / "run", tmp_path / "store.sqlite"
    arguments = ["search", "--task", table_file, "--target", "label", "--device", device_table]
    arguments += ["--time", "100s", "--trials", "8", "--out", run, "--store", store]
    process = subprocess.Popen([*METAML, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    finished_lines = 0
    for line in process.stderr:
        finished_lines += line.startswith("trial")
        if finished_lines == 4:
            break
    workers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    run_id = RunFolder(run).request["run_id"]
    with Store.open(store) as opened:
        before = opened.trials(run_id)
    assert len(before) >= 4
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert workers
    assert not alive, "workers outlived the search"

    result = metaml.resume(run, time_limit=100)
    with Store.open(store) as opened:
        after = opened.trials(run_id)
    assert after[: len(before)] == before
    names = [trial.configuration_id for trial in after]
    assert len(set(names)) == len(names)
    assert len({trial.number for trial in after}) == len(after)
    assert sum(trial.status != "infeasible" for trial in after) == 8
    assert metaml.Predictor(result.folder).scores(pd.read_csv(table_file)).shape == (1000, 2)


def test_interrupt_delivers_the_best_so_far(table_file, device_table, tmp_path):
    arguments = ["search", "--task", table_file, "--target", "label", "--device", device_table, "--time", "100s"]
    command = [*METAML, *arguments, "--out", tmp_path / "run", "--no-store"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("trial"):
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 12
    assert (tmp_path / "run" / "model.onnx").exists()


def test_changed_data_are_not_mixed_with_earlier_trials(table_file, device_table, tmp_path):
    changing = tmp_path / "changing.csv"
    changing.write_bytes(table_file.read_bytes())
    options = {"target": "label", "device": device_table, "time_limit": 60, "trials": 1, "store": False}
    metaml.search(changing, out=tmp_path / "run", **options)
    pd.read_csv(changing).iloc[:-20].to_csv(changing, index=False)
    with pytest.raises(UsageError, match="have changed"):
        metaml.resume(tmp_path / "run", time_limit=30)


def test_little_time_still_gives_a_model(table_file, device_table, tmp_path):
    """With so little time the quickest family goes first."""
    result = metaml.search(
        table_file, target="label", device=device_table, time_limit=9, trials=2, store=False, out=tmp_path / "run"
    )
    assert any(trial["configuration"]["family"] == "linear" for trial in result.summary["trials"])
    assert result.model_path.exists()


def test_a_listener_can_stop_a_search(table_file, device_table, tmp_path):
    class Enough(Listener):
        def progress(self, progress):
            self.stop_asked = progress.n_trials >= 2 and progress.best is not None

    listener = Enough()
    result = metaml.search(
        table_file,
        target="label",
        device=device_table,
        time_limit=60,
        store=False,
        out=tmp_path / "r",
        listener=listener,
    )
    assert result.was_interrupted and result.model_path.exists() and result.summary["seconds"] < 50


def test_a_resume_without_time_for_anything_better_keeps_the_model(table_file, device_table, tmp_path):
    asked = {"target": "label", "device": device_table, "time_limit": 40, "trials": 6, "store": None}
    before = metaml.search(table_file, out=tmp_path / "run", **asked)
    model = before.model_path.read_bytes()
    after = metaml.resume(tmp_path / "run", time_limit=5)
    assert after.best["error"] <= before.best["error"]
    if after.best["error"] == before.best["error"]:
        assert after.model_path.read_bytes() == model and after.best["metrics"] == before.best["metrics"]


def test_an_answer_is_replaced_only_by_a_better_one(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "t", {})
    old = {"error": 0.3, "latency_ms": {"measured": 2.0, "judged": 2.0, "limit": 2.5}, "trained_on": "all rows"}
    folder.model.write_bytes(b"old")
    folder.result = {"best": old}
    answer = Answer.of(folder)
    slow = {"measured": 3.0, "judged": 3.0, "limit": 2.5}
    assert answer.is_as_good_as(old) and answer.is_as_good_as(old | {"error": 0.2, "latency_ms": slow})
    assert answer.is_as_good_as(old | {"trained_on": "the training rows of the first split"})
    assert not answer.is_as_good_as(old | {"error": 0.29})
    folder.model.write_bytes(b"new")
    assert answer.restore(folder)["error"] == 0.3 and folder.model.read_bytes() == b"old"
    folder.model.unlink()
    assert Answer.of(folder) is None


def test_a_store_that_stays_locked_costs_a_warning_and_a_tenth_of_the_time(table_file, device_table, tmp_path):
    Store.open(tmp_path / "store.sqlite").close()
    said = []

    class Hears(Listener):
        def message(self, text):
            said.append(text)

    with closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        asked = {"target": "label", "device": device_table, "time_limit": 15, "trials": 2}
        result = metaml.search(
            table_file, store=tmp_path / "store.sqlite", out=tmp_path / "run", listener=Hears(), **asked
        )
    assert any("is locked by another process" in text and "goes on without it" in text for text in said)
    assert result.summary["seconds"] < 28  # it would be 30 for the store alone


def test_what_made_trials_crash_is_said():
    said = ["Traceback\nRuntimeError: no memory", "Traceback\nRuntimeError: no memory\n", "ValueError: odd", ""]
    crashed = [Trial(i, {"x": i}, "smac", "crashed", message=message) for i, message in enumerate(said)]
    timeout = Trial(9, {"x": 9}, "smac", "timeout", message="took too long")
    assert notes_on_crashes([*crashed, timeout]) == ["4 trials crashed, 2 of them with: RuntimeError: no memory"]
    assert notes_on_crashes(crashed[3:]) == ["1 trial crashed: no message"]
    assert notes_on_crashes([timeout]) == []
