"""Distance between what was observed: tasks are alike on which the same configurations do well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from metafeatures.similarity.base import Similarity, TaskView


class PerformanceDistance(Similarity):
    """Mean absolute difference of the errors of the configurations that both tasks have run.

    Errors are compared as they are: pass normalised ones, which compare over tasks.
    """

    name = "performance"
    version = "1"

    def supports(self, view: TaskView) -> bool:
        """Whether anything was observed."""
        return any(np.isfinite(error) for error in view.errors.values())

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        self._errors = pd.DataFrame({name: dict(view.errors) for name, view in tasks.items()}, dtype=float).T

    def _distances(self, target: TaskView) -> pd.Series[float]:
        return (self._errors - pd.Series(dict(target.errors), dtype=float)).abs().mean(axis=1)
