"""Leakage, garbage and what the starters say about themselves."""

import numpy as np
import pandas as pd
import pytest

from portfolio import WARM_STARTERS, History, Target, replay
from portfolio.replay import confidence, summarise
from portfolio.selection import expected_random

FAST = ["portfolio", "knn", "pmf", "selector", "auto"]


def make(seed=0, tasks=24, configurations=12) -> History:
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=(tasks, 2))
    errors = easy @ rng.normal(size=(2, configurations)) + 0.1 * rng.normal(size=(tasks, configurations))
    names, ids = [f"t{i}" for i in range(tasks)], [f"c{j}" for j in range(configurations)]
    return History(
        pd.DataFrame(0.5 + 0.1 * errors, names, ids),
        {name: {"family": "ab"[j % 2], "size": j} for j, name in enumerate(ids)},
        pd.DataFrame(easy, names, ["f0", "f1"]),
        groups=pd.Series([f"g{i // 2}" for i in range(tasks)], names),
    )


@pytest.mark.parametrize("name", FAST)
def test_scrambling_what_was_not_observed_on_the_target_changes_nothing(name):
    history = make()
    scrambled = history.errors.copy()
    scrambled.loc["t0"] = np.random.default_rng(1).permutation(scrambled.loc["t0"].to_numpy())
    other = History(scrambled, history.configurations, history.metafeatures, groups=history.groups)
    target = Target(history.metafeatures.loc["t0"], {"c3": float(history.errors.loc["t0", "c3"])})
    lists = [WARM_STARTERS[name]().fit(h.drop_families(["t0"])).propose(target, 5) for h in (history, other)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("name", FAST)
def test_a_row_without_results_is_no_row(name):
    history = make()
    blank = history.errors.copy()
    blank.loc["t0"] = np.nan
    emptied = History(blank, history.configurations, history.metafeatures, groups=history.groups)
    target = Target(history.metafeatures.loc["t0"], {"c3": 0.4})
    lists = [WARM_STARTERS[name]().fit(h).propose(target, 5) for h in (emptied, history.drop_tasks(["t0"]))]
    assert lists[0] == lists[1]


def test_auto_hands_over_when_the_store_is_noise():
    noise = np.random.default_rng(0).random((40, 30))
    history = History(pd.DataFrame(noise, columns=[f"c{j}" for j in range(30)]), {})
    auto = WARM_STARTERS["auto"](seed=0).fit(history)
    assert "predict nothing" in auto.hand_over(Target())
    assert len(auto.propose(Target(), 3)) == 3


def test_auto_hands_over_when_the_target_is_upside_down():
    history = make()
    errors = pd.DataFrame(np.linspace(0, 1, 12) + 0.01 * history.errors.to_numpy(), history.errors.index)
    errors.columns = history.errors.columns
    auto = WARM_STARTERS["auto"](seed=0).fit(History(errors, {}))
    right = {f"c{j}": j / 12 for j in range(8)}
    wrong = {f"c{j}": 1 - j / 12 for j in range(8)}
    assert auto.hand_over(Target(None, right)) == ""
    assert "contradicts" in auto.hand_over(Target(None, wrong))


def test_sources_name_who_proposed():
    auto = WARM_STARTERS["auto"](seed=0).fit(make())
    ids = auto.propose(Target(), 2)
    assert set(auto.sources(ids).values()) <= {"portfolio", "knn", "pmf"}
    assert "families left out" in auto.explain()
    far = WARM_STARTERS["knn"](seed=0).fit(make())
    assert set(far.sources(far.propose(Target(), 2)).values()) == {"portfolio"}


def test_replay_orders_what_is_known_to_be_ordered():
    results = replay(make(), {"portfolio": WARM_STARTERS["portfolio"], "cold": WARM_STARTERS["cold"]}, folds=3)
    means = summarise(results)
    assert list(means.index) == ["random", "random x2", "random x4", "portfolio", "cold"]
    assert (means.diff(axis=1).iloc[:, 1:] <= 1e-12).all(axis=None)
    assert (means.loc["random x2"] <= means.loc["random"] + 1e-12).all()
    assert means.loc["portfolio", 50] == 0  # all 12 configurations were run
    gaps = confidence(results, "random", draws=200)
    assert (gaps["low"] <= gaps["high"]).all()


def test_replay_of_nothing():
    assert replay(History.empty(), {"knn": WARM_STARTERS["knn"]}).empty


def test_random_regret_is_exact():
    errors = np.array([0.0, 0.1, 0.5, 1.0])
    rng = np.random.default_rng(0)
    draws = [[rng.permutation(errors)[:k].min() for _ in range(20000)] for k in (1, 2, 3)]
    assert expected_random(errors, [1, 2, 3]) == pytest.approx(np.mean(draws, axis=1), abs=0.01)
    assert expected_random(errors, [4, 9]).tolist() == [0.0, 0.0]


def test_the_choice_is_remembered_on_disk(tmp_path):
    from portfolio import selection

    def fitted(history):
        starter = WARM_STARTERS["auto"](seed=0)
        starter.cache = tmp_path
        return starter.fit(history)

    selection._choices.clear()
    first = fitted(make())
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    selection._choices.clear()
    again = fitted(make())
    assert again.explain() == first.explain() and again.propose(Target(), 4) == first.propose(Target(), 4)
    assert file.stat().st_mtime_ns == written
    fitted(make().drop_tasks(["t3"]))
    assert len(list(tmp_path.iterdir())) == 2
    selection._choices.clear()
    file.write_text("{")
    assert fitted(make()).propose(Target(), 4) == first.propose(Target(), 4)
