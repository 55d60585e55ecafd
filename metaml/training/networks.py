"""The fit of a torch family, and its model."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from metaml.models import Exported, NetworkShape, TorchFamily
from metaml.preprocessing import Features
from metaml.training.checkpoint import Checkpoint
from metaml.training.loop import Training, predict
from metaml.training.model import Model, Pauses
from metaml.trial import Configuration


class NetworkModel(Model):
    """A trained torch module."""

    def __init__(self, config: Configuration, shape: NetworkShape, family: TorchFamily, module: nn.Module) -> None:
        super().__init__(config, shape)
        self.family, self.module = family, module.eval()

    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""
        device = next(self.module.parameters()).device
        inputs = tuple(torch.from_numpy(array).to(device) for array in features.arrays)
        is_regression = self.shape.is_regression
        scores = predict(self.module, inputs, is_regression=is_regression, n_rows=self.family.predict_rows)
        array: np.ndarray = scores.cpu().numpy()
        return array

    def export(self) -> Exported:
        """Return the module's graph with its arrays."""
        return Exported(self.family.graph(self.config, self.shape), self.family.tensors(self.module), {})


def fit_network(
    training: Training, *, seconds: float, epochs: int | None = None, pauses: Pauses | None = None
) -> Model:
    """Train a network to its end, or to its first pause that ends it; see `metaml.training.fit_model`."""
    goal, deadline = training.n_epochs if epochs is None else epochs, time.monotonic() + seconds
    if pauses is not None:
        if pauses.checkpoint.exists():
            training.restore(Checkpoint.read(pauses.checkpoint))
        _run_to_pauses(training, pauses, goal, deadline)
    training.run(goal, seconds=deadline - time.monotonic())
    return finished(training)


def _run_to_pauses(training: Training, pauses: Pauses, goal: int, deadline: float) -> None:
    for share in pauses.shares:
        until = max(1, round(share * training.n_epochs))
        if training.epoch < until < goal:
            training.run(until, seconds=deadline - time.monotonic(), goal=goal)
            _look(training, share, pauses)


def _look(training: Training, share: float, pauses: Pauses) -> None:
    try:
        pauses.look(share, finished(training))
    except Exception:
        training.state().write(pauses.checkpoint)
        raise


def finished(training: Training) -> Model:
    """Return the model of a training as it stands."""
    module, epochs = training.result()
    model = NetworkModel(training.config, training.shape, training.family, module)
    model.curve, model.epochs = tuple(training.curve), epochs
    model.by_epoch = tuple(prediction.cpu().numpy() for prediction in training.predictions)
    return model
