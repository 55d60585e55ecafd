import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_cost.regression import QUANTITIES, fit_kernels
from hw_cost.sizes import SIZE_NAMES

TOGETHER = ("trees", "height", "width", "groups", "window", "taps", "stride", "inner")
"""Sizes that no kernel can change alone."""
TOP = {"rows": 300, "n_in": 5000, "n_out": 2000, "working_set": 10**8, "trees": 500}


def random_sizes(kind: str, random: np.random.Generator) -> dict[str, int]:
    sizes = {name: int(np.exp(random.uniform(0, np.log(TOP.get(name, 10_000))))) for name in SIZE_NAMES[kind]}
    if kind == "trees":
        sizes["leaves"] = sizes["trees"] * int(random.integers(2, 64))
    if kind == "conv":
        side, sizes["stride"] = int(random.choice([1, 3, 5])), int(random.choice([1, 2]))
        sizes |= {"groups": 1, "window": side**2, "taps": sizes["height"] * sizes["width"] * side**2}
    return sizes


def test_a_law_made_of_its_quantities_is_found():
    random = np.random.default_rng(0)
    sizes = [random_sizes("gather", random) for _ in range(40)]
    latencies = np.array([0.3 + 0.01 * s["lookups"] + 2e-5 * s["lookups"] * s["bytes"] for s in sizes])
    fit = fit_kernels("gather", sizes, latencies)
    assert fit.weights == pytest.approx((0.3, 0.01, 2e-5), rel=1e-3)
    assert fit.spread == pytest.approx(0.02), "its floor"
    assert fit.predict({"lookups": 100, "bytes": 8}) == pytest.approx(0.3 + 1 + 0.016, rel=1e-3)


def test_depthwise_kernels_of_odd_channels_may_be_slower():
    channels, side = (16, 24, 40, 48, 64, 72, 8, 96, 33, 128, 37, 256), (8, 16)
    sizes = [
        {name: 1 for name in SIZE_NAMES["conv"]}
        | {"height": n, "width": n, "n_in": c, "n_out": c, "groups": c, "window": 9, "taps": 9 * n * n}
        | {"activation": 0, "added": 0}
        for c in channels
        for n in side
    ]
    latencies = np.array([1 + 1e-4 * s["taps"] * s["n_out"] * (1 if s["n_out"] % 16 == 0 else 2) for s in sizes])
    fit = fit_kernels("conv", sizes, latencies)
    assert fit.predict(sizes[4]) > fit.predict(sizes[6]), "40 channels are slower than 48"


def test_noise_shows_in_the_spread():
    random = np.random.default_rng(1)
    sizes = [random_sizes("encoder", random) for _ in range(60)]
    latencies = np.array([(0.3 + 0.01 * s["elements"]) * np.exp(random.normal(0, 0.1)) for s in sizes])
    assert 0.07 < fit_kernels("encoder", sizes, latencies).spread < 0.15


@pytest.mark.parametrize("kind", QUANTITIES)
@given(seed=st.integers(0, 1000), data=st.data())
def test_no_prediction_falls_when_a_size_grows(kind, seed, data):
    random = np.random.default_rng(seed)
    sizes = [random_sizes(kind, random) for _ in range(12)]
    fit = fit_kernels(kind, sizes, np.exp(random.uniform(-1, 6, size=12)))
    small = random_sizes(kind, random)
    name = data.draw(st.sampled_from([name for name in SIZE_NAMES[kind] if name not in TOGETHER]))
    large = small | {name: small[name] * data.draw(st.integers(1, 50))}
    assert 0 < fit.predict(small) <= fit.predict(large) * (1 + 1e-9)


def test_beyond_what_was_measured_is_told():
    sizes = [{"elements": n, "n_keys": 4} for n in (1, 10, 100)]
    fit = fit_kernels("encoder", sizes, np.array([0.4, 0.5, 1.5]))
    assert fit.tell({"elements": 50, "n_keys": 4})[1] == 1
    assert fit.tell({"elements": 1000, "n_keys": 4})[1] == pytest.approx(10)


def test_one_kernel_is_enough_for_a_wide_estimate():
    fit = fit_kernels("rowwise", [{"rows": 1, "width": 64}], np.array([0.5]))
    assert fit.predict({"rows": 1, "width": 64}) == pytest.approx(0.5, rel=1e-3)
    assert fit.spread > 0.5


def test_a_quantity_that_one_kernel_has_is_told_by_its_relatives():
    """Weights beyond a cache, measured once and with an error: that must not become the price of all such weights."""
    random = np.random.default_rng(3)

    def kernel(rows: int, working_set: int) -> dict[str, int]:
        n_in, n_out = (int(n) for n in np.exp(random.uniform(3, 6, 2)))
        return {"rows": rows, "n_in": n_in, "n_out": n_out, "working_set": working_set}

    def cost(s: dict[str, int]) -> float:
        weights = s["n_in"] * 16 * -(-s["n_out"] // 16)
        return 1 + weights * (2e-5 * s["rows"] + 2e-4 * (s["working_set"] > 2**24))

    own = [kernel(int(rows), 2**20) for rows in random.integers(2, 40, 40)] + [kernel(11, 2**25)]
    others = [kernel(int(rows), 2**at) for rows in random.integers(2, 40, 60) for at in (20, 25)]
    latencies = np.array([cost(s) for s in own])
    latencies[-1] *= 1.5
    asked = {"rows": 32, "n_in": 300, "n_out": 1000, "working_set": 2**25}
    alone = fit_kernels("dense", own, latencies).predict(asked)
    helped = fit_kernels("dense", own, latencies, relatives=(others, np.array([cost(s) for s in others]))).predict(
        asked
    )
    assert alone > 1.2 * cost(asked)
    assert helped == pytest.approx(cost(asked), rel=0.1)
