"""What a fit gives and takes: a trained configuration, and rows with their target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaml.models import Exported, NetworkShape
from metaml.preprocessing import Features
from metaml.trial import Configuration, Curve


class DivergedError(Exception):
    """The loss of a training became infinite or nan."""


@dataclass(frozen=True)
class Rows:
    """Preprocessed rows with their target."""

    features: Features
    y: np.ndarray
    """Class codes int64 ``(n,)``, class probabilities float ``(n, k)``, or standardised values float ``(n,)``."""

    def standardised(self, center: float, scale: float) -> Rows:
        """Return the rows with the target ``(y - center) / scale``."""
        return Rows(self.features, (self.y - center) / scale)


@dataclass(frozen=True)
class Pauses:
    """Where a network's training is looked at on its way, and may be left to go on another time."""

    shares: tuple[float, ...]
    """Shares of the epochs, in order."""
    look: Callable[[float, Model], None]
    """Is given each share and the model as it is then; what it raises ends the training, whose state is kept before."""
    checkpoint: Path
    """Where the state is kept; if there is one already, the training goes on from it."""


class Model(ABC):
    """A trained configuration."""

    curve: Curve = ()
    """Validation loss after some of the epochs; empty without validation rows, and for models without epochs."""
    epochs: int | None = None
    """After how many epochs the weights were taken; None for models without epochs."""
    by_epoch: tuple[np.ndarray, ...] = ()
    """Scores of the validation rows after each epoch, of networks that look for the best one; of few rows only."""

    def __init__(self, config: Configuration, shape: NetworkShape) -> None:
        self.config, self.shape = config, shape

    @abstractmethod
    def scores(self, features: Features) -> np.ndarray:
        """Return class probabilities ``(n, k)``, or standardised values ``(n,)``."""

    @abstractmethod
    def export(self) -> Exported:
        """Return the model as a graph with its arrays."""
