"""Fits one configuration: the torch loop, and the scikit-learn fit behind the same face."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metaml.models import FAMILIES, EstimatorFamily, Exported, NetworkShape, TabularShape, TorchFamily
from metaml.models.layers import Projection
from metaml.models.torch_family import prepare
from metaml.preprocessing import Features
from metaml.trial import Configuration

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; it then falls to 0 along a half cosine."""
MIN_STEPS_PER_EPOCH = 10
"""Batches are made smaller on small tables, so that an epoch has this many steps."""
PROBE_SECONDS, PROBE_STEPS = 0.5, 16
"""How long, and for how many steps, a training runs before its total time is foreseen; the first steps are slower."""
PSEUDO_WEIGHT = 1e-3
"""Weight of the one made-up row that stands for a class without training rows."""
PREDICT_ROWS = 8192
"""Rows that go through a network at a time."""


class DivergedError(Exception):
    """The loss of a training became infinite or nan."""


class Model(ABC):
    """A trained configuration."""

    def __init__(self, config: Configuration, shape: NetworkShape) -> None:
        self.config, self.shape = config, shape

    @abstractmethod
    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""

    @abstractmethod
    def export(self) -> Exported:
        """Return the model as a graph with its arrays."""


def fit_model(
    config: Configuration, shape: NetworkShape, features: Features, y: np.ndarray, *, seed: int, seconds: float
) -> Model:
    """Fit a configuration.

    Args:
        config: what to fit.
        shape: what the model sees.
        features: n training rows.
        y: class codes int64 ``(n,)``, or standardised values float64 ``(n,)``.
        seed: fixes initial weights, the order of the rows and dropout.
        seconds: time allowed.

    Raises:
        TimeoutError: it would take longer than `seconds`; raised as soon as that is foreseen.
        DivergedError: the loss is no longer finite.
    """
    family = FAMILIES[config["family"]]
    if isinstance(family, TorchFamily):
        return _fit_network(family, config, shape, features, y, seed=seed, seconds=seconds)
    if isinstance(family, EstimatorFamily) and isinstance(shape, TabularShape):
        return _fit_estimator(family, config, shape, features, y, seed=seed, seconds=seconds)
    raise TypeError(f"a family must be a TorchFamily or an EstimatorFamily, however: {type(family).__name__}")


class NetworkModel(Model):
    """A trained torch module."""

    def __init__(self, config: Configuration, shape: NetworkShape, module: nn.Module) -> None:
        super().__init__(config, shape)
        self.module = module.eval()

    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""
        arrays = [torch.from_numpy(array) for array in features.arrays]
        with torch.inference_mode():
            starts = range(0, len(features), PREDICT_ROWS)
            parts = [self.module(*(array[i : i + PREDICT_ROWS] for array in arrays)) for i in starts]
            raw = torch.cat(parts)
            prediction = raw[..., 0] if self.shape.is_regression else raw.softmax(dim=-1)
            scores: np.ndarray = (prediction.mean(dim=1) if raw.ndim == 3 else prediction).numpy()
        return scores

    def export(self) -> Exported:
        """Return the module's graph with its state dict."""
        family = FAMILIES[self.config["family"]]
        assert isinstance(family, TorchFamily)
        return Exported(family.graph(self.config, self.shape), family.tensors(self.module), {})


class EstimatorModel(Model):
    """A fitted scikit-learn estimator."""

    shape: TabularShape

    def __init__(self, config: Configuration, shape: TabularShape, family: EstimatorFamily, estimator: Any) -> None:
        super().__init__(config, shape)
        self.family, self.estimator = family, estimator

    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""
        numeric, codes = features.arrays
        design = self.family.design(numeric, codes, self.shape)
        estimator = self.estimator
        predicted = estimator.predict(design) if self.shape.is_regression else estimator.predict_proba(design)
        return np.asarray(predicted, dtype=np.float64)

    def export(self) -> Exported:
        """Return the estimator's graph with its arrays."""
        return self.family.export(self.estimator, self.config, self.shape)


