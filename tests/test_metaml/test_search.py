"""The main job, end to end, on real tables, with real processes, files and stores."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metaml
from hw_cost.shipped import SHIPPED
from metaml.errors import DataError, SearchError, UsageError
from metaml.models import FAMILIES, TorchFamily
from metaml.predictor import Predictor
from metaml.store import Store
from tests.conftest import mixed_table

TORCH_FAMILIES = {name for name, family in FAMILIES.items() if isinstance(family, TorchFamily)} | {"linear"}
METAML = [sys.executable, "-m", "metaml"]


def run_command(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [*METAML, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture(scope="module")
def table_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "members.csv"
    mixed_table(1000).drop(columns="value").to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, table_file, device_table):
    """One short search, shared by the tests that only look at its results."""
    folder = tmp_path_factory.mktemp("runs")
    return metaml.search(
        table_file,
        target="label",
        device=device_table,
        max_latency_ms=5.0,
        time_limit=60,
        trials=7,
        store=folder / "store.sqlite",
        out=folder / "run",
    )


def test_of_another_device_latencies_are_foretold_and_only_what_it_runs_is_searched(tmp_path):
    numbers = mixed_table().select_dtypes("number").fillna(0).replace(np.inf, 0)
    numbers.to_csv(tmp_path / "numbers.csv", index=False)
    result = metaml.search(
        tmp_path / "numbers.csv",
        target="value",
        device=str(SHIPPED / "h200-torch-cuda-graph.json"),
        max_latency_ms=0.5,
        time_limit=30,
        trials=3,
        store=None,
        out=tmp_path / "run",
    )
    latency = result.best["latency_ms"]
    assert latency["measured"] is None and latency["judged"] == latency["interval"][1]
    assert result.meets_limit == (latency["judged"] <= 0.5)
    assert {trial["configuration"]["family"] for trial in result.summary["trials"]} <= TORCH_FAMILIES
    assert any("foretold for nvidia-h200" in note for note in result.summary["notes"])
    assert "foretold" in (tmp_path / "run" / "report.html").read_text()


class TestAnswer:
    def test_limit_is_kept_by_measurement(self, finished):
        assert finished.meets_limit
        assert 0 < finished.best["latency_ms"]["measured"] <= 5.0

    def test_every_trial_is_in_the_answer_with_its_source(self, finished):
        trials = finished.summary["trials"]
        assert sum(trial["status"] != "infeasible" for trial in trials) == 7
        assert {trial["source"] for trial in trials} <= {
            "portfolio",
            "knn",
            "pmf",
            "local",
            "smac",
            "default",
            "random",
        }
        single = min(t["error"] for t in trials if t["status"] == "ok")
        if finished.best["ensemble"] is None:
            assert finished.best["error"] == single
        else:
            assert finished.best["error"] < single
            assert sum(member["weight"] for member in finished.best["ensemble"]) == pytest.approx(1)
            assert {member["number"] for member in finished.best["ensemble"]} <= {t["number"] for t in trials}

    def test_time_limit_is_kept(self, finished):
        assert finished.summary["seconds"] < 60

    def test_summary_is_what_the_folder_holds(self, finished):
        written = json.loads((finished.folder / "result.json").read_text())
        assert written == finished.summary
        assert {"run", "task", "best", "trials", "pareto", "seconds", "overhead_seconds"} <= set(written)
        for name in ("model.onnx", "model.json", "report.html", "trials.csv"):
            assert (finished.folder / name).stat().st_size > 0

    def test_trials_are_in_the_store_and_remembered_for_other_tasks(self, finished):
        with Store.open(finished.folder.parent / "store.sqlite") as store:
            (run,) = store.runs()
            kept = store.trials(run.run_id)
        assert [t.configuration_id for t in kept] == [
            metaml.trial.configuration_id(t["configuration"]) for t in finished.summary["trials"]
        ]

    def test_nothing_in_the_folder_is_a_pickle(self, finished):
        for path in finished.folder.rglob("*"):
            if path.is_file():
                assert path.suffix in {".onnx", ".json", ".html", ".csv", ".npz"}
                assert not path.read_bytes().startswith(b"\x80\x04")

    def test_model_runs_where_only_onnxruntime_numpy_and_pandas_are(self, finished, table_file):
        """The README's snippet, in a process where importing anything of ours fails."""
        readme = (Path(metaml.__file__).parents[1] / "README.md").read_text()
        snippet = next(part for part in readme.split("```python\n")[1:] if "InferenceSession" in part).split("```")[0]
        snippet = snippet.replace("model.onnx", str(finished.model_path)).replace("data.csv", str(table_file))
        guard = "import sys\nfor name in ('metaml', 'torch', 'sklearn', 'hw_cost'): sys.modules[name] = None\n"
        script = f"{guard}{snippet}\nprint(json.dumps(probabilities.tolist()))"
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        ours = metaml.Predictor(finished.folder).scores(pd.read_csv(table_file))
        np.testing.assert_allclose(json.loads(ran.stdout), ours, atol=1e-6)

    def test_predict_command(self, finished, table_file, tmp_path):
        out = tmp_path / "new" / "out.csv"
        ran = run_command("predict", finished.folder, table_file, "-o", out)
        assert ran.returncode == 0, ran.stderr
        predicted = pd.read_csv(out)
        truth = pd.read_csv(table_file)["label"]
        assert list(predicted.columns) == ["label", "probability_c0", "probability_c1"]
        assert (predicted["label"] == truth).mean() > 0.8

    def test_its_latency_is_validated_on_its_own_rows(self, finished, table_file, device_table):
        options = ("--data", table_file, "--table", device_table, "--any-device", "--time", "2s", "--json")
        ran = run_command("latency", "validate", finished.model_path, *options)
        (told,) = json.loads(ran.stdout)["models"]
        assert told["model"] == str(finished.model_path) and told["batch"] == 1
        assert 0 < told["measured_ms"] < 5 and told["interval_ms"][0] <= told["predicted_ms"] <= told["interval_ms"][1]

    def test_predict_with_a_missing_column_names_it(self, finished, table_file, tmp_path):
        path = tmp_path / "less.csv"
        pd.read_csv(table_file).rename(columns={"city": "town"}).to_csv(path, index=False)
        ran = run_command("predict", finished.folder, path)
        assert ran.returncode == 2
        assert "city" in ran.stderr
        assert "Traceback" not in ran.stderr

    def test_report_command(self, finished):
        ran = run_command("report", finished.folder)
        assert ran.returncode == 0
        assert "within the limit of 5 ms" in ran.stdout

    def test_finished_run_is_not_run_again(self, finished):
        assert metaml.resume(finished.folder).summary == finished.summary

    def test_a_moved_folder_tells_its_own_paths(self, finished, tmp_path):
        moved = shutil.copytree(finished.folder, tmp_path / "moved")
        ran = run_command("report", moved, "--json")
        answer = json.loads(ran.stdout)
        assert (answer["run"], answer["best"]["model"]) == (str(moved), str(moved / "model.onnx"))

    def test_a_lost_model_is_made_again(self, finished, tmp_path):
        broken = shutil.copytree(finished.folder, tmp_path / "broken")
        (broken / "model.onnx").unlink()
        shutil.rmtree(broken / "candidates")
        with pytest.raises(DataError, match=f"metaml resume {broken}"):
            Predictor(broken)
        result = metaml.resume(broken)
        assert result.model_path == broken / "model.onnx" and result.model_path.exists()
        assert len(result.trials) >= len(finished.trials)

    def test_folder_of_a_run_is_not_used_twice(self, finished, table_file, device_table):
        with pytest.raises(UsageError, match="resume"):
            metaml.search(table_file, target="label", device=device_table, out=finished.folder)


