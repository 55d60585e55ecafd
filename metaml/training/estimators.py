"""The scikit-learn fit, and its model."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaml.models import EstimatorFamily, Exported, TabularShape
from metaml.preprocessing import Features
from metaml.training.model import Model, Rows
from metaml.trial import Configuration

PSEUDO_WEIGHT = 1e-3
"""Weight of the one made-up row that stands for a class without training rows."""


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


def fit_estimator(
    family: EstimatorFamily, config: Configuration, shape: TabularShape, train: Rows, *, seed: int, seconds: float
) -> Model:
    """Fit a scikit-learn estimator; the arguments are those of `metaml.training.fit_model`."""
    (numeric, codes), y, weight = train.features.arrays, train.y, None
    absent = [] if shape.is_regression else sorted(set(range(shape.n_outputs)) - set(np.unique(y).tolist()))
    if absent:  # an estimator must see every class: one nearly weightless row for each that has none
        weight = np.concatenate([np.ones(len(y)), np.full(len(absent), PSEUDO_WEIGHT)])
        numeric = np.vstack([numeric, np.zeros((len(absent), shape.n_numeric), dtype=numeric.dtype)])
        codes = np.vstack([codes, np.repeat(codes[:1], len(absent), axis=0)])
        y = np.concatenate([y, absent])
    estimator = family.build(config, shape, seed)
    family.fit(estimator, family.design(numeric, codes, shape), y, weight, seconds=seconds)
    return EstimatorModel(config, shape, family, estimator)
