"""Which stored tasks a task is like: what the store keeps, what is compared, and what the command says."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from metafeatures import VERSION
from metaml.cli import cli
from metaml.cli.metafeatures import MEASURES as NAMES
from metaml.data import make_task
from metaml.errors import StoreError, UsageError
from metaml.similar import MEASURES, similar_tasks
from metaml.space import SPACES
from metaml.store import RunRecord, Store
from metaml.trial import Trial
from metaml.views import describe_task, remember, task_record
from tests.conftest import mixed_table


def task_of(n=120, *, target="label", seed=0, name="t"):
    other = "value" if target == "label" else "label"
    table = mixed_table(n, seed=seed).drop(columns=other)
    return make_task(table.drop(columns=target), table[target], name=name)


def add_trials(store, task, errors):
    store.add_task(task_record(task))
    store.add_run(RunRecord(task.name, task.fingerprint, SPACES["tabular"].version, "roc_auc"))
    trials = [
        Trial(i, {"space": SPACES["tabular"].version, "family": "linear", "l2": i}, "collect", "ok", error=error)
        for i, error in enumerate(errors)
    ]
    store.add_trials(task.name, trials)


@pytest.fixture
def store(tmp_path):
    """Two tables like the one asked for, and two of numbers to predict; each with three results."""
    with Store.open(tmp_path / "store.sqlite") as store:
        for i, target in enumerate(["label", "label", "value", "value"]):
            task = task_of(100 + 10 * i, target=target, seed=i, name=f"{target} {i}")
            remember(store, task)
            add_trials(store, task, [0.1 * i, 0.5, 0.2])
        yield store


class TestTheStoreRemembers:
    def test_a_description_is_kept_once_and_read_back(self, tmp_path):
        task = task_of()
        with Store.open(tmp_path / "s.sqlite") as store:
            first, second = remember(store, task), remember(store, task)
            assert store.info()["counts"]["metafeatures"] == len(first) == 4
            assert store.verify() == []
        assert first.keys() == second.keys()
        for version, vector in first.items():
            pd.testing.assert_series_equal(vector, second[version])

    def test_what_is_kept_is_used_instead_of_computed(self, tmp_path):
        task, marked = task_of(), pd.Series({"nr_inst": -1.0})
        with Store.open(tmp_path / "s.sqlite") as store:
            store.add_task(task_record(task))
            store.add_metafeatures(task.fingerprint, marked, VERSION)
            pd.testing.assert_series_equal(describe_task(task, store=store), marked)
            pd.testing.assert_series_equal(remember(store, task)[VERSION], marked)

    def test_what_is_given_is_not_computed_again_and_kept_only_when_complete(self, tmp_path):
        task, whole = task_of(), pd.Series({"nr_inst": -1.0})
        cut = whole.copy()
        cut.attrs["unfinished"] = ["landmarking"]
        for vector, kept in ((cut, False), (whole, True)):
            with Store.open(tmp_path / f"{kept}.sqlite") as store:
                pd.testing.assert_series_equal(remember(store, task, {VERSION: vector})[VERSION], vector)
                assert (VERSION in store.metafeatures_of(task.fingerprint)) is kept

    def test_a_store_that_cannot_be_written_is_no_hindrance(self, store):
        with Store.open(store.location, read_only=True) as closed:
            assert similar_tasks(task_of(), closed)["compared"] == 4
            assert len(closed.tasks()) == 4

    def test_what_is_kept_does_not_grow_with_the_rows(self, store):
        few, many = (remember(store, task_of(n, seed=7)) for n in (100, 1000))
        assert few.keys() == many.keys()
        assert all(few[version].size == many[version].size for version in few)


class TestSimilarTasks:
    def test_tables_of_the_same_kind_are_nearest_and_itself_is_left_out(self, store):
        found = similar_tasks(task_of(115, seed=7), store, n=4)
        assert [task["name"][:5] for task in found["tasks"]] == ["label", "label", "value", "value"]
        distances = [task["distance"] for task in found["tasks"]]
        assert distances == sorted(distances)
        stored = task_of(100, seed=0)
        assert stored.fingerprint not in {task["fingerprint"] for task in similar_tasks(stored, store)["tasks"]}

    def test_reasons_name_what_agrees_and_what_differs(self, store):
        far = similar_tasks(task_of(115, seed=7), store, n=4)["tasks"][-1]
        values = {reason["feature"]: (reason["this"], reason["that"]) for reason in far["unlike"]}
        assert values and all(this != that for this, that in values.values())
        assert not {reason["feature"] for reason in far["alike"]} & set(values)

    def test_results_so_far_can_be_compared(self, store):
        task = task_of(115, seed=7, name="new")
        add_trials(store, task, [0.29, 0.5, 0.2])
        found = similar_tasks(task, store, by="performance")
        assert found["tasks"][0]["name"] == "value 3"
        assert found["tasks"][0]["tried"] == 3

    @pytest.mark.parametrize("by", ["normals", "dataset2vec", "text"])
    def test_other_measures_compare_all(self, store, by):
        assert similar_tasks(task_of(115, seed=7), store, by=by)["compared"] == 4

    def test_mistakes_say_what_to_do(self, store, tmp_path):
        with pytest.raises(UsageError, match="no measure 'colour': choose one of statistical"):
            similar_tasks(task_of(), store, by="colour")
        with pytest.raises(StoreError, match="knows nothing of this task"):
            similar_tasks(task_of(), store, by="performance")
        with Store.open(tmp_path / "empty.sqlite") as empty, pytest.raises(StoreError, match="describes no other task"):
            similar_tasks(task_of(), empty)


class TestCommand:
    @pytest.fixture
    def table(self, tmp_path):
        path = tmp_path / "members.csv"
        mixed_table(130, seed=5).drop(columns="value").to_csv(path, index=False)
        return str(path)

    def run(self, *arguments):
        return CliRunner().invoke(cli, ["metafeatures", *map(str, arguments)])

    def test_it_prints_the_vector_and_the_reasons(self, table, store):
        ran = self.run("--task", table, "--target", "label", "--similar-to", store.location, "-n", 2)
        assert ran.exit_code == 0
        lines = ran.output.splitlines()
        assert lines[0] == "members: binary, 130 rows, 5 columns"
        assert sum(line.startswith("   alike:") for line in lines) == 2

    def test_json_is_one_document(self, table, store):
        ran = self.run("--task", table, "--target", "label", "--similar-to", store.location, "--json")
        document = json.loads(ran.stdout)
        assert document["metafeatures"]["nr_inst"] == 130
        assert document["similar"]["compared"] == len(document["similar"]["tasks"]) == 4
        assert "similar" not in json.loads(self.run("--task", table, "--target", "label", "--json").stdout)

    def test_measures_of_the_command_are_those_there_are(self):
        assert NAMES == MEASURES

    def test_mistakes(self, table, tmp_path):
        ran = self.run("--task", table, "--target", "label", "--by", "text")
        assert ran.exit_code == 2 and "--similar-to STORE, which is missing" in str(ran.output)
        for option, words in ((["--seed", 3], "contradict"), ([], "no store")):
            ran = self.run("--task", table, "--target", "label", "--similar-to", tmp_path / "no.sqlite", *option)
            assert words in str(ran.exception)