def test_same_seed_same_trials(table_file, device_table, tmp_path):
    def trials(name: str) -> list:
        options = {"target": "label", "device": device_table, "time_limit": 100, "trials": 3, "workers": 1}
        result = metaml.search(table_file, store=False, out=tmp_path / name, seed=4, **options)
        return [(t["source"], t["configuration"], t["error"]) for t in result.summary["trials"]]

    assert trials("a") == trials("b")


def test_failing_trials_end_with_the_reason(device_table, tmp_path, monkeypatch):
    from metaml import session

    monkeypatch.setattr(session.Session, "_start_next", lambda _: False)
    with pytest.raises(SearchError, match="more time"):
        metaml.search(
            mixed_table(), target="label", device=device_table, time_limit=10, store=False, out=tmp_path / "r"
        )


def test_one_model_is_delivered_when_no_ensemble_is_wanted(table_file, device_table, tmp_path):
    options = {"target": "label", "device": device_table, "time_limit": 60, "trials": 3, "store": False}
    result = metaml.search(table_file, ensemble=1, out=tmp_path / "run", **options)
    assert result.best["ensemble"] is None
    assert not list((tmp_path / "run" / "candidates").glob("*[0-9].npz"))
    assert result.best["error"] == min(t["error"] for t in result.summary["trials"] if t["status"] == "ok")


class TestEstimators:
    def test_classifier_on_a_frame(self, device_table, tmp_path):
        table = mixed_table(n_classes=3)
        X, y = table.drop(columns=["value", "label"]), table["label"]
        clf = metaml.MetaClassifier(
            time_limit=60, trials=3, device=device_table, store=False, out=tmp_path / "run", max_latency_ms=5.0
        ).fit(X, y)
        assert clf.predict_proba(X).shape == (240, 3)
        assert set(clf.predict(X)) <= set(y)
        assert clf.score(X, y) > 0.5
        assert list(clf.feature_names_in_) == ["age", "income", "city", "member", "stamp"]
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            assert (clf.predict(X.to_numpy()) == clf.predict(X)).all()

    def test_regressor_on_an_array(self, device_table, tmp_path):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(200, 3))
        y = X @ [1.0, -2.0, 0.5] + 100
        y[7] = np.nan
        reg = metaml.MetaRegressor(time_limit=60, trials=3, device=device_table, store=False, out=tmp_path / "run")
        with pytest.warns(UserWarning, match='1 row without a value of "target" left out'):
            reg.fit(X, y)
        assert reg.predict(X).shape == (200,)
        assert reg.score(np.delete(X, 7, axis=0), np.delete(y, 7)) > 0.8
        sent = pickle.dumps(reg)
        shutil.rmtree(tmp_path / "run")  # as on another machine
        assert (pickle.loads(sent).predict(X) == reg.predict(X)).all()
        with pytest.raises(ValueError, match="X has 4 features, but MetaRegressor is expecting 3"):
            reg.predict(np.zeros((5, 4)))
        with pytest.warns(UserWarning, match="fitted without feature names"):
            assert (reg.predict(pd.DataFrame(X, columns=list("abc"))) == reg.predict(X)).all()

    def test_unfitted_says_so(self):
        from sklearn.exceptions import NotFittedError

        with pytest.raises(NotFittedError):
            metaml.MetaClassifier().predict(np.zeros((2, 2)))
