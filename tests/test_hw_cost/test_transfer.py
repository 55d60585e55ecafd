"""Transfer to a device that never was measured, on devices whose law the tests know."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_cost.transfer import Features, adapt_to, additive_baseline, best_proxy, most_informative

GROUPS, DEVICES = 4, 5


def world(seed: int = 0, n: int = 300) -> np.ndarray:
    """Networks × groups × devices: every device has its own price of each group."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 6, size=(n, GROUPS, 1))
    return counts * random.uniform(0.5, 2.0, size=(1, GROUPS, DEVICES))


def test_a_device_like_a_known_one_is_recognised() -> None:
    contributions = world()
    latencies = 3.0 + 7 * contributions[:, :, 2].sum(axis=1)
    adapted = adapt_to(Features.of(contributions), contributions[:10], latencies[:10])
    predicted, _ = adapted.predict(contributions[10:])
    assert int(np.argmax(adapted.proxy_weights)) == 1 + 2
    assert np.abs(predicted / latencies[10:] - 1).max() < 0.02


def test_a_device_unlike_all_known_ones_is_learnt_from_its_samples() -> None:
    contributions = world()
    latencies = contributions[:, :, 0] @ np.array([0.2, 3.0, 1.0, 0.1]) + 1
    adapted = adapt_to(Features.of(contributions), contributions[:20], latencies[:20])
    assert np.corrcoef(adapted.predict(contributions[20:])[0], latencies[20:])[0, 1] > 0.999


def test_nine_of_ten_networks_lie_inside_the_interval() -> None:
    inside = []
    for seed in range(20):
        contributions, random = world(seed), np.random.default_rng(seed)
        mixed = contributions @ random.dirichlet(np.ones(DEVICES))
        latencies = (mixed * random.uniform(0.7, 1.3, GROUPS)).sum(axis=1) + 2
        latencies *= np.exp(0.03 * random.normal(size=len(latencies)))
        adapted = adapt_to(Features.of(contributions), contributions[:10], latencies[:10])
        low, high = adapted.interval(contributions[10:])
        inside.append(np.mean((low <= latencies[10:]) & (latencies[10:] <= high)))
    assert 0.8 < np.mean(inside) <= 1.0


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-3, 1e3), units=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
def test_the_unit_of_a_latency_does_not_matter(factor: float, units: float, seed: int) -> None:
    contributions = world(seed, 60)
    latencies = 1 + contributions.sum(axis=(1, 2))
    one = adapt_to(Features.of(contributions), contributions[:10], latencies[:10])
    other = adapt_to(Features.of(units * contributions), units * contributions[:10], factor * latencies[:10])
    left, right = one.predict(contributions)[0], other.predict(units * contributions)[0]
    assert right == pytest.approx(factor * left, rel=1e-6)


def test_predictions_are_positive_far_outside_the_samples() -> None:
    contributions = world()
    order = np.argsort(contributions.sum(axis=(1, 2)))
    slowest = order[-10:]
    adapted = adapt_to(Features.of(contributions), contributions[slowest], np.geomspace(1, 100, 10))
    low, high = adapted.interval(np.zeros((1, GROUPS, DEVICES)))
    assert 0 < low[0] < high[0]


def test_a_device_that_is_nothing_but_physics_is_taken_for_it() -> None:
    """The last two of the known devices are physical ones, and the new one is the last."""
    contributions = world()
    features = Features.of(contributions, n_machines=3)
    adapted = adapt_to(features, contributions[:8], 3 * contributions[:8, :, 4].sum(axis=1))
    assert adapted.proxy_weights.shape == (1 + DEVICES,)
    assert int(np.argmax(adapted.proxy_weights)) == 1 + 4
    assert adapted.proxy_weights.sum() == pytest.approx(1)


def test_what_to_measure_is_chosen_once_and_starts_at_an_extreme() -> None:
    contributions = world()
    chosen = most_informative(Features.of(contributions), contributions, 12)
    totals = contributions.sum(axis=(1, 2))
    assert len(set(chosen)) == 12
    assert totals[chosen[0]] in (totals.min(), totals.max()) or abs(totals[chosen[0]] - totals.mean()) > totals.std()
    assert len(most_informative(Features.of(contributions), contributions[:5], 12)) == 5


@pytest.mark.parametrize(
    ("latencies", "said"),
    [([1.0], "at least 2"), ([1.0, 2.0, -1.0], "positive"), ([1.0, 2.0, float("nan")], "positive")],
)
def test_samples_that_cannot_be_true_are_refused(latencies: list[float], said: str) -> None:
    contributions = world()
    with pytest.raises(ValueError, match=said):
        adapt_to(Features.of(contributions), contributions[: len(latencies)], np.array(latencies))


def test_baselines_recover_their_own_laws() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    base, weights = additive_baseline(features, 5 + features @ np.array([2.0, 3.0]), ridge=1e-12)
    assert (base, *weights) == pytest.approx((5, 2, 3))
    devices = np.array([[1.0, 5.0], [2.0, 1.0], [3.0, 4.0], [4.0, 2.0]])
    assert best_proxy(devices, 2 * devices[:, 0] ** 1.5) == pytest.approx((0, np.log(2), 1.5))
