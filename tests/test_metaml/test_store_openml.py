"""Evaluations of OpenML's users in the store, from a small OpenML on the loopback."""

import json

import openml
import pytest
from click.testing import CliRunner

import metaml.data.openml as door
from metaml.cli import cli
from metaml.data import patience
from metaml.errors import DataError, UsageError
from metaml.history import history_from_store
from metaml.store import Store
from metaml.store.openml_results import import_openml
from tests.openml_server import N_ROWS, RUNS, fake_openml


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path / "cache")
    with fake_openml() as server:
        monkeypatch.setattr(openml.config, "server", f"{server.base}/api/v1/xml")
        yield server


@pytest.fixture
def store():
    with Store.open(":memory:") as store:
        yield store


DROPPED = {"the configuration is not described": 1, "not run": 1}


def test_a_task(server, store):
    report = import_openml(store, tasks=[31])
    assert (report.space, report.tasks, report.configurations, report.trials) == ("openml", 1, 2, 3)
    assert (report.dropped, report.tasks_without_metafeatures, report.notes) == (DROPPED, 0, ())
    history = history_from_store(store, space="openml", metafeatures_version="openml")
    assert list(history.configurations.values()) == [
        {"space": "openml", "family": "weka.J48", "flow": "weka.J48(2)", "weka.J48(2)_C": 0.25},
        {"space": "openml", "family": "weka.J48", "flow": "weka.J48(2)", "weka.J48(2)_C": 0.5},
    ]
    assert history.errors.loc["openml:31"].tolist() == pytest.approx([0.08, 0.2])  # mean of 1 - 0.9 and 1 - 0.94
    assert history.metafeatures.loc["openml:31", "NumberOfInstances"] == N_ROWS
    task = store.tasks().loc["openml:31"]
    assert task[["name", "type", "n_rows", "n_classes", "group", "source"]].tolist() == [
        *("toy-61", "binary", N_ROWS, 2, "toy-61", "openml:31")
    ]
    assert [(trial.number, trial.seconds) for trial in store.trials(store.runs()[0].run_id)] == [
        *((101, 1.5), (102, 0.0), (103, 2.5))
    ]
    assert store.verify() == []


@pytest.mark.parametrize("study", [7, 8])
def test_a_study_of_tasks_and_one_of_runs(server, store, study):
    report = import_openml(store, studies=[study])
    assert (report.tasks, report.trials, report.dropped) == (2, 4, DROPPED)


def test_what_is_there_already_is_passed_over(server, store):
    assert import_openml(store, tasks=[31], limit=2).trials == 2
    report = import_openml(store, tasks=[31, 32], studies=[7])
    assert (report.trials, report.tasks) == (2, 2)
    assert import_openml(store, studies=[8]).trials == 0
    assert store.info()["counts"]["trials"] == 4


def test_a_limit_is_said(server, store):
    (note,) = import_openml(store, tasks=[31], limit=2).notes
    assert note == "Of task 31 only the first evaluations were taken: --limit takes more."


def test_what_cannot_be_asked_for(server, store):
    with pytest.raises(UsageError, match="--task or --study"):
        import_openml(store)
    with pytest.raises(UsageError, match="predictive_accuracy, area_under"):
        import_openml(store, tasks=[31], measure="beauty")
    with pytest.raises(DataError, match='no evaluations by "kappa"'):
        import_openml(store, tasks=[31], measure="kappa")
    with pytest.raises(DataError, match="Unknown study"):
        import_openml(store, studies=[9])
    assert set(store.info()["counts"].values()) == {0}


@pytest.mark.parametrize("path", ["evaluation/list", "setup/list", "data/list", "study/7"])
@pytest.mark.parametrize("how", ["silent", 500, "short"])
def test_a_server_that_fails_changes_nothing(server, store, path, how, monkeypatch):
    monkeypatch.setattr(door, "LISTING_TIMEOUT_S", 0.3)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    server.faults[path] = (how, 99)
    with pytest.raises(DataError) as caught:
        import_openml(store, studies=[7])
    assert str(caught.value).startswith("The list of OpenML's evaluations") and "\n" not in str(caught.value)
    assert set(store.info()["counts"].values()) == {0}


def run(*arguments: str):
    return CliRunner().invoke(cli, ["store", "import", *arguments])


def test_the_command(server):
    result = run("openml", "--task", "31", "--study", "7", "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)["imported"]
    assert (report["space"], report["trials"], report["dropped"]) == ("openml", len(RUNS) - 2, DROPPED)
    assert "not run 1" in run("openml", "--task", "31").output


def test_the_command_tells_folders_from_openml(tmp_path):
    for arguments in (["nowhere"], [str(tmp_path), "--task", "31"]):
        assert run(*arguments).exit_code == 2
    assert isinstance(run("openml").exception, UsageError)
