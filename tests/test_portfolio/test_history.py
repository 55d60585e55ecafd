"""Histories: cut, merged, cleaned, written and read."""

import json

import numpy as np
import pandas as pd
import pytest

from portfolio import History, Target, load_default_history, load_history, save_history
from portfolio.table import Query, Table


def history() -> History:
    names, ids = ["t0", "t1", "t2"], ["c0", "c1"]
    return History(
        errors=pd.DataFrame([[0.1, np.nan], [0.3, 0.2], [0.5, 0.6]], names, ids),
        configurations={"c0": {"family": "mlp", "lr": 0.1}, "c1": {"family": "linear"}},
        metafeatures=pd.DataFrame({"f": [1.0, np.nan, 3.0]}, names),
        runtimes=pd.DataFrame([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]], names, ids),
        groups=pd.Series({"t0": "g", "t1": "g"}),
        names=pd.Series({"t0": "iris"}),
    )


def test_dropping_a_task_keeps_its_copies_and_dropping_a_family_does_not():
    assert list(history().drop_tasks(["t0", "unknown"]).errors.index) == ["t1", "t2"]
    assert list(history().drop_families(["t0"]).errors.index) == ["t2"]
    assert list(history().drop_families(["t2"]).errors.index) == ["t0", "t1"]
    assert history().drop_tasks(["t0"]).metafeatures.index.tolist() == ["t1", "t2"]


def test_merge_unites_both_and_the_other_wins():
    other = History(pd.DataFrame({"c1": [0.9], "c2": [0.8]}, index=["t0"]), {"c2": {"family": "resnet"}})
    merged = history().merge(other)
    assert merged.errors.loc["t0"].tolist() == [0.1, 0.9, 0.8]
    assert set(merged.configurations) == {"c0", "c1", "c2"}
    assert merged.name_of("t0") == "iris"
    assert History.empty().merge(history()).errors.equals(history().errors)


def test_round_trip_on_disk(tmp_path):
    save_history(history(), tmp_path)
    again = load_history(tmp_path)
    pd.testing.assert_frame_equal(again.errors, history().errors, check_index_type=False, check_column_type=False)
    pd.testing.assert_frame_equal(again.runtimes, history().runtimes, check_index_type=False, check_column_type=False)
    assert again.configurations == history().configurations
    assert again.metafeatures["f"].tolist()[::2] == [1.0, 3.0]
    assert again.groups.to_dict() == {"t0": "g", "t1": "g"}
    assert [again.name_of(task) for task in again.errors.index] == ["iris", "t1", "t2"]


def test_round_trip_of_nothing(tmp_path):
    save_history(History.empty(), tmp_path)
    assert load_history(tmp_path).errors.shape == (0, 0)


def test_a_newer_format_is_refused(tmp_path):
    save_history(history(), tmp_path)
    file = tmp_path / "configurations.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_history(tmp_path)


def test_default_history_is_a_history():
    assert isinstance(load_default_history(), History)


def test_families_weigh_alike():
    assert Table.of(history()).task_weights.tolist() == [0.25, 0.25, 0.5]


def test_a_query_sorts_out_what_was_seen():
    table = Table.of(history())
    query = Query.of(Target(pd.Series({"f": 2.0, "g": 1.0}), {"c1": 0.4, "c0": np.inf, "smac": 0.1}), table)
    assert query.columns.tolist() == [1] and query.failed.tolist() == [0]
    assert query.best == 0.1 and query.metafeatures.tolist() == [2.0]
