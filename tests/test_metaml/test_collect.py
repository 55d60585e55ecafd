"""Filling a history: real trials, resumed, sharded and published."""

import json

import pandas as pd
import pytest

from metaml.collect import (
    Plan,
    best_configurations,
    choose_configurations,
    choose_tasks,
    collect,
    publish_history,
    published,
    read_manifest,
)
from metaml.errors import UsageError
from metaml.space import SPACES
from metaml.store import Store
from portfolio import load_history
from tests.conftest import mixed_table

PLAN = Plan([{"space": SPACES["tabular"].version, "family": "linear", "l2": l2} for l2 in (0.01, 0.1)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")
    rows = []
    for i, (target, task) in enumerate(
        [("label", "classification"), ("value", "regression"), ("label", "classification")]
    ):
        other = "value" if target == "label" else "label"
        mixed_table(120 + 10 * i, seed=i).drop(columns=other).to_csv(path / f"t{i}.csv", index=False)
        rows.append({"name": f"t{i}", "file": f"t{i}.csv", "target": target, "task": task, "rows": 120 + 10 * i})
    pd.DataFrame(rows).assign(family=["a", "b", "a"]).to_csv(path / "manifest.csv", index=False)
    return path


def test_one_table_of_each_family(folder):
    chosen = choose_tasks(read_manifest(folder), 5, max_rows=1000)
    assert sorted(entry.family for entry in chosen) == ["a", "b"]


def test_large_tables_are_left_out(folder):
    assert [entry.name for entry in choose_tasks(read_manifest(folder), 5, max_rows=125)] == ["t0"]


def test_configurations_are_distinct_and_a_smaller_choice_is_part_of_a_larger_one():
    small, large = choose_configurations(12), choose_configurations(32)
    assert large[: len(small)] == small
    assert len({json.dumps(c) for c in large}) == len(large)


def test_configurations_of_some_families_only():
    chosen = choose_configurations(12, families=["knn", "mlp"])
    assert {c["family"] for c in chosen} == {"knn", "mlp"}
    with pytest.raises(UsageError, match="mpl"):
        choose_configurations(12, families=["mpl"])


def test_best_configurations_are_those_that_win_on_the_tables_tried(folder, tmp_path):
    space = SPACES["tabular"].version
    good, bad = ({"space": space, "family": "linear", "l2": l2} for l2 in (0.01, 1000.0))
    with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(UsageError, match="no results"):
            best_configurations(1, store)
        collect(read_manifest(folder), Plan([bad, good]), store)
        assert best_configurations(1, store) == [good]


def test_shards_cover_everything_once_and_a_second_run_does_nothing(folder, tmp_path):
    entries = read_manifest(folder)
    with Store.open(tmp_path / "store.sqlite") as store:
        assert collect(entries, PLAN, store, shard=(0, 2)) == 4  # t0 and t2
        assert collect(entries, PLAN, store, shard=(1, 2)) == 2  # t1
        assert collect(entries, PLAN, store) == 0
        assert publish_history(store, tmp_path / "history") == (3, 2)
    history = load_history(tmp_path / "history")
    assert history.errors.notna().all(axis=None)
    assert history.errors.max(axis=None) < 1
    assert history.groups.value_counts().to_dict() == {"a": 2, "b": 1}
    assert history.metafeatures.shape[0] == 3


def test_other_configurations_are_added_to_those_of_before(folder, tmp_path):
    entries = read_manifest(folder)[:1]
    others = [{**configuration, "l2": 10 * configuration["l2"]} for configuration in PLAN.configurations[1:]]
    with Store.open(tmp_path / "store.sqlite") as store:
        collect(entries, PLAN, store)
        assert collect(entries, Plan(others), store) == 1
        assert collect(entries, Plan([*PLAN.configurations, *others]), store) == 0
        assert publish_history(store, tmp_path / "history") == (1, 3)


def test_what_a_history_holds_is_kept_and_not_run_again(folder, tmp_path):
    entries = read_manifest(folder)
    with Store.open(tmp_path / "first.sqlite") as store:
        collect(entries[:2], PLAN, store)
        publish_history(store, tmp_path / "history")
    before = load_history(tmp_path / "history")
    with Store.open(tmp_path / "second.sqlite") as store:
        assert collect(entries, PLAN, store, known=published(tmp_path / "history")) == 2  # t2 alone
        assert publish_history(store, tmp_path / "history") == (3, 2)
    after = load_history(tmp_path / "history")
    pd.testing.assert_frame_equal(after.errors.loc[before.errors.index, before.errors.columns], before.errors)
    names = pd.read_parquet(tmp_path / "history" / "tasks.parquet")["name"]
    assert sorted(names) == ["t0", "t1", "t2"]


def test_table_that_cannot_be_loaded_is_left_out_with_the_reason(folder, tmp_path):
    entries = read_manifest(folder)[:1]
    broken = type(entries[0])(**{**vars(entries[0]), "target": "lable"})
    said: list[str] = []
    with Store.open(tmp_path / "store.sqlite") as store:
        assert collect([broken], PLAN, store, report=said.append) == 0
    assert "Did you mean" in said[0]


def test_folder_without_manifest_says_what_it_needs(tmp_path):
    with pytest.raises(UsageError, match=r"manifest\.csv"):
        read_manifest(tmp_path)
