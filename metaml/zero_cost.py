"""Scores of untrained networks, as an optional filter before training; higher is meant to be better.

They are proposals, never accuracies: what passes the filter is trained and judged like all the rest. How well they rank
trained networks, beside counting parameters, is measured in ``docs/zero_cost.md``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hw_cost.ops import flops
from metaml.data import Task
from metaml.models import FAMILIES, NetworkShape, TorchFamily
from metaml.models.torch_family import ACTIVATIONS, EmbeddedNetwork, prepare
from metaml.preprocessing import PREPROCESSORS, kind_of
from metaml.trial import Configuration

ROWS = 32
"""Rows on which Jacobians and kernels are computed."""
REGION_ROWS = 512
"""Rows whose patterns of active units are counted."""
JACOBIAN_RIDGE = 1e-5
"""k in Mellor et al. 2020."""

Score = Callable[[nn.Module, tuple[Tensor, ...]], float]
"""An untrained module and a batch of its inputs -> how promising it is."""


def synflow(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Return log of the synaptic flow: sum of |theta dR/dtheta|, R the output for inputs of 1 (Tanaka et al. 2020).

    All parameters are replaced by their sizes and normalisations are left out. Of a chain of L linear layers without
    biases it is L times the sum of all products of sizes along the paths from input to output.
    """
    positive = copy.deepcopy(module).double().eval()
    _without_normalisation(positive)
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    ones = tuple(torch.ones_like(x[:1], dtype=torch.float64) if x.is_floating_point() else x[:1] for x in inputs)
    weights = [p for p in positive.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(positive(*ones).sum(), weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    total = sum(float((theta.detach() * gradient).abs().sum()) for theta, gradient in pairs if gradient is not None)
    return math.log(total) if total > 0 else -math.inf


def jacob_cov(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Return how little the Jacobians of different rows are correlated (Mellor et al. 2020, first version).

    -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of the correlation matrix of the rows' input gradients.
    """
    body, source = _differentiable(copy.deepcopy(module).double().eval(), inputs)
    (jacobian,) = torch.autograd.grad(body(source).sum(), [source])
    rows = jacobian.flatten(1).numpy()
    rows = rows[rows.std(axis=1) > 0]
    if len(rows) < 2:
        return -math.inf
    values = np.linalg.eigvalsh(np.corrcoef(rows)) + JACOBIAN_RIDGE
    values = np.maximum(values, JACOBIAN_RIDGE)
    return -float(np.sum(np.log(values) + 1 / values))


def ntk_condition(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Return minus log of the condition number of the neural tangent kernel (Chen et al. 2021, TE-NAS).

    K_ij is the product of the gradients of the summed scores of rows i and j, in double precision.
    """
    return -math.log(condition_number(kernel(module, inputs)))


def kernel(module: nn.Module, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """Return the tangent kernel ``(n, n)`` of the summed scores."""
    network = copy.deepcopy(module).double().eval()
    arrays = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = []
    for i in range(len(arrays[0])):
        score = network(*(x[i : i + 1] for x in arrays)).sum()
        gradients = torch.autograd.grad(score, parameters, allow_unused=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]))
    gradient = torch.stack(rows)
    product: np.ndarray = (gradient @ gradient.T).numpy()
    return product


def condition_number(matrix: np.ndarray) -> float:
    """Return largest / smallest eigenvalue; infinite where the smallest is not above rounding.

    >>> condition_number(np.diag([8.0, 2.0])), condition_number(np.ones((2, 2)))
    (4.0, inf)
    """
    values = np.linalg.eigvalsh(matrix)
    floor = values[-1] * len(values) * np.finfo(float).eps
    return float(values[-1] / values[0]) if values[0] > floor else math.inf


def linear_regions(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Return the number of distinct patterns of active units over the rows (Chen et al. 2021, TE-NAS)."""
    network = copy.deepcopy(module).eval()
    patterns: list[Tensor] = []
    kinds = tuple(kind for kind, _ in ACTIVATIONS.values())
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_pre_hook(lambda _, given: patterns.append((given[0] > 0).flatten(1)))
    with torch.inference_mode():
        network(*inputs)
    return float(len(np.unique(torch.cat(patterns, dim=1).numpy(), axis=0))) if patterns else 1.0


def n_parameters(module: nn.Module, _: tuple[Tensor, ...]) -> float:
    """Return the number of parameters: what every other score has to beat."""
    return float(sum(p.numel() for p in module.parameters()))


SCORES: dict[str, Score] = {
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "ntk": ntk_condition,
    "regions": linear_regions,
    "parameters": n_parameters,
}
"""Name -> score. FLOPs, the other baseline, come from the operation graph: `n_flops`."""


def n_flops(config: Mapping[str, Any], shape: NetworkShape) -> float:
    """Return the floating-point operations of a one-row prediction of a configuration."""
    return float(flops(FAMILIES[config["family"]].graph(config, shape), batch=1))


class ZeroCost:
    """Scores configurations of one task.

    Args:
        name: in `SCORES`.
        task: gives the rows.
        seed: of the initial weights.
    """

    def __init__(self, name: str, task: Task, *, seed: int = 0) -> None:
        self._score, self._task, self._seed = SCORES[name], task, seed
        self._n_rows = REGION_ROWS if name == "regions" else ROWS
        self._known = dict[str, tuple[NetworkShape, tuple[Tensor, ...]]]()

    def __call__(self, config: Configuration) -> float:
        """Return the score of a configuration's untrained network; -inf for what is no network."""
        family = FAMILIES[config["family"]]
        if not isinstance(family, TorchFamily):
            return -math.inf
        shape, inputs = self._view(kind_of(config))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            module = family.build(config, shape)
            prepare(module, inputs)
            return self._score(module, inputs)

    def _view(self, kind: str) -> tuple[NetworkShape, tuple[Tensor, ...]]:
        """What a network sees of the task, and some rows of it."""
        if kind not in self._known:
            task, n = self._task, len(self._task.y)
            preprocessor = PREPROCESSORS[task.modality].fit(task.inputs, kind)
            rows = np.linspace(0, n - 1, min(self._n_rows, n)).round().astype(int)
            features = preprocessor.transform({name: array[rows] for name, array in task.inputs.items()})
            shape = preprocessor.shape(task.n_outputs, is_regression=task.type == "regression")
            self._known[kind] = shape, tuple(torch.from_numpy(array) for array in features.arrays)
        return self._known[kind]


def _without_normalisation(module: nn.Module) -> None:
    """Replace normalisations by nothing: of an input of 1 they would leave only their biases."""
    kinds = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
    for name, child in list(module.named_children()):
        if isinstance(child, kinds):
            setattr(module, name, nn.Identity())
        else:
            _without_normalisation(child)


def _differentiable(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A network as a function of one float tensor: of a table what follows the embeddings, else its only input."""
    arrays = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    if isinstance(module, EmbeddedNetwork):
        return module.read, module.embed(*arrays).detach().requires_grad_()
    return module, arrays[0].clone().requires_grad_()
