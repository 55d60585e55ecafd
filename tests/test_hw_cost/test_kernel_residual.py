"""Errors of kernels, told from networks alone, against errors that are known."""

import math

import numpy as np
import pytest

from hw_cost.kernel_residual import (
    OFFSET,
    KernelResidual,
    TimedNetwork,
    _operators,
    _regress,
    features,
    fit_kernel_residual,
)
from hw_cost.kernels import Kernel
from hw_cost.residual import covariance


def kernel(op: str, width: int) -> Kernel:
    return Kernel(op, {"rows": 1, "width": width})


def truth(kernel: Kernel) -> float:
    """Softmax errs by a wave over its width, LayerNormalization by a fifth whatever its sizes."""
    wave = 0.4 * math.sin(1.5 * math.log(kernel.sizes["width"]))
    return wave if kernel.op == "Softmax" else math.log(1.2)


def networks(n: int, seed: int = 0, noise: float = 0.005) -> list[TimedNetwork]:
    random, drawn = np.random.default_rng(seed), []
    for _ in range(n):
        ops = random.choice(["Softmax", "LayerNormalization"], size=random.integers(2, 7))
        kernels = [kernel(str(op), int(np.exp(random.uniform(1, 7)))) for op in ops]
        foretold = np.array([1 + k.sizes["width"] / 100 for k in kernels])
        measured = 3 + float(foretold @ np.exp([truth(k) for k in kernels]))
        drawn.append(TimedNetwork(kernels, foretold, 3.0, measured * math.exp(noise * random.normal())))
    return drawn


@pytest.fixture(scope="module")
def fitted() -> tuple[KernelResidual, np.ndarray]:
    return fit_kernel_residual(networks(200))


def test_errors_of_kernels_are_found_from_networks(fitted):
    fresh = [kernel(op, width) for op in ("Softmax", "LayerNormalization") for width in range(60, 800, 30)]
    assert np.abs(fitted[0].predict(fresh) - [truth(k) for k in fresh]).max() < 0.05


def test_networks_that_were_left_out_are_foretold_better_than_without(fitted):
    before = [math.log(n.measured_us / (n.rest_us + n.latencies_us.sum())) for n in networks(200)]
    assert np.sqrt(np.mean(np.square(fitted[1]))) < 0.02 < 0.1 < np.sqrt(np.mean(np.square(before)))


def test_a_few_networks_that_went_wrong_do_not_spoil_the_rest():
    spoilt = networks(200)
    for k in range(0, 200, 25):
        spoilt[k] = TimedNetwork(spoilt[k].kernels, spoilt[k].latencies_us, 3.0, 2 * spoilt[k].measured_us)
    residual, _ = fit_kernel_residual(spoilt)
    fresh = [kernel("Softmax", width) for width in range(60, 800, 30)]
    assert np.abs(residual.predict(fresh) - [truth(k) for k in fresh]).max() < 0.1


def test_nothing_is_claimed_of_what_no_network_had(fitted):
    other = Kernel("Relu", {"bytes": 4, "spans": 1, "inner": 0})
    assert fitted[0].predict([other]).tolist() == [0.0]
    far = float(fitted[0].predict([kernel("Softmax", 10**12)])[0])
    assert far == pytest.approx(fitted[0].processes["Softmax"].offset, abs=0.02)


def test_it_is_written_and_read_back(fitted):
    fresh = [kernel("Softmax", width) for width in (7, 70, 700)]
    again = KernelResidual.from_json(fitted[0].to_json())
    assert again.predict(fresh) == pytest.approx(fitted[0].predict(fresh), abs=2e-3)


def test_a_network_that_is_left_out_errs_as_in_a_fit_without_it():
    random = np.random.default_rng(0)
    root, target, noise = random.normal(size=(12, 5)), random.normal(size=12), random.uniform(0.1, 0.3, size=12)
    covariances, kept = root @ root.T, np.arange(12) != 4
    inner = _regress(covariances[np.ix_(kept, kept)], noise[kept], target[kept])
    alone = target[4] - covariances[4, kept] @ inner.weights
    assert _regress(covariances, noise, target).left_out[4] == pytest.approx(alone)


def test_with_all_its_kernels_a_process_is_the_gaussian_process_itself():
    own = _operators(networks(8))["Softmax"]
    assert len(own.points) == len(own.places)
    basis = own.basis(2.0)
    assert basis @ basis.T == pytest.approx(covariance(own.standard / 2, own.standard / 2), abs=1e-4)
    values = np.random.default_rng(0).normal(size=basis.shape[1])
    process = own.process(2.0, values, OFFSET)
    rows = np.array([features(kernel("Softmax", int(name.split("width=")[1][:-1]))) for name in own.places])
    assert process.predict(rows) == pytest.approx(basis @ values + OFFSET, abs=1e-3)
