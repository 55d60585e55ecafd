"""Dataset2Vec: what it must be blind to, what it must see, and how it is trained."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

from metafeatures import Table
from metafeatures.similarity import dataset2vec, dataset2vec_training
from metafeatures.similarity.dataset2vec import Dataset2Vec, embed, matrices


def patch(n=20, m=5, t=3, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, m)).astype("f4")), torch.tensor(rng.integers(0, 2, (n, t)).astype("f4"))


def family(seed, n=300):
    """A table of its own kind: number of columns, correlation, skewness, classes and signal are drawn."""
    rng = np.random.default_rng(seed)
    d, k, power = rng.integers(2, 12), rng.integers(2, 6), rng.uniform(0.5, 3)
    X = rng.normal(size=(n, d)) @ (np.eye(d) + rng.uniform(0, 1) * rng.normal(size=(d, d)))
    score = X @ rng.normal(size=d) * rng.uniform(0, 2) + rng.normal(size=n)
    cuts = np.quantile(score, np.sort(rng.uniform(0.1, 0.9, k - 1)))
    X = np.sign(X) * np.abs(X) ** power
    return matrices(Table(pd.DataFrame(X), pd.Series(np.searchsorted(cuts, score)), task_type="classification"))


@pytest.mark.parametrize("axis", ["rows", "features", "targets"])
def test_the_order_of_rows_features_and_targets_does_not_matter(axis):
    x, y = patch()
    shuffled = {
        "rows": lambda p: (x[p], y[p]),
        "features": lambda p: (x[:, p], y),
        "targets": lambda p: (x, y[:, p]),
    }[axis]
    size = {"rows": 20, "features": 5, "targets": 3}[axis]
    order = torch.tensor(np.random.default_rng(1).permutation(size))
    network = dataset2vec.trained()
    torch.testing.assert_close(network([(x, y)]), network([shuffled(order)]), rtol=1e-5, atol=1e-5)


def test_twice_the_same_rows_features_and_targets_are_the_same_table():
    x, y = patch()
    network = dataset2vec.trained()
    doubled = torch.cat([torch.cat([x, x]), torch.cat([x, x])], dim=1), torch.cat([torch.cat([y, y])] * 2, dim=1)
    torch.testing.assert_close(network([(x, y)]), network([doubled]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 40, 1), (100, 1, 30)])
def test_any_shape_can_be_embedded_beside_any_other(shape):
    x, y = patch(*shape)
    network = dataset2vec.trained()
    together = network([(x, y), patch()])
    assert together.shape == (2, dataset2vec.DIMENSIONS)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[:1], network([(x, y)]))


def test_a_table_is_embedded_whatever_the_order_and_the_names():
    X, y = load_iris(return_X_y=True, as_frame=True)
    Z, z = X.iloc[::-1, ::-1].set_axis(list("abcd"), axis=1), y.iloc[::-1].map({0: "x", 1: "y", 2: "z"})
    pd.testing.assert_series_equal(embed(Table(X, y)), embed(Table(Z, z)), check_exact=True)
    assert len(embed(Table(X, y))) == dataset2vec.DIMENSIONS


def test_halves_of_a_table_are_nearer_than_two_tables():
    X, y = load_iris(return_X_y=True, as_frame=True)
    D, d = load_diabetes(return_X_y=True, as_frame=True)
    one, other, diabetes = (embed(Table(*t)) for t in ((X[::2], y[::2]), (X[1::2], y[1::2]), (D, d)))
    assert np.linalg.norm(one - other) < np.linalg.norm(one - diabetes)


def test_a_table_without_cells_has_no_place():
    assert embed(Table(pd.DataFrame(index=range(3)), pd.Series([0, 1, 0]))).isna().all()
    assert embed(Table(pd.DataFrame(), pd.Series(dtype=float))).isna().all()


def test_tables_never_seen_are_known_again():
    tables = [family(seed) for seed in range(40)]
    torch.manual_seed(0)
    assert dataset2vec_training.same_table_auc(dataset2vec.trained(), tables, pairs=400) > 0.9
    assert dataset2vec_training.same_table_auc(Dataset2Vec(), tables, pairs=400) < 0.9


def test_probability_and_loss_of_known_distances():
    a, b = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    p = dataset2vec_training.similarity(a, b)
    torch.testing.assert_close(p, torch.tensor([1.0, 0.5]))
    same = dataset2vec_training.loss(p[1:], torch.ones(1))
    apart = dataset2vec_training.loss(p[1:], torch.zeros(1))
    assert same.item() == pytest.approx(math.log(2))
    assert apart.item() == pytest.approx(2 * math.log(2))


def test_gradient_of_the_loss_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = Dataset2Vec(blocks=1).double()
    patches = [(x.double(), y.double()) for x, y in (patch(seed=seed) for seed in range(4))]
    same = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def value():
        a, b = network(patches).chunk(2)
        return dataset2vec_training.loss(dataset2vec_training.similarity(a, b), same)

    value().backward()
    for weights in (network.f[0].weight, network.g[0].weight, network.h[-1].bias):
        gradient, step = weights.grad.view(-1)[0].item(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weights.view(-1)[0] += sign * step
                values.append(value().item())
                weights.view(-1)[0] -= sign * step
        assert gradient == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_training_learns_and_is_reproducible():
    tables = [family(seed, n=80) for seed in range(6)]
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        network = Dataset2Vec(blocks=1)
        before = dataset2vec_training.train(network, tables, steps=1, seed=0)
        after = dataset2vec_training.train(network, tables, steps=20, seed=0)
        assert after < before
        weights.append(network.state_dict())
    for name, values in weights[0].items():
        torch.testing.assert_close(values, weights[1][name], rtol=0, atol=0)
