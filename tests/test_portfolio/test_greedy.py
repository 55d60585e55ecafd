"""Greedy portfolios on tables small enough to check by eye."""

from itertools import combinations

import numpy as np
import pandas as pd

from portfolio import GreedyPortfolio, History, Target
from portfolio.greedy import greedy_order
from portfolio.scaling import ranks, regret

FOUR = np.array(
    [
        [0.0, 0.3, 1.0, 1.0],  # best is column 0
        [0.0, 0.3, 1.0, 1.0],  # best is column 0
        [1.0, 0.3, 0.0, 1.0],  # best is column 2
        [1.0, 0.3, 1.0, 0.0],  # best is column 3
    ]
)


def table(values, groups=None, seconds=None) -> History:
    tasks, ids = [f"t{i}" for i in range(len(values))], [f"c{j}" for j in range(len(values[0]))]
    return History(
        pd.DataFrame(values, tasks, ids),
        {name: {} for name in ids},
        runtimes=None if seconds is None else pd.DataFrame([seconds] * len(tasks), tasks, ids),
        groups=None if groups is None else pd.Series(groups, tasks),
    )


def test_the_compromise_comes_first_then_what_it_lacks():
    # means: 0.5, 0.3, 0.75, 0.75 -> c1; then c0 mends two tasks, c2 and c3 one each
    assert GreedyPortfolio().fit(table(FOUR)).propose(Target(), 4) == ["c1", "c0", "c2", "c3"]


def test_copies_of_one_dataset_count_once():
    many = np.vstack([np.repeat([[0.0, 1.0]], 9, axis=0), [[1.0, 0.0]], [[1.0, 0.0]]])
    groups = ["copies"] * 9 + ["a", "b"]
    assert GreedyPortfolio().fit(table(many)).propose(Target()) == ["c0"]
    assert GreedyPortfolio().fit(table(many, groups)).propose(Target()) == ["c1"]


def test_cheap_configurations_come_first_when_seconds_count():
    # c1 gains most, but c0 gains almost as much in a hundredth of the time
    values = [[0.2, 0.0, 1.0], [0.2, 0.0, 1.0]]
    assert GreedyPortfolio().fit(table(values)).propose(Target()) == ["c1"]
    assert GreedyPortfolio(per_second=True).fit(table(values, seconds=[1, 100, 1])).propose(Target()) == ["c0"]
    assert GreedyPortfolio(per_second=True).fit(table(values)).propose(Target()) == ["c1"]  # no run times: no price


def test_ranks_ignore_how_much_better():
    # c0 is far better once, c1 a little better thrice
    values = [[0.0, 1.0, 0.9]] + [[0.52, 0.50, 1.5]] * 3
    assert GreedyPortfolio(objective="rank").fit(table(values)).propose(Target()) == ["c1"]
    assert GreedyPortfolio(objective="distance").fit(table(values)).propose(Target()) == ["c0"]


def test_greedy_reaches_its_guarantee_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(20):
        loss, weights = regret(rng.random((6, 8))), np.full(6, 1 / 6)

        def value(columns, loss=loss, weights=weights):
            return weights @ (1 - loss[:, list(columns)].min(axis=1))

        order = greedy_order(loss, weights, 3)
        assert value(order[:1]) == max(value([j]) for j in range(8))
        assert value(order) >= (1 - 1 / np.e) * max(value(c) for c in combinations(range(8), 3))


def test_an_unknown_cell_is_no_gain():
    assert greedy_order(np.array([[np.nan, 0.5], [np.nan, 0.5]]), np.array([0.5, 0.5]), 1) == [1]


def test_scalings():
    assert regret(np.array([[3.0, 3.0]])).tolist() == [[0.0, 0.0]]
    assert ranks(np.array([[3.0, 1.0, 2.0, 2.0]])).tolist() == [[1.0, 0.0, 0.5, 0.5]]