def _fit_estimator(
    family: EstimatorFamily,
    config: Configuration,
    shape: TabularShape,
    features: Features,
    y: np.ndarray,
    *,
    seed: int,
    seconds: float,
) -> Model:
    (numeric, codes), weight = features.arrays, None
    absent = [] if shape.is_regression else sorted(set(range(shape.n_outputs)) - set(np.unique(y).tolist()))
    if absent:  # an estimator must see every class: one nearly weightless row for each that has none
        weight = np.concatenate([np.ones(len(y)), np.full(len(absent), PSEUDO_WEIGHT)])
        numeric = np.vstack([numeric, np.zeros((len(absent), shape.n_numeric), dtype=numeric.dtype)])
        codes = np.vstack([codes, np.repeat(codes[:1], len(absent), axis=0)])
        y = np.concatenate([y, absent])
    estimator = family.build(config, shape, seed)
    family.fit(estimator, family.design(numeric, codes, shape), y, weight, seconds=seconds)
    return EstimatorModel(config, shape, family, estimator)


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Return the share of the peak learning rate at `step` of `n_steps`: a short rise, then a half cosine.

    >>> [round(learning_rate_factor(step, 100), 3) for step in (0, 4, 52, 99)]
    [0.2, 1.0, 0.492, 0.0]
    """
    rise = max(1, round(WARM_UP * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rise) / max(1, n_steps - rise)))


def _fit_network(
    family: TorchFamily,
    config: Configuration,
    shape: NetworkShape,
    features: Features,
    y: np.ndarray,
    *,
    seed: int,
    seconds: float,
) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = family.build(config, shape)
        prepare(module, [torch.from_numpy(array) for array in features.arrays])
        _train(module, config, features, y, is_regression=shape.is_regression, seconds=seconds)
    return NetworkModel(config, shape, module)


def _train(
    module: nn.Module,
    config: Mapping[str, Any],
    features: Features,
    y: np.ndarray,
    *,
    is_regression: bool,
    seconds: float,
) -> None:
    """Train in place; all rows stay in memory as tensors and a batch is one indexing."""
    arrays = [torch.from_numpy(array) for array in features.arrays]
    target = torch.from_numpy(y.astype(np.float32)) if is_regression else torch.from_numpy(y)
    n = len(target)
    batch_size = min(config["batch_size"], max(1, n // MIN_STEPS_PER_EPOCH))
    n_steps = math.ceil(n / batch_size) * config["epochs"]
    optimiser = torch.optim.AdamW(_parameter_groups(module, config), lr=config["learning_rate"], fused=True)
    step, watch = 0, _Foresight(seconds)
    module.train()
    for _ in range(config["epochs"]):
        total = torch.zeros(())
        for rows in torch.split(torch.randperm(n), batch_size):
            for group in optimiser.param_groups:
                group["lr"] = config["learning_rate"] * learning_rate_factor(step, n_steps)
            scores = module(*(array[rows] for array in arrays))
            loss = _loss(scores, target[rows], is_regression)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach()
            step += 1
            watch.check(step, n_steps)
        if not math.isfinite(total.item()):
            raise DivergedError(f"the loss became {total.item()} in step {step} of {n_steps}")


class _Foresight:
    """Raises `TimeoutError` once a training is seen not to end in time; the first steps do not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._started = seconds, time.monotonic()
        self._first, self._first_time = 0, self._started

    def check(self, step: int, n_steps: int) -> None:
        now = time.monotonic()
        if step <= PROBE_STEPS // 2:
            self._first, self._first_time = step, now
        elapsed, steps = now - self._started, step - self._first
        foreseen = elapsed + (now - self._first_time) / steps * (n_steps - step) if steps else elapsed
        is_known = elapsed > PROBE_SECONDS and step >= min(PROBE_STEPS, n_steps)
        if elapsed > self._seconds or (is_known and foreseen > 1.2 * self._seconds):
            raise TimeoutError(f"training would take about {foreseen:.1f} s, allowed are {self._seconds:.1f} s")


def _loss(scores: Tensor, target: Tensor, is_regression: bool) -> Tensor:
    if scores.ndim == 3:
        target = target.repeat_interleave(scores.shape[1], dim=0)
        scores = scores.flatten(0, 1)
    return functional.mse_loss(scores[:, 0], target) if is_regression else functional.cross_entropy(scores, target)


def _parameter_groups(module: nn.Module, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Weight decay acts on matrices only; not on biases, normalisation and embeddings (Gorishniy et al. 2021)."""
    decayed = [layer.weight for layer in module.modules() if isinstance(layer, (nn.Linear, Projection))]
    ids = {id(weight) for weight in decayed}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in ids]
    return [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
