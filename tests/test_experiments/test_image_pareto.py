"""The experiment on images at a tiny size: it trains, judges, draws, and says what dominates what."""

from dataclasses import asdict, replace

import numpy as np

from experiments.fixed_networks import FIXED_NETWORKS
from experiments.image_pareto import Network, Order, table, train, verdicts
from metaml.space import SPACES
from tests.conftest import striped_images


def test_networks_are_trained_and_judged_by_images_that_nothing_has_seen(tmp_path):
    images, y = striped_images(60, side=8)
    np.savez(tmp_path / "data.npz", x_train=images[:40], y_train=y[:40], x_test=images[40:], y_test=y[40:])
    data = str(tmp_path / "data.npz")
    found = SPACES["image"].safe() | {"epochs": 1}
    fixed = {"family": "ResNet-8", **dict(FIXED_NETWORKS["ResNet-8"].space().get_default_configuration())}
    networks = [
        train(Order("trial 0", data, found, str(tmp_path / "a.onnx"), True, 0.01)),
        train(Order("ResNet-8", data, fixed, str(tmp_path / "b.onnx"), False, 0.01)),
    ]
    assert [(network.found, network.epochs) for network in networks] == [(True, 1), (False, 1)]
    assert all(0 <= network.accuracy <= 1 for network in networks)
    assert (tmp_path / "b.onnx").stat().st_size > 0
    measured = [replace(network, latency_ms=1.0, low_ms=0.9, high_ms=1.1) for network in networks]
    figures = {
        "data": {"name": "stripes", "training_images": 40, "test_images": 20},
        "networks": [asdict(network) for network in measured],
    }
    assert table(figures)["name"].tolist() == ["trial 0", "ResNet-8"]


def network(name: str, accuracy: float, latency_ms: float, *, found: bool) -> Network:
    return Network(name, found, accuracy, 1, 1.0, 1, {}, "", latency_ms=latency_ms)


def test_a_network_is_dominated_by_one_that_is_as_good_and_faster():
    slow = network("slow", 0.6, 2.0, found=False)
    fast = network("fast", 0.5, 0.1, found=False)
    ours = [network("a", 0.6, 1.0, found=True), network("b", 0.4, 0.1, found=True), network("c", 0.5, 0.2, found=True)]
    assert verdicts([slow, fast, *ours]) == {"slow": "dominated by a", "fast": "not dominated"}
