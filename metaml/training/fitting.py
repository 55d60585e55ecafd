"""Which kind of family is fitted how."""

from __future__ import annotations

from metaml.models import FAMILIES, EstimatorFamily, NetworkShape, TabularShape, TorchFamily
from metaml.training.estimators import fit_estimator
from metaml.training.loop import Training
from metaml.training.model import Model, Pauses, Rows
from metaml.training.networks import fit_network
from metaml.trial import Configuration


def fit_model(
    config: Configuration,
    shape: NetworkShape,
    train: Rows,
    *,
    seed: int,
    seconds: float,
    validation: Rows | None = None,
    epochs: int | None = None,
    pauses: Pauses | None = None,
) -> Model:
    """Fit a configuration.

    Args:
        config: what to fit.
        shape: what the model sees.
        train: training rows; only a network can learn from class probabilities.
        seed: fixes initial weights, the order of the rows and dropout.
        seconds: time allowed.
        validation: rows that a network's learning curve is of, and that choose the best epoch when the configuration
            asks for it.
        epochs: after how many epochs a network stops, on the learning-rate schedule of the whole training; None for
            the configuration's own.
        pauses: where a network's training may end for now; others are fitted in one go.

    Raises:
        TimeoutError: it would take longer than `seconds`; raised as soon as that is foreseen.
        DivergedError: the loss is no longer finite.
    """
    family = FAMILIES[config["family"]]
    if isinstance(family, TorchFamily):
        training = Training(family, config, shape, train, seed=seed, validation=validation)
        return fit_network(training, seconds=seconds, epochs=epochs, pauses=pauses)
    if isinstance(family, EstimatorFamily) and isinstance(shape, TabularShape):
        return fit_estimator(family, config, shape, train, seed=seed, seconds=seconds)
    raise TypeError(f"a family must be a TorchFamily or an EstimatorFamily, however: {type(family).__name__}")
