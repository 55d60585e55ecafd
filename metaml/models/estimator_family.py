"""What the scikit-learn families share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from metaml.models.base import Exported, Family, TabularShape


class EstimatorFamily(Family):
    """A family whose models are scikit-learn estimators."""

    @abstractmethod
    def design(self, numeric: np.ndarray, codes: np.ndarray, shape: TabularShape) -> Any:
        """Return the matrix that the estimator is fitted on.

        **Shape**
        - Input: float32 ``(n, n_numeric)`` and int64 ``(n, n_categorical)``, codes numbered over all columns
        - Output: ``(n, d)``, dense or sparse
        """

    @abstractmethod
    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> Any:
        """Return an unfitted scikit-learn estimator."""

    @abstractmethod
    def export(self, estimator: Any, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Return a fitted estimator as a graph with the arrays of its operations."""

    def fit(self, estimator: Any, design: Any, y: np.ndarray, weight: np.ndarray | None, *, seconds: float) -> None:
        """Fit in place; a family that can tell early that it will not end in `seconds` raises `TimeoutError`.

        **Shape**
        - design: ``(n, d)``; y and weight: ``(n,)``
        """
        estimator.fit(design, y, sample_weight=weight)
