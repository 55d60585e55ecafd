"""The fit of a torch family, and its model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from metaml.models import Exported, NetworkShape, TorchFamily
from metaml.preprocessing import Features
from metaml.training.loop import Training, predict
from metaml.training.model import Model, Rows
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
    family: TorchFamily,
    config: Configuration,
    shape: NetworkShape,
    train: Rows,
    *,
    seed: int,
    seconds: float,
    validation: Rows | None = None,
    epochs: int | None = None,
) -> Model:
    """Train a network; the arguments are those of `metaml.training.fit_model`."""
    training = Training(family, config, shape, train, seed=seed, validation=validation)
    training.run(training.n_epochs if epochs is None else epochs, seconds=seconds)
    return finished(training)


def finished(training: Training) -> Model:
    """Return the model of a training as it stands."""
    module, epochs = training.result()
    model = NetworkModel(training.config, training.shape, training.family, module)
    model.curve, model.epochs = tuple(training.curve), epochs
    return model
