"""The factor model against planted structure and closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from portfolio import WARM_STARTERS, History, Target
from portfolio.calibration import Calibration
from portfolio.completion import complete
from portfolio.encoding import encode
from portfolio.factor_model import FactorModel
from portfolio.improvement import expected_improvement
from portfolio.table import Table


@pytest.mark.parametrize(("mean", "deviation", "best"), [(0.0, 1.0, 0.0), (1.0, 0.5, 0.3), (-2.0, 2.0, 1.0)])
def test_expected_improvement_is_the_integral(mean, deviation, best):
    integral, _ = quad(lambda y: max(best - y, 0) * norm.pdf(y, mean, deviation), mean - 12 * deviation, best)
    assert expected_improvement(np.array([mean]), np.array([deviation]), best)[0] == pytest.approx(integral, abs=1e-8)


def planted(tasks=60, configurations=40, rank=3, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = rng.normal(size=(tasks, rank)), rng.normal(size=(configurations, rank))
    return rows @ columns.T + rng.normal(size=configurations) + noise * rng.normal(size=(tasks, configurations))


def test_a_planted_low_rank_matrix_is_recovered_through_holes():
    truth = planted()
    holes = np.random.default_rng(1).random(truth.shape) < 0.3
    filled, variance = complete(np.where(holes, np.nan, truth), np.zeros((40, 0)))
    naive = np.nanmean(np.where(holes, np.nan, truth), axis=0)
    assert np.sqrt(((filled - truth)[holes] ** 2).mean()) < 0.05 * np.sqrt(((truth - naive)[holes] ** 2).mean())
    assert (filled == truth)[~holes].all() and (variance >= 0).all()


def test_many_more_tasks_than_configurations_are_completed_in_little_memory():
    random = np.random.default_rng(1)
    truth = random.normal(size=(30_000, 3)) @ random.normal(size=(3, 20))
    holes = random.random(truth.shape) < 0.3
    filled, _ = complete(np.where(holes, np.nan, truth), np.zeros((20, 0)))
    assert np.sqrt(np.mean((filled - truth)[holes] ** 2)) < 0.1 * truth.std()


def test_a_configuration_never_seen_is_predicted_from_its_hyperparameters():
    widths = np.arange(1, 21)
    truth = np.outer(np.linspace(0.5, 1.5, 30), widths / 20) + 0.001 * np.random.default_rng(0).normal(size=(30, 20))
    seen = truth.copy()
    seen[:, 13] = np.nan
    filled, variance = complete(seen, encode([{"width": int(width)} for width in widths]))
    assert np.abs(filled[:, 13] - truth[:, 13]).mean() < 0.1
    assert variance[13] == variance.max()


def test_the_scale_of_the_target_is_inferred():
    truth = planted(rank=2)
    table = Table.of(History(pd.DataFrame(truth[:-1]), {}))
    model = FactorModel(table, table.task_weights)
    seen = np.arange(12)
    target = 7.0 + 3.0 * truth[-1]  # an unknown shift and scale
    posterior = model.posterior(model.prior(table.task_weights), seen, target[seen], target[seen].min())
    assert np.corrcoef(posterior.mean[12:], target[12:])[0, 1] > 0.98
    inside = np.abs(posterior.mean - target)[12:] < 3 * posterior.deviation[12:]
    assert inside.mean() > 0.9


def history(errors, features=None) -> History:
    tasks, ids = [f"t{i}" for i in range(len(errors))], [f"c{j}" for j in range(errors.shape[1])]
    metafeatures = (
        None if features is None else pd.DataFrame(features, tasks, [f"f{k}" for k in range(features.shape[1])])
    )
    return History(pd.DataFrame(errors, tasks, ids), {name: {} for name in ids}, metafeatures)


@pytest.mark.parametrize("name", ["pmf", "gplvm"])
def test_results_lead_to_the_best_configuration(name):
    errors = planted()
    starter = WARM_STARTERS[name](calibration=Calibration()).fit(history(errors[:-1]))
    seen = {f"c{j}": float(errors[-1, j]) for j in range(10)}
    rest = errors[-1, 10:]
    ids = starter.propose(Target(None, seen), 3)
    assert f"c{10 + int(np.argmin(rest))}" in ids


@pytest.mark.parametrize("name", ["knn", "pmf", "auto", "selector"])
def test_metafeatures_that_tell_the_kind_of_task_are_used(name):
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 30)
    errors = np.where(kind[:, None] == 0, np.linspace(0, 1, 8), np.linspace(1, 0, 8)) + 0.01 * rng.random((60, 8))
    features = np.column_stack([kind + 0.1 * rng.random(60), rng.random(60)])
    starter = WARM_STARTERS[name](seed=0).fit(history(errors, features))
    assert starter.propose(Target(pd.Series({"f0": 0.05, "f1": 0.5}))) == ["c0"]
    assert starter.propose(Target(pd.Series({"f0": 1.05, "f1": 0.5}))) == ["c7"]
