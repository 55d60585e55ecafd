"""Which stored tasks resemble a new one: a distance between metafeatures that was learned on the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portfolio.table import Floats, Ints, Table

MOST_PAIRS = 20_000
MOST_TASKS = 400
WIDTHS = (0.1, 0.2, 0.4, 0.8, np.inf)
"""Kernel widths tried, in units of the median distance of two tasks; inf = metafeatures tell nothing."""
BACKGROUND = 0.1
"""Share of the weight that stays with all tasks, however near the nearest are."""
CLEARLY = 0.97
"""Metafeatures are used if they lower the error of predicted profiles to this share: the weights saw the same tasks."""
LEAST_SHARED = 0.25
"""Below this share of informative metafeatures in common there is no distance."""


@dataclass(frozen=True)
class Neighbourhood:
    """What is known of a target's place among the stored tasks."""

    weights: Floats
    """Weight of each stored task for this target, shape ``(t,)``, sum 1."""
    reason: str
    """Why the weights are what they are, in words."""
    near: bool
    """Whether the metafeatures had a say."""


class Quantiles:
    """Replaces metafeatures by their quantiles on a store: then no scale, linear or log, has to be known."""

    def __init__(self, stored: Floats) -> None:
        """``stored``: shape ``(t, f)``, nan allowed."""
        self._sorted = [np.sort(column[np.isfinite(column)]) for column in stored.T]

    def __call__(self, values: Floats) -> Floats:
        """Return quantiles of ``(n, f)`` values; nan, also of a feature that does not vary; ties get their middle."""
        out = np.full(values.shape, np.nan)
        for feature, known in enumerate(self._sorted):
            if len(known) and known[0] < known[-1]:
                column = values[:, feature]
                low, high = np.searchsorted(known, column), np.searchsorted(known, column, side="right")
                out[:, feature] = np.where(np.isfinite(column), (low + high) / (2 * len(known)), np.nan)
        return out


