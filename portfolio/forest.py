"""Which stored tasks a forest on metafeatures puts beside a new one."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio.similarity import Neighbourhood, Quantiles, smallest
from portfolio.table import Floats, Table

TREES, LEAF, FACTORS = 200, 3, 12
"""Trees, fewest tasks in a leaf, and how many of the leading coordinates of the tasks the splits look at."""
MOST_TASKS = 4000
"""The forest is grown on at most so many tasks, drawn at random."""
FEWEST_TASKS = 6


class TaskForest:
    """Extremely randomised trees (Geurts et al. 2006) from metafeatures to how a task rates configurations.

    The weight of a stored task is how often it shares the new task's leaf (Meinshausen 2006, eq. 4): the mean of the
    stored coordinates under these weights is what the forest predicts.
    """

    def __init__(self, table: Table, coordinates: Floats, prior: Floats, *, seed: int = 0) -> None:
        """Grow on a store.

        Args:
            table: The t stored tasks.
            coordinates: How each task rates configurations, leading directions first, shape ``(t, r)``.
            prior: Weight of each task without metafeatures, shape ``(t,)``, sum 1.
            seed: Decides the trees, and the tasks when there are many.
        """
        self._prior, self._names = prior, table.names
        self._quantiles = Quantiles(table.metafeatures)
        places = self._quantiles(table.metafeatures)
        self._used = np.flatnonzero(np.isfinite(places).any(axis=0))
        self._trees: Any = None
        if len(self._used) and len(prior) >= FEWEST_TASKS:
            self._grow(places, coordinates[:, :FACTORS], seed)

    def _grow(self, places: Floats, coordinates: Floats, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor  # slow to import: only who asks for it waits

        self._rows = np.arange(len(self._prior))
        if len(self._rows) > MOST_TASKS:
            self._rows = np.sort(np.random.default_rng(seed).choice(self._rows, MOST_TASKS, replace=False))
        weights = self._prior[self._rows] / self._prior[self._rows].mean()
        design = self._design(places[self._rows])
        trees = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, random_state=seed)
        targets = coordinates[self._rows].squeeze(axis=1) if coordinates.shape[1] == 1 else coordinates[self._rows]
        self._trees = trees.fit(design, targets, sample_weight=weights)
        self._leaves = np.asarray(trees.apply(design))

    def neighbourhood(self, metafeatures: Floats) -> Neighbourhood:
        """Return the weights of the stored tasks for a target with these metafeatures, shape ``(f,)``."""
        if self._trees is None:
            reason = "there are too few stored tasks with metafeatures to tell which are alike"
            return Neighbourhood(self._prior, reason, near=False)
        if not np.isfinite(metafeatures[self._used]).any():
            return Neighbourhood(self._prior, "the target has no metafeatures", near=False)
        shared = self._leaves == self._trees.apply(self._design(self._quantiles(metafeatures[None, :])))[0]
        weighed = shared * self._prior[self._rows, None]
        weights = np.zeros(len(self._prior))
        weights[self._rows] = (weighed / weighed.sum(axis=0)).mean(axis=1)
        names = ", ".join(f"{self._names[row]} ({weights[row]:.0%})" for row in smallest(-weights, 3))
        return Neighbourhood(weights, f"most alike by metafeatures (weight): {names}", near=True)

    def _design(self, places: Floats) -> Floats:
        """Return the used quantiles, the middle one where a metafeature is missing, shape ``(n, u)``."""
        chosen = places[:, self._used]
        return np.where(np.isfinite(chosen), chosen, 0.5)
