"""The pieces of the ablation that decide what it says."""

import numpy as np
import pandas as pd
import pytest

from experiments import metafeatures_ablation as ablation
from experiments.metafeatures_contestants import PORTFOLIO

REGRETS = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.4], [1.0, 0.2, 0.4]])


def test_greedy_takes_the_best_mean_then_what_complements_it_most():
    equal = np.full(3, 1 / 3)
    assert ablation.greedy(REGRETS, equal, 3) == (1, 0, 2)  # means 0.67, 0.4, 0.43; then task 0 gains 1
    assert ablation.greedy(REGRETS, np.array([1.0, 0.0, 0.0]), 1) == (0,)
    assert ablation.greedy(REGRETS, equal, 2, first=(2,)) == (2, 1)  # gains of 0: 0.5; of 1: 0.4 + 0.2


def test_weights_go_to_the_nearest_and_to_all_where_none_is_nearer():
    distances = pd.Series(np.arange(30.0), [f"t{i}" for i in range(30)])
    weights = ablation.nearest(distances)
    assert weights[: ablation.NEIGHBOURS].tolist() == [1 / ablation.NEIGHBOURS] * ablation.NEIGHBOURS
    assert weights.sum() == pytest.approx(1)
    assert ablation.nearest(distances * 0).tolist() == [pytest.approx(1 / 30)] * 30
    assert ablation.nearest(distances.where(distances < 2))[:3].tolist() == [0.5, 0.5, 0.0]


def test_regret_is_zero_for_the_best_and_one_for_the_worst():
    scaled = ablation.scaled(pd.DataFrame([[0.2, 0.4, 0.3], [0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(scaled, [[0, 1, 0.5], [0, 0, 0]])


def test_the_interval_of_a_constant_difference_has_no_width():
    differences = pd.DataFrame(0.25, index=["iris", "iris-2", "wine"], columns=ablation.PROPOSALS)
    assert (
        ablation.interval(differences, {"iris": "i", "iris-2": "i", "wine": "w"}).to_numpy().tolist()
        == [[0.25] * 4] * 2
    )


def test_the_figure_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    rng = np.random.default_rng(0)
    curves = {
        (name, label): pd.DataFrame(rng.uniform(size=(4, 4)), list("abcd"), ablation.PROPOSALS)
        for name in (PORTFOLIO, "one", "other")
        for label in ablation.SHARES
    }
    table = ablation.comparison(curves, {name: name for name in "abcd"})
    assert (table.loc[PORTFOLIO, ["difference", "low", "high"]] == 0).all(axis=None)
    ablation.draw(table, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
