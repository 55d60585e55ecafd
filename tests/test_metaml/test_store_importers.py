"""Other people's results: what enters the store, what is left out, and that the report says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metaml.errors import StoreError
from metaml.history import history_from_store
from metaml.store import Store
from metaml.store.importers import import_results
from metaml.trial import WORST_ERROR

DATA = Path(os.environ.get("METAML_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "meta"

ERRORS = """task,a,b,c
t1,0.1,,0.3
t2,0.4,0.5,inf
t2,0.9,0.9,0.9
"""
RUNS = """@RELATION runs
@ATTRIBUTE instance_id STRING
@ATTRIBUTE repetition NUMERIC
@ATTRIBUTE algorithm STRING
@ATTRIBUTE accuracy NUMERIC
@ATTRIBUTE runstatus {ok, timeout, memout, not_applicable, crash, other}
@DATA
t1,1.0,1,0.75,ok
t1,2.0,1,0.25,ok
t1,1.0,2,?,not_applicable
t2,1.0,1,?,timeout
t2,1.0,3,0.5,ok
"""
FEATURES = """@RELATION features
@ATTRIBUTE instance_id STRING
@ATTRIBUTE repetition NUMERIC
@ATTRIBUTE NumberOfClasses NUMERIC
@DATA
t1,1.0,2
t1,2.0,2
"""


@pytest.fixture
def store():
    with Store.open(":memory:") as store:
        yield store


@pytest.fixture
def plain(tmp_path) -> Path:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "errors.csv").write_text(ERRORS)
    (folder / "configurations.csv").write_text("name,algorithm,rate,depth\na,mlp,0.1,\nb,mlp,,3\n")
    (folder / "metafeatures.csv").write_text("task,n\nt1,10\n")
    (folder / "tasks.csv").write_text("task,type,n_rows,group\nt1,binary,10,g\n")
    return folder


@pytest.fixture
def curves(tmp_path) -> Path:
    folder = tmp_path / "curves"
    folder.mkdir()
    points = [
        "t1,1,0,0.9,0",
        "t1,1,10,0.5,3",
        "t1,1,50,0.2,15",
        "t1,1,50,0.3,15",
        "t1,2,10,0.6,2",
        "t1,2,50,,9",
        "t2,3,50,0.1,8",
    ]
    (folder / "curves.csv").write_text("\n".join(["task,configuration,budget,error,seconds", *points]))
    (folder / "configurations.csv").write_text("name,units\n1,64\n2,128\n")
    (folder / "tasks.csv").write_text("task,n_rows\nt1,10\n")
    return folder


@pytest.fixture
def aslib(tmp_path) -> Path:
    folder = tmp_path / "scenario"
    folder.mkdir()
    (folder / "algorithm_runs.arff").write_text(RUNS)
    (folder / "feature_values.arff").write_text(FEATURES)
    (folder / "description.txt").write_text("scenario_id: toy\nmaximize:\n- true\n")
    (folder / "configurations.csv").write_text("idx,classifier:__choice__,rate\n1,mlp,0.1\n2,svm,\n")
    return folder


def test_a_matrix_and_what_of_it_is_left_out(store, plain):
    (report,) = import_results(store, plain)
    assert (report.tasks, report.configurations, report.trials, report.tasks_without_metafeatures) == (2, 2, 3, 1)
    dropped = {"the task is there twice": 3, "not run": 1, "the configuration is not described": 2}
    assert report.dropped == dropped
    history = history_from_store(store, space="plain", metafeatures_version="plain")
    assert history.errors.loc["plain:t1"].tolist()[0] == 0.1 and history.errors.isna().sum().sum() == 1
    assert list(history.configurations.values()) == [
        {"space": "plain", "family": "mlp", "algorithm": "mlp", "rate": 0.1},
        {"space": "plain", "family": "mlp", "algorithm": "mlp", "depth": 3.0},
    ]
    assert history.metafeatures["n"].tolist()[0] == 10.0
    assert store.tasks().loc["plain:t1", ["type", "n_rows", "group"]].tolist() == ["binary", 10, "g"]
    assert store.verify() == []


def test_importing_twice_is_importing_once(store, plain):
    import_results(store, plain)
    counts = store.info()["counts"]
    assert import_results(store, plain)[0].trials == 0
    assert store.info()["counts"] == counts


def test_a_scenario_of_aslib(store, aslib):
    (report,) = import_results(store, aslib)
    assert (report.space, report.tasks, report.trials) == ("toy:scenario", 2, 3)
    assert report.dropped == {"not applicable": 1, "the configuration is not described": 1}
    history = history_from_store(store, space="toy:scenario", metafeatures_version="toy")
    assert history.errors.iloc[:, 0].tolist() == [0.5, WORST_ERROR]  # mean of 1 - 0.75 and 1 - 0.25; a timeout
    assert store.tasks()["type"].tolist() == ["binary", "multiclass"]


def test_learning_curves(store, curves):
    (report,) = import_results(store, curves)
    assert (report.space, report.tasks, report.trials) == ("curves", 1, 3)
    assert report.dropped == {
        "no budget above 0": 1,
        "the point is there twice": 1,
        "not run": 1,
        "the configuration is not described": 1,
    }
    trials = store.trials(store.runs()[0].run_id)
    assert [(trial.configuration["units"], trial.budget, trial.error, trial.seconds) for trial in trials] == [
        (64, 0.2, 0.5, 3.0),
        (64, 1.0, 0.2, 15.0),
        (128, 0.2, 0.6, 2.0),
    ]
    full = history_from_store(store, space="curves")
    assert full.errors.loc["curves:t1"].dropna().tolist() == [0.2]  # only points at the full budget are results
    assert set(store.results(space="curves", budget=0.1)["error"]) == {0.5, 0.2, 0.6}
    assert import_results(store, curves)[0].trials == 0 and store.verify() == []


def test_imported_spaces_do_not_mix(store, plain, aslib):
    import_results(store, plain)
    import_results(store, aslib)
    assert set(history_from_store(store, space="plain").errors.index) == {"plain:t1", "plain:t2"}


def test_a_folder_without_results_says_what_must_be_there(store, tmp_path):
    with pytest.raises(StoreError, match=r"errors\.csv"):
        import_results(store, tmp_path)


@pytest.mark.parametrize("spoiled", ["algorithm_runs.arff", "description.txt", "configurations.csv"])
def test_damaged_files_change_nothing(store, aslib, spoiled):
    content = "\0\1 no such thing" if spoiled.endswith("arff") else ""
    (aslib / spoiled).unlink() if spoiled == "description.txt" else (aslib / spoiled).write_text(content)
    with pytest.raises(StoreError, match="cannot be read"):
        import_results(store, aslib)
    assert set(store.info()["counts"].values()) == {0}


REAL = {
    "autosklearn_metalearning/roc_auc_binary.classification_dense": (125, 119, 125),
    "aslib_openml_weka_2017": (105, 30, 3150),
}


@pytest.mark.parametrize("name", REAL)
def test_real_scenarios(store, name):
    if not (DATA / name).exists():
        pytest.skip(f"no results in {DATA / name} (set METAML_DATA)")
    (report,) = import_results(store, DATA / name)
    assert (report.tasks, report.configurations, report.trials) == REAL[name]
    assert store.verify() == []


@pytest.mark.slow
def test_real_matrices(store):
    if not (DATA / "oboe").exists():
        pytest.skip(f"no results in {DATA / 'oboe'} (set METAML_DATA)")
    (report,) = import_results(store, DATA / "oboe")
    assert (report.tasks, report.configurations, report.trials) == (418, 219, 91_542)
    assert [r.trials for r in import_results(store, DATA / "dataset2vec_mlp")] == [30_720, 34_560, 38_880]
    history = history_from_store(store, space="oboe", metafeatures_version="oboe")
    assert history.errors.notna().all(axis=None) and history.groups.nunique() == 192
