"""Warped errors against integrals; what the store says of its own noise; forests that tell kinds of tasks apart."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from portfolio import WARM_STARTERS, History, Target
from portfolio.calibration import calibrate
from portfolio.factor_model import profiles
from portfolio.forest import TaskForest
from portfolio.table import Table
from portfolio.warping import Asinh, Straight

WARPS = [Straight(), Asinh(0.1), Asinh(0.01)]


@pytest.mark.parametrize("warp", WARPS)
@given(value=st.floats(-2, 2))
def test_a_warp_can_be_undone_and_its_slope_is_the_derivative(warp, value):
    there = warp.forward(np.array([value, value + 1e-6, value - 1e-6]))
    assert warp.inverse(there)[0] == pytest.approx(value, abs=1e-9)
    assert np.exp(warp.log_slope(np.array([value])))[0] == pytest.approx((there[1] - there[2]) / 2e-6, rel=1e-3)


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize(("mean", "deviation", "best"), [(0.3, 0.2, 0.1), (0.9, 0.05, 0.5), (-0.1, 0.4, 0.02)])
def test_improvement_under_a_warp_is_the_integral(warp, mean, deviation, best):
    end = float(warp.forward(np.array(best)))
    integral, _ = quad(
        lambda z: (best - float(warp.inverse(np.array(z)))) * norm.pdf(z, mean, deviation),
        min(mean, end) - 12 * deviation,
        end,
        limit=200,
    )
    found = warp.improvement(np.array([mean]), np.array([deviation]), np.array([best]))
    assert found[0] == pytest.approx(integral, rel=1e-6, abs=1e-9)


def planted(noise: float, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30)) + rng.normal(size=30)
    return Table.of(History(pd.DataFrame(errors + noise * rng.normal(size=errors.shape)), {}))


def test_the_noise_of_a_store_is_recognised():
    found = [calibrate(planted(noise)).noise for noise in (0.01, 0.5, 1.5)]
    assert found[0] < found[1] < found[2]


def test_a_log_scale_is_chosen_where_differences_are_of_orders_of_magnitude():
    rng = np.random.default_rng(0)
    easy = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30)) + rng.normal(size=30)
    assert calibrate(Table.of(History(pd.DataFrame(np.exp(2 * easy)), {}))).scaling == "log-regret"
    assert calibrate(Table.of(History(pd.DataFrame(easy), {}))).scaling != "log-regret"


def test_with_few_families_nothing_is_chosen():
    table = planted(0.1)
    groups = pd.Series(["a", "b"] * 20)
    few = Table.of(History(pd.DataFrame(table.errors), {}, groups=groups))
    assert "too few" in calibrate(few).reason


def kinds(missing: float = 0.0) -> Table:
    """Two kinds of tasks, told apart by the first of three metafeatures on a scale of orders of magnitude."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 30)
    errors = np.where(kind[:, None] == 0, np.linspace(0, 1, 8), np.linspace(1, 0, 8)) + 0.01 * rng.random((60, 8))
    features = np.column_stack([10.0 ** (3 * kind + rng.random(60)), rng.random((60, 2))])
    features[rng.random(features.shape) < missing] = np.nan
    return Table.of(History(pd.DataFrame(errors), {}, pd.DataFrame(features)))


@pytest.mark.parametrize(("missing", "share"), [(0.0, 0.9), (0.2, 0.7)])
def test_a_forest_leans_on_tasks_of_the_same_kind(missing, share):
    table = kinds(missing)
    forest = TaskForest(table, profiles(table), table.task_weights)
    for value, same in ((5.0, slice(0, 30)), (5000.0, slice(30, 60))):
        near = forest.neighbourhood(np.array([value, 0.5, np.nan]))
        assert near.near and near.weights.sum() == pytest.approx(1.0)
        assert near.weights[same].sum() > share


@pytest.mark.parametrize("features", [np.full(3, np.nan), np.zeros(0)])
def test_without_metafeatures_all_tasks_weigh_as_before(features):
    table = kinds()
    if not len(features):
        table = Table.of(History(pd.DataFrame(table.errors), {}))
    near = TaskForest(table, profiles(table), table.task_weights).neighbourhood(features)
    assert not near.near and (near.weights == table.task_weights).all()


def test_a_store_too_small_to_be_judged_gets_one_trial_for_each_family():
    errors = pd.DataFrame([[0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.2, 0.3]], columns=list("abcd"))
    auto = WARM_STARTERS["auto"](seed=0).fit(History(errors, {}))
    assert auto.hand_over(Target(None, {"a": 0.5})) == ""
    assert "too few" in auto.hand_over(Target(None, {"a": 0.5, "b": 0.6}))
