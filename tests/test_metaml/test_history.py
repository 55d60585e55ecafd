"""The history of a store: right cells, right tasks, and the same whether read at once or followed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaml.history import Cells, history_from_store, history_of_space
from metaml.space import SPACES
from metaml.store import RunRecord, Selection, Store, TaskRecord
from metaml.trial import WORST_ERROR, Trial, configuration_id


def point(x: int) -> dict[str, object]:
    return {"space": "toy-1", "family": "mlp", "x": x}


def name(x: int) -> str:
    return configuration_id(point(x))


@pytest.fixture
def store():
    with Store.open(":memory:") as store:
        for i, group in enumerate(["iris", "iris", None]):
            store.add_task(TaskRecord(f"t{i}", f"task {i}", "binary", group=group))
            store.add_run(RunRecord(f"r{i}", f"t{i}", "toy-1", "roc_auc"))
        yield store


def add(store: Store, run: str, number: int, x: int, error: float | None, seconds: float = 1.0) -> None:
    status = "ok" if error is not None else "crashed"
    store.add_trial(run, Trial(number, point(x), "smac", status, error=error, seconds=seconds))


def test_cells_are_means_over_seeds_and_holes_are_nan(store):
    add(store, "r0", 0, 0, 0.2, 10.0)
    add(store, "r0", 1, 0, 0.4, 20.0)
    add(store, "r1", 0, 1, None)
    history = history_from_store(store, space="toy-1")
    assert history.errors.index.tolist() == ["t0", "t1"]
    assert history.errors.loc["t0", name(0)] == pytest.approx(0.3)
    assert history.runtimes.loc["t0", name(0)] == pytest.approx(15.0)
    assert math.isnan(history.errors.loc["t0", name(1)])
    assert history.errors.loc["t1", name(1)] == WORST_ERROR
    assert history.configurations == {name(0): point(0), name(1): point(1)}
    assert history.groups.tolist() == ["iris", "iris"]


def test_the_target_and_its_near_duplicates_can_be_left_out(store):
    for i in range(3):
        add(store, f"r{i}", 0, i, 0.5)
    assert history_from_store(store, space="toy-1", exclude=["t0"]).errors.index.tolist() == ["t1", "t2"]
    history = history_from_store(store, space="toy-1", exclude=["t0"], exclude_groups=True)
    assert history.errors.index.tolist() == ["t2"]
    assert list(history.configurations) == [name(2)]


def test_what_is_excluded_has_no_influence(store):
    for i in range(3):
        add(store, f"r{i}", 0, 0, 0.5)
    before = history_from_store(store, space="toy-1", exclude=["t1"])
    add(store, "r1", 1, 0, 1.9)
    add(store, "r1", 2, 7, 0.1)
    after = history_from_store(store, space="toy-1", exclude=["t1"])
    pd.testing.assert_frame_equal(before.errors, after.errors)
    assert before.configurations == after.configurations


def test_metafeatures_are_aligned_with_the_tasks(store):
    add(store, "r1", 0, 0, 0.5)
    add(store, "r0", 0, 0, 0.5)
    store.add_metafeatures("t0", pd.Series({"n": 3.0}), "1")
    history = history_from_store(store, space="toy-1", metafeatures_version="1")
    assert history.metafeatures.index.tolist() == history.errors.index.tolist()
    assert history.metafeatures["n"].fillna(-1).to_dict() == {"t0": 3.0, "t1": -1.0}
    assert history_from_store(store, space="toy-1", metafeatures_version="2").metafeatures is None


def test_an_empty_store_is_an_empty_history(store):
    history = history_from_store(store, space="toy-1")
    assert history.errors.shape == (0, 0) and history.configurations == {}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.floats(0, 2)), max_size=6), max_size=5))
def test_following_a_store_is_reading_it_at_once(bursts):
    with Store.open(":memory:") as store:
        for i in range(3):
            store.add_task(TaskRecord(f"t{i}", f"task {i}", "binary"))
            store.add_run(RunRecord(f"r{i}", f"t{i}", "toy-1", "roc_auc"))
        cells, number = Cells(store, Selection("toy-1")), 0
        for burst in bursts:
            for task, x, error in burst:
                add(store, f"r{task}", number, x, error)
                number += 1
            followed, fresh = cells.history(), history_from_store(store, space="toy-1")
            aligned = followed.errors.reindex(index=fresh.errors.index, columns=fresh.errors.columns)
            np.testing.assert_allclose(aligned, fresh.errors, rtol=1e-12)
            assert followed.errors.shape == fresh.errors.shape


def test_results_of_an_older_space_are_remembered_in_the_newer_one(store):
    """One linear model under both versions: the newer result stands, and older ones fill the holes."""
    space = SPACES["tabular"]
    old, other = (
        {"space": "tabular-1", "family": "linear", "l2": 0.1},
        {"space": "tabular-1", "family": "linear", "l2": 1.0},
    )
    for run, version, results in (("o", "tabular-1", [(old, 0.5), (other, 0.3)]), ("n", space.version, [(old, 0.4)])):
        store.add_run(RunRecord(run, "t0", version, "roc_auc"))
        for i, (configuration, error) in enumerate(results):
            store.add_trial(run, Trial(i, configuration | {"space": version}, "smac", "ok", error=error))
    history = history_of_space(store, space)
    names = [configuration_id(space.upgrade(c)) for c in (old, other)]
    assert history.errors.loc["t0", names].tolist() == [0.4, 0.3]
    assert set(history.configurations) == set(names)
