"""What every warm-starter must do."""

import numpy as np
import pandas as pd
import pytest

from portfolio import WARM_STARTERS, History, Target

STARTERS = sorted(WARM_STARTERS)
WARM = [name for name in STARTERS if name != "cold"]


def make_history(tasks=12, configurations=9, holes=0.0, features=3, seed=0) -> History:
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=(tasks, 2))
    errors = 0.5 + 0.1 * easy @ rng.normal(size=(2, configurations)) + 0.01 * rng.normal(size=(tasks, configurations))
    errors[rng.random(errors.shape) < holes] = np.nan
    names, ids = [f"t{i}" for i in range(tasks)], [f"c{j}" for j in range(configurations)]
    metafeatures = np.hstack([easy, rng.normal(size=(tasks, max(features - 2, 0)))])[:, :features]
    return History(
        errors=pd.DataFrame(errors, names, ids),
        configurations={name: {"family": "mlp", "width": 2**j, "norm": bool(j % 2)} for j, name in enumerate(ids)},
        metafeatures=pd.DataFrame(metafeatures, names, [f"f{k}" for k in range(features)]) if features else None,
        runtimes=pd.DataFrame(rng.random(errors.shape) + 0.1, names, ids),
        groups=pd.Series([f"g{i // 2}" for i in range(tasks)], names),
    )


HISTORIES = {
    "plain": make_history(),
    "holes": make_history(holes=0.6),
    "no metafeatures": make_history(features=0),
    "one task": make_history(tasks=1),
    "two tasks": make_history(tasks=2),
    "one configuration": make_history(configurations=1),
    "no tasks": make_history(tasks=12).keep_tasks([]),
    "empty": History.empty(),
    "only errors": History(make_history().errors, {}),
    "garbage": History(
        make_history().errors.mask(np.eye(12, 9, dtype=bool), np.inf).mask(np.eye(12, 9, 1, dtype=bool), -1e300) * 1e30,
        {},
        metafeatures=make_history().metafeatures.mask(np.eye(12, 3, dtype=bool), np.inf) * 1e200,
    ),
    "all nan": History(make_history().errors * np.nan, {}),
    "constant": History(make_history().errors * 0 + 0.5, {}, metafeatures=make_history().metafeatures * 0 + 1),
    "copies": History(
        pd.concat([make_history().errors.iloc[:1]] * 5).set_axis(list("abcde")), make_history().configurations
    ),
    "repeated rows": History(pd.concat([make_history().errors] * 2), make_history().configurations),
}
TARGETS = {
    "unknown": Target(),
    "metafeatures": Target(pd.Series({"f0": 0.3, "f1": np.nan, "other": 1.0})),
    "observed": Target(pd.Series({"f0": 0.3}), {"c1": 0.4, "c5": 0.6}),
    "failed": Target(None, {"c0": np.nan, "c1": np.inf, "c2": -np.inf}),
    "elsewhere": Target(None, {"from smac": 0.2, "another": np.nan, "c3": 0.5}),
    "equal": Target(None, {f"c{j}": 0.5 for j in range(5)}),
    "huge": Target(pd.Series({"f0": np.inf, "f1": 1e300}), {"c0": 1e300, "c1": -1e300, "c2": 1e20}),
    "all seen": Target(None, {f"c{j}": 0.1 * j for j in range(9)}),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STARTERS)
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_proposes_distinct_unobserved_ids_whatever_it_is_given(name, history):
    starter = WARM_STARTERS[name](seed=0).fit(history)
    for target in TARGETS.values():
        for n in (0, 1, 4, 50):
            ids = starter.propose(target, n)
            free = [c for c in history.errors.columns if c not in target.observed]
            expected = 0 if name == "cold" or not history.errors.notna().any(axis=None) else min(n, len(free))
            assert len(ids) == expected
            assert len(set(ids)) == len(ids) and set(ids) <= set(free)
            assert starter.explain()
            assert set(starter.sources(ids)) == set(ids)
            assert set(starter.sources(ids).values()) <= set(STARTERS)
            assert isinstance(starter.hand_over(target), str)


@pytest.mark.parametrize("name", STARTERS)
def test_same_seed_same_list(name):
    for target in TARGETS.values():
        lists = [WARM_STARTERS[name](seed=3).fit(HISTORIES["holes"]).propose(target, 6) for _ in range(2)]
        assert lists[0] == lists[1]


@pytest.mark.parametrize("name", STARTERS)
def test_proposals_do_not_depend_on_earlier_questions(name):
    fresh = WARM_STARTERS[name](seed=0).fit(HISTORIES["plain"])
    asked = WARM_STARTERS[name](seed=0).fit(HISTORIES["plain"])
    for target in TARGETS.values():
        asked.propose(target, 3)
    assert fresh.propose(TARGETS["observed"], 4) == asked.propose(TARGETS["observed"], 4)


@pytest.mark.parametrize("name", WARM)
def test_the_history_is_not_changed(name):
    history = make_history(holes=0.3)
    before = history.errors.copy(), history.metafeatures.copy(), history.runtimes.copy()
    WARM_STARTERS[name](seed=0).fit(history).propose(TARGETS["observed"], 3)
    pd.testing.assert_frame_equal(history.errors, before[0])
    pd.testing.assert_frame_equal(history.metafeatures, before[1])
    pd.testing.assert_frame_equal(history.runtimes, before[2])
