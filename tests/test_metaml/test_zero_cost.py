"""Scores of untrained networks against values that are known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from metaml.data import make_task
from metaml.space import SPACES
from metaml.zero_cost import SCORES, ZeroCost, condition_number, jacob_cov, kernel, linear_regions, synflow
from tests.conftest import mixed_table

SPACE = SPACES["tabular"]
RNG = np.random.default_rng(0)


def inputs(n: int = 12, d: int = 4) -> tuple[torch.Tensor]:
    return (torch.from_numpy(RNG.normal(size=(n, d)).astype(np.float32)),)


def test_synflow_of_a_linear_chain_is_its_paths_times_its_layers():
    chain = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((4, 5), (5, 3), (3, 2))))
    product = np.ones((4, 1))
    for layer in chain:
        product = np.abs(layer.weight.detach().numpy().astype(np.float64)) @ product
    assert synflow(chain, inputs()) == pytest.approx(math.log(3 * product.sum()))


def test_tangent_kernel_of_a_linear_network_is_the_gram_matrix():
    """The summed scores of C linear outputs have gradient x for each of them: K = C (X X^T + 1), 1 for the biases."""
    (x,) = inputs(n=4, d=6)
    gram = x.double().numpy() @ x.double().numpy().T
    np.testing.assert_allclose(kernel(nn.Linear(6, 3, bias=False), (x,)), 3 * gram, rtol=1e-9)
    np.testing.assert_allclose(kernel(nn.Linear(6, 3), (x,)), 3 * (gram + 1), rtol=1e-9)
    assert -SCORES["ntk"](nn.Linear(6, 3, bias=False), (x,)) == pytest.approx(math.log(np.linalg.cond(gram)))


def test_condition_number_of_more_rows_than_parameters_is_infinite():
    assert condition_number(kernel(nn.Linear(2, 1, bias=False), inputs(n=5, d=2))) == math.inf


def test_hinges_cut_a_line_into_one_more_region():
    layer = nn.Linear(1, 5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.copy_(torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8]))
    line = (torch.linspace(-1, 1, 401)[:, None],)
    assert linear_regions(nn.Sequential(layer, nn.ReLU()), line) == 6
    assert linear_regions(nn.Sequential(layer, nn.ReLU()), (torch.zeros(50, 1),)) == 1


def test_rows_with_the_same_jacobian_score_worse_than_rows_with_their_own():
    flat = nn.Linear(4, 2)
    bent = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
    assert jacob_cov(bent, inputs()) > jacob_cov(flat, inputs())


@pytest.fixture(scope="module")
def task():
    table = mixed_table(n_classes=3)
    return make_task(table[["age", "income", "city", "member"]], table["label"])


@pytest.mark.parametrize("name", SCORES)
class TestContract:
    def test_same_seed_same_score_and_nothing_else_changes(self, name, task):
        score = ZeroCost(name, task, seed=3)
        state = torch.get_rng_state()
        for family in ("mlp", "resnet", "tabm", "ft_transformer", "saint"):
            value = score(SPACE.default(family))
            assert value == score(SPACE.default(family))
            assert not math.isnan(value)
        assert torch.equal(torch.get_rng_state(), state)

    def test_what_is_no_network_comes_last(self, name, task):
        assert ZeroCost(name, task)(SPACE.default("linear")) == -math.inf
