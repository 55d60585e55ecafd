"""The smooth residual against functions that are known."""

import numpy as np
import pytest

from hw_cost.calibration import conformal
from hw_cost.quantities import QUANTITIES
from hw_cost.regression import fit_kernels
from hw_cost.residual import Residual, _surprise


def random_points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, size=(n, 3))


def wave(x: np.ndarray) -> np.ndarray:
    return 0.3 * np.sin(2 * x[:, 0]) + 0.1 * x[:, 1]  # the third feature says nothing


def test_a_smooth_function_is_found_between_its_points():
    residual = Residual.fit(random_points(150), wave(random_points(150)))
    fresh = random_points(100, seed=1)
    assert np.abs(residual.predict(fresh) - wave(fresh)).max() < 0.1
    assert np.sqrt(np.mean(residual.left_out**2)) < 0.03
    assert residual.lengths[2] > residual.lengths[0], "what says nothing is looked at from afar"


def test_errors_on_left_out_points_are_those_of_fits_without_them():
    x, y = random_points(30), wave(random_points(30))
    whole = Residual.fit(x, y)
    kept = np.arange(30) != 7
    distance = np.sqrt(3) * np.linalg.norm(whole.points[:, None] - whole.points[None], axis=2)  # Matern 3/2 by hand
    covariance = (1 + distance) * np.exp(-distance)
    noise = float(np.mean((y - covariance @ whole.weights) / whole.weights))  # relative to the variance
    assert np.allclose((covariance + noise * np.eye(30)) @ whole.weights, y, atol=1e-6)
    inner = covariance[np.ix_(kept, kept)] + noise * np.eye(29)
    assert y[7] - covariance[7, kept] @ np.linalg.solve(inner, y[kept]) == pytest.approx(whole.left_out[7], abs=1e-6)


def test_lengths_and_noise_are_those_of_a_gradient_that_is_zero():
    x, y = random_points(40), wave(random_points(40))
    logs = np.array([0.3, 0.7, 1.0, 0.2, -2.0])
    trust = np.linspace(0.1, 1, 40)
    _, gradient = _surprise(logs, x, y, trust)
    steps = 1e-5 * np.eye(5)
    slopes = [
        (_surprise(logs + step, x, y, trust)[0] - _surprise(logs - step, x, y, trust)[0]) / 2e-5 for step in steps
    ]
    assert gradient == pytest.approx(slopes, rel=1e-4)


def test_a_value_far_from_what_its_neighbours_say_counts_less():
    x = random_points(60)
    y = wave(x)
    spoilt = y.copy()
    spoilt[7] += 3.0
    plain, robust = Residual.fit(x, spoilt), Residual.fit_robustly(x, spoilt)
    others = np.arange(60) != 7

    def error(residual):
        return np.sqrt(np.mean((residual.predict(x[others]) - y[others]) ** 2))

    assert error(robust) < 0.5 * error(plain)


def test_far_from_all_points_nothing_is_claimed():
    residual = Residual.fit(random_points(60), wave(random_points(60)))
    assert np.abs(residual.predict(np.full((1, 3), 1e4))).max() < 1e-6


def test_a_feature_that_never_varied_has_a_length_and_does_no_harm():
    x = np.random.default_rng(0).uniform(-2, 2, size=(40, 1))
    fitted = Residual.fit(np.hstack([x, np.zeros_like(x)]), 0.3 * np.sin(x[:, 0]))
    assert (fitted.lengths > 1e-3).all()
    same, other = fitted.predict(np.array([[1.0, 0.0], [1.0, 0.1]]))
    assert same == pytest.approx(other, rel=0.05) and same == pytest.approx(0.3 * float(np.sin(1.0)), abs=0.02)


def test_a_kernel_that_is_no_sum_gets_a_residual_and_a_sum_gets_none():
    random = np.random.default_rng(3)
    sizes = [
        dict(zip(("matrices", "rows", "n_in", "n_out"), random.integers(1, 200, size=4).tolist(), strict=True))
        for _ in range(80)
    ]
    sums = np.array([QUANTITIES["product"](s) for s in sizes]) @ np.linspace(0.5, 1e-4, 8)
    factor = np.array([np.exp(0.4 * np.sin(2 * np.log(s["rows"]))) for s in sizes])
    assert fit_kernels("product", sizes, sums).residual is None
    fit = fit_kernels("product", sizes, sums * factor)
    assert fit.residual is not None and fit.spread < 0.2


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (19, 18), (99, 90)])
def test_the_conformal_quantile_has_the_rank_of_one_more(n, rank):
    assert conformal(np.arange(1.0, n + 1)) == rank


def test_too_few_errors_for_the_rank_double_the_largest():
    assert conformal(np.array([0.1, 0.3])) == 0.6