class Similarity:
    """Weighted L1 distance between metafeatures, each replaced by its quantile on the store.

    The weights are the non-negative least-squares fit of how differently two tasks of different families rank
    configurations: a metafeature that does not predict this weighs nothing. The kernel width is the one that predicts
    the profiles of left-out families best; if no width beats the plain mean, metafeatures are not used at all.
    """

    def __init__(self, table: Table, profiles: Floats, prior: Floats, *, seed: int = 0) -> None:
        """Learn on a store.

        Args:
            table: The t stored tasks.
            profiles: How each task rates configurations, shape ``(t, r)``: near rows = alike tasks.
            prior: Weight of each task without metafeatures, shape ``(t,)``, sum 1.
            seed: Decides which pairs and tasks are drawn when there are many.
        """
        rng = np.random.default_rng(seed)
        self._table, self._prior = table, prior
        self._last: tuple[bytes, Neighbourhood] | None = None
        self._quantiles = Quantiles(table.metafeatures)
        places = self._quantiles(table.metafeatures)
        self.feature_weights = _learn_weights(places, profiles, table, rng)
        self._used = np.flatnonzero(self.feature_weights > 0)
        self._lanes = np.ascontiguousarray(places[:, self._used].T, dtype=np.float32)
        self._holes = not bool(np.isfinite(self._lanes).all())
        self.unit, self.threshold, self.width = 1.0, np.inf, float("inf")
        if len(self._used) and len(np.unique(table.families)) > 2:
            self._calibrate(profiles, rng)

    def neighbourhood(self, metafeatures: Floats) -> Neighbourhood:
        """Return the weights of the stored tasks for a target with these metafeatures, shape ``(f,)``.

        The last answer is remembered: a search asks about the same target once per trial.
        """
        key = metafeatures.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._look_up(metafeatures)
        return self._last[1]

    def _look_up(self, metafeatures: Floats) -> Neighbourhood:
        if not np.isfinite(metafeatures).any():
            return Neighbourhood(self._prior, "the target has no metafeatures", near=False)
        if not np.isfinite(self.width):
            reason = "metafeatures do not predict which configurations are good on this store"
            return Neighbourhood(self._prior, reason, near=False)
        distances = self.distances(metafeatures)
        nearest = float(distances.min())
        if nearest > self.threshold:
            reason = f"no similar task: the nearest is at {nearest:.2f}, farther than {self.threshold:.2f}"
            return Neighbourhood(self._prior, reason, near=False)
        order = smallest(distances, 3)
        names = ", ".join(f"{self._table.names[row]} ({distances[row]:.2f})" for row in order)
        weights = self._kernel(distances, self._prior, self.width)
        return Neighbourhood(weights, f"nearest tasks (distance): {names}", near=True)

    def distances(self, metafeatures: Floats) -> Floats:
        """Return the distance to each stored task, shape ``(t,)``; 1 = that of two typical tasks, inf = unknown."""
        place = self._quantiles(metafeatures[None, :])[0][self._used]
        return self._distances(self._lanes, place)

    def _distances(self, lanes: NDArray[np.float32], place: Floats) -> Floats:
        """Masked weighted L1 distance, rescaled by the weight of the features both sides know.

        Args:
            lanes: Quantiles of the n stored tasks, one row per used feature, shape ``(u, n)``: row by row the sum
                stays in the cache, which makes 100,000 tasks a matter of milliseconds.
            place: Quantiles of the target, shape ``(u,)``.
        """
        total, shared = np.zeros(lanes.shape[1], np.float32), np.zeros(lanes.shape[1], np.float32)
        for lane, value, weight in zip(lanes, place, self.feature_weights[self._used], strict=True):
            if not np.isfinite(value):
                continue
            difference = np.abs(lane - np.float32(value))
            if self._holes:
                known = np.isfinite(difference)
                difference[~known] = 0.0
                shared += np.float32(weight) * known
            else:
                shared += np.float32(weight)
            difference *= np.float32(weight)
            total += difference
        enough = shared > LEAST_SHARED * self.feature_weights.sum()
        return np.asarray(np.where(enough, total / np.where(enough, shared, 1.0) / self.unit, np.inf), dtype=float)

    def _kernel(self, distances: Floats, prior: Floats, width: float) -> Floats:
        if not np.isfinite(width):
            return np.asarray(prior / prior.sum())
        near = prior * np.exp(-(distances - distances.min()) / width)
        return np.asarray((1 - BACKGROUND) * near / near.sum() + BACKGROUND * prior / prior.sum())

    def _calibrate(self, profiles: Floats, rng: np.random.Generator) -> None:
        """Set the unit of distance, the threshold of "similar", and the kernel width, all with families left out."""
        families = self._table.families
        rows = np.arange(len(families))
        if len(rows) > MOST_TASKS:
            rows = np.sort(rng.choice(rows, MOST_TASKS, replace=False))
        lanes, families, profiles, prior = self._lanes[:, rows], families[rows], profiles[rows], self._prior[rows]
        matrix = np.array([self._distances(lanes, place) for place in lanes.T])
        other = (families[:, None] != families[None, :]) & np.isfinite(matrix)
        if not other.any(axis=1).all() or float(np.median(matrix[other])) <= 0:
            return
        self.unit = float(np.median(matrix[other]))
        matrix = np.where(other, matrix / self.unit, np.inf)
        self.threshold = float(np.quantile(matrix.min(axis=1), 0.95))
        losses = []
        for width in WIDTHS:
            guesses = [self._kernel(matrix[i], prior * other[i], width) @ profiles for i in range(len(rows))]
            losses.append(float(prior @ ((profiles - np.array(guesses)) ** 2).sum(axis=1)))
        best = int(np.argmin(losses))
        self.width = float(WIDTHS[best]) if losses[best] < CLEARLY * losses[-1] else float("inf")


def smallest(values: Floats, count: int) -> Ints:
    """Return where the smallest values are, in ascending order, without sorting all."""
    near = np.argpartition(values, min(count, len(values)) - 1)[:count]
    return np.asarray(near[np.lexsort((near, values[near]))])


def _learn_weights(places: Floats, profiles: Floats, table: Table, rng: np.random.Generator) -> Floats:
    """Return a weight per metafeature, shape ``(f,)``: the NNLS fit of profile distances by metafeature differences."""
    count, f = places.shape
    if f == 0 or count < 3:
        return np.zeros(f)
    first, second = rng.integers(0, count, (2, MOST_PAIRS))
    pairs = table.families[first] != table.families[second]
    if not pairs.any():
        return np.zeros(f)
    first, second = first[pairs], second[pairs]
    difference = np.abs(places[first] - places[second])
    known = np.isfinite(difference)
    means = np.where(known, difference, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    difference = np.where(known, difference, means)
    target = np.sqrt(((profiles[first] - profiles[second]) ** 2).sum(axis=1))
    design = np.column_stack([difference, np.ones(len(target))])
    gram = design.T @ design + 1e-3 * len(target) * np.diag([1.0] * f + [1e-6])
    return _non_negative(gram, design.T @ target)[:f]


def _non_negative(gram: Floats, right: Floats) -> Floats:
    """Return the least-squares solution w >= 0 of normal equations, by coordinate descent."""
    weights = np.zeros(len(right))
    for _ in range(500):
        before = weights.copy()
        for k in range(len(right)):
            weights[k] = max(0.0, weights[k] + (right[k] - gram[k] @ weights) / gram[k, k])
        if np.abs(weights - before).max() < 1e-9 * max(float(weights.max()), 1e-300):
            break
    return weights
