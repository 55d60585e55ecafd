"""OpenML against a small server on the loopback: what it has, what it keeps, and every way in which it fails."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import openml
import pytest
from click.testing import CliRunner

import metaml.data.openml as door
from metaml.cli import cli
from metaml.context import prepare
from metaml.data import load_task, patience
from metaml.errors import DataError
from metaml.latency import open_device
from metaml.request import SearchRequest
from tests.openml_server import N_FOLDS, N_ROWS, fake_openml, table


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server(cache, monkeypatch):
    """A server, an empty cache, and short pauses between tries."""
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(openml.config, "_root_cache_directory", cache)
    with fake_openml() as server:
        monkeypatch.setattr(openml.config, "server", f"{server.base}/api/v1/xml")
        yield server


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(door, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)


def cached(cache: Path, pattern: str) -> Path:
    (path,) = cache.rglob(pattern)
    return path


# -- what OpenML has ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["openml:31", "openml:t31", "openml:task/31"])
def test_a_task_has_its_own_target_and_splits(server, source):
    task = load_task(source)
    assert (task.name, task.type, task.target, task.source) == ("toy-61", "binary", "class", source)
    assert [column.name for column in task.columns] == ["x", "colour", "value"]  # neither row number nor ignored
    assert task.X["x"].tolist() == table()["x"].tolist()
    assert set(task.X["colour"].cat.categories) == {"red", "dark blue"} and task.X["colour"].isna().sum() == 9
    for fold, split in enumerate(task.splits):
        assert split.valid.tolist() == list(range(fold, N_ROWS, N_FOLDS))
        assert sorted([*split.train, *split.valid]) == list(range(N_ROWS))


def test_a_regression_in_parquet(server):
    task = load_task("openml:32")
    assert (task.type, task.target, len(task.splits)) == ("regression", "value", N_FOLDS)
    np.testing.assert_allclose(task.y, table()["value"])
    assert any("/datasets/62" in path for path in server.asked)
    assert not any("download" in path for path in server.asked)


@pytest.mark.parametrize("source", ["openml:d61", "openml:data/61"])
def test_a_dataset_has_its_usual_target_and_no_splits(server, source):
    task = load_task(source)
    assert (task.target, task.splits) == ("class", ())
    assert task.fingerprint == load_task("openml:31").fingerprint


def test_another_target_has_no_splits_of_its_own(server):
    task = load_task("openml:31", "value")
    assert (task.type, task.splits) == ("regression", ())


def test_a_search_uses_the_splits_of_the_task(server, device_table):
    task = load_task("openml:31")
    context = prepare(SearchRequest(warm_start="cold"), task, None, open_device(device_table))
    assert context.splits == task.splits


def test_the_command_line_takes_a_task(server):
    result = CliRunner().invoke(cli, ["metafeatures", "--task", "openml:31", "--json"])
    assert result.exit_code == 0, result.output


# -- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["openml:31", "openml:32", "openml:d61"])
def test_what_was_loaded_once_needs_no_network(server, source):
    first = load_task(source)
    server.asked.clear()
    server.faults["/"] = ("silent", 99)
    again = load_task(source)
    assert again.fingerprint == first.fingerprint and len(again.splits) == len(first.splits)
    assert server.asked == []


@pytest.mark.parametrize("name", ["task.xml", "description.xml", "features.xml", "dataset.arff", "datasplits.arff"])
@pytest.mark.parametrize("content", [None, b"\x80 not this"])
def test_a_damaged_cache_is_built_again(server, cache, name, content):
    first = load_task("openml:31")
    path = cached(cache, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    again = load_task("openml:31")
    assert again.fingerprint == first.fingerprint and len(again.splits) == N_FOLDS
    assert path.read_bytes() != b"\x80 not this"


def test_a_damaged_parquet_file_is_replaced(server, cache):
    first = load_task("openml:32")
    path = cached(cache, "*.pq")
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_allclose(load_task("openml:32").y, first.y)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_damaged_answer_is_not_kept(server, impatient):
    server.faults["/features"] = ("short", 99)
    with pytest.raises(DataError):
        load_task("openml:31")
    server.faults.clear()
    assert len(load_task("openml:31").splits) == N_FOLDS


def test_pickles_in_the_cache_are_never_read(server, cache, tmp_path):
    load_task("openml:31")
    for name in ("dataset.arff", "features.xml", "datasplits.arff"):
        path = cached(cache, name)
        for pickled in (path.with_suffix(".pkl.py3"), path.with_name(path.name + ".pkl")):
            pickled.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    load_task("openml:31")
    assert not (tmp_path / "boom").exists()


def test_a_cache_that_must_not_be_written_to(server, cache, monkeypatch):
    first = load_task("openml:31")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setattr(door, "_is_writable", lambda _: False)
    server.asked.clear()
    assert load_task("openml:31").fingerprint == first.fingerprint
    assert server.asked == []
    load_task("openml:32")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert openml.config._root_cache_directory == cache


# -- how it fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["iris", "run/31", "31/", "-1", ""])
def test_no_source(identifier):
    with pytest.raises(DataError, match="write openml:ID of a task, or openml:dID"):
        load_task(f"openml:{identifier}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("openml:36", "task 36 does not exist"),
        ("openml:d1", "dataset 1 does not exist"),
        ("openml:33", "task 33 is of type Clustering"),
        ("openml:34", "task 34 is on a dataset that OpenML has removed"),
        ("openml:35", "Survival Analysis not supported"),
    ],
)
def test_what_is_no_task_to_learn(server, source, message):
    with pytest.raises(DataError, match=message) as caught:
        load_task(source)
    assert "\n" not in str(caught.value)


FAILURES = [
    (404, "the server refuses \\(HTTP 404\\)"),
    (412, "the server refuses \\(HTTP 412\\)"),
    (429, "the server asks for fewer questions \\(HTTP 429\\)"),
    (500, "the server fails \\(HTTP 500\\)"),
    (503, "the server fails \\(HTTP 503\\)"),
    ("silent", "the server does not answer"),
    ("page", "a web page came instead of data"),
    ("busy", "Database connection error"),
    ("cut", "arrives damaged"),
    ("short", "cannot be loaded|arrives damaged"),
]


@pytest.mark.parametrize(("how", "message"), FAILURES)
def test_a_server_that_keeps_failing(server, impatient, how, message):
    check_failure(server, "/task/31", how, message)


@pytest.mark.parametrize("path", ["/data/61", "/features/61", "/data/v1/download", "/splits"])
@pytest.mark.parametrize(("how", "message"), [FAILURES[3], FAILURES[5], FAILURES[9]])
def test_any_file_may_fail(server, impatient, path, how, message):
    check_failure(server, path, how, message)


def check_failure(server, path, how, message):
    server.faults[path] = (how, 99)
    started = time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        load_task("openml:31")
    assert str(caught.value).startswith("OpenML task 31 cannot be") and "\n" not in str(caught.value)
    assert time.monotonic() - started < 5  # of the 0.2 s that are allowed here; the machine may be slow


@pytest.mark.parametrize("how", [429, 500, 503, "busy", "cut", "damaged"])
def test_what_fails_for_a_moment_is_asked_again(server, how):
    server.faults["/task/31" if how == "busy" else "/data/v1/download"] = (how, 2)
    assert len(load_task("openml:31").splits) == N_FOLDS


@pytest.mark.parametrize("how", [404, 500, "silent", "page", "damaged", "cut"])
def test_without_parquet_there_is_arff(server, impatient, how):
    server.faults["/datasets/62"] = (how, 99)
    np.testing.assert_allclose(load_task("openml:32").y, table()["value"])


def test_no_server_at_all(cache, monkeypatch):
    monkeypatch.setattr(openml.config, "_root_cache_directory", cache)
    monkeypatch.setattr(openml.config, "server", "http://127.0.0.1:9/api/v1/xml")
    monkeypatch.setattr(openml.config, "apikey", "secret")
    with pytest.raises(DataError, match="the server does not answer: check the network or use a file") as caught:
        load_task("openml:31")
    assert "secret" not in str(caught.value)


def test_patience_ends(monkeypatch):
    """Tries begin at 0, 1, 3, 7 and 15 s: one at 31 s could end after the 30 s that are allowed."""
    now, tries = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def fail() -> None:
        tries.append(now[0])
        raise patience.RefusedError(503)

    with pytest.raises(patience.RefusedError):
        patience.Patience(lambda _: True, 10.0).call(fail)
    assert tries == [0, 1, 3, 7, 15]
