"""Rows kept with their targets, and the mean of the nearest ones: what the family `knn` fits.

Features are whole numbers small enough that every product and sum of a distance is exact in float32. A distance is then
the same in whatever order it is summed, so that ties are ties everywhere and the first stored row wins them.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import hadamard
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from metaml.models.base import TabularShape

CLIP = 4.0
"""Numeric features, in interquartile ranges from the median, are clipped to this size."""
EXACT = 2**24
"""float32 counts whole numbers up to here."""
CODE_WIDTH = 16
"""Most numbers that stand for a category."""
JUDGED_ROWS, JUDGES = 4096, 32
"""Rows and random trees that the relevance of the features is learned from."""
ROWS_AT_A_TIME = 512


class StoredRows:
    """Predicts the mean target of the nearest stored rows.

    Args:
        shape: the features are ``shape.n_numeric`` numbers and then codes.
        n_neighbors: rows that are asked.
        max_rows: rows that are kept at most, drawn at random.
        sharpness: how much less a row as far as the last neighbour counts than one at no distance: exp(-sharpness) of
            it, the squared distance taken in the mean over rows; 0 lets all neighbours count alike.
        relevance: 0 lets all features count alike, 1 lets their influence on the distance grow with the importance that
            random trees give them.
        seed: fixes the draw and the trees.
    """

    def __init__(
        self, shape: TabularShape, *, n_neighbors: int, max_rows: int, sharpness: float, relevance: float, seed: int
    ) -> None:
        self.shape, self.n_neighbors, self.max_rows = shape, n_neighbors, max_rows
        self.sharpness, self.relevance, self.seed = sharpness, relevance, seed

    def fit(self, design: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> StoredRows:
        """Keep rows.

        **Shape**
        - design: float32 ``(n, n_numeric + n_categorical)``; y and sample_weight: ``(n,)``. Rows of a weight below 1
          count in the shares of the classes, and are not kept.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        order = np.random.default_rng(self.seed).permutation(np.flatnonzero(weight >= 1))
        judged, kept = order[:JUDGED_ROWS], np.sort(order[: self.max_rows])
        self._scale(design[judged], self._importances(design[judged], y[judged]))
        self.rows = self.quantise(design[kept])
        self.squares = (self.rows * self.rows).sum(axis=1)
        self.n_neighbors = min(self.n_neighbors, len(kept))
        self.targets = self._targets(y, weight)[kept].astype(np.float32)
        self.falloff = np.float32(self.sharpness / self._typical_distance())
        return self

    def predict(self, design: np.ndarray) -> np.ndarray:
        """Return values ``(n,)``."""
        return self._means(design)[:, 0]

    def predict_proba(self, design: np.ndarray) -> np.ndarray:
        """Return probabilities ``(n, k)``."""
        return self._means(design)

    def quantise(self, design: np.ndarray) -> np.ndarray:
        """Return the whole numbers that distances are computed of, float32 ``(n, width)``."""
        n_numeric = self.shape.n_numeric
        numbers = np.rint(np.clip(design[:, :n_numeric], -np.float32(CLIP), np.float32(CLIP)) * self.gains)
        codes = design[:, n_numeric:].astype(np.int64)
        return np.hstack([numbers, self.code_table[codes].reshape(len(design), -1)])

    def _importances(self, design: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how much each column tells of the target, ``(d,)``, 1 in the mean."""
        kind = ExtraTreesRegressor if self.shape.is_regression else ExtraTreesClassifier
        forest = kind(JUDGES, max_features=None, min_samples_leaf=5, random_state=self.seed).fit(design, y)
        importances: np.ndarray = forest.feature_importances_ * design.shape[1]
        return importances if importances.any() else np.ones_like(importances)

    def _scale(self, design: np.ndarray, importances: np.ndarray) -> None:
        """Set `gains` and `code_table`: of every column the variance is its relevance, and no distance is inexact."""
        n_numeric, relevance = self.shape.n_numeric, np.sqrt(importances**self.relevance)
        spread = np.clip(design[:, :n_numeric], -CLIP, CLIP).std(axis=0)
        gains = np.where(spread > 0, relevance[:n_numeric] / np.where(spread > 0, spread, 1), 0)
        table = code_vectors(self.shape)
        codes = design[:, n_numeric:].astype(np.int64)
        for column, first in enumerate(np.cumsum([0, *self.shape.cardinalities])[:-1]):
            rows = slice(first, first + self.shape.cardinalities[column])
            spread = np.sqrt(table[codes[:, column]].var(axis=0).sum())
            table[rows] *= relevance[n_numeric + column] / spread if spread > 0 else 0
        unit = exact_unit(np.array([*(CLIP * gains), *_largest(table, self.shape)]))
        self.gains = (unit * gains).astype(np.float32)
        self.code_table = np.rint(unit * table).astype(np.float32)

    def _targets(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return what each row says: its value, or class probabilities that lean on the shares of all classes."""
        if self.shape.is_regression:
            return y[:, None]
        shares = np.bincount(y, weights=weight, minlength=self.shape.n_outputs) / weight.sum()
        votes: np.ndarray = self.n_neighbors * np.eye(self.shape.n_outputs)[y]
        return np.asarray((votes + shares) / (self.n_neighbors + 1))

    def _typical_distance(self) -> float:
        """Return the mean squared distance from a stored row to its last neighbour."""
        some = self.rows[:ROWS_AT_A_TIME]
        nearness = some @ (2 * self.rows).T - self.squares
        last = min(self.n_neighbors, len(self.rows) - 1)
        distances = (some * some).sum(axis=1) + np.partition(-nearness, last, axis=1)[:, last]
        return max(float(distances.mean()), 1.0)

    def _means(self, design: np.ndarray) -> np.ndarray:
        starts = range(0, len(design), ROWS_AT_A_TIME)
        return np.concatenate([self._mean(self.quantise(design[i : i + ROWS_AT_A_TIME])) for i in starts])

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        nearness = rows @ (2 * self.rows).T - self.squares
        n_stored, last = len(self.rows), self.n_neighbors - 1
        ranked = nearness.astype(np.float64) * n_stored - np.arange(n_stored)  # whole numbers: the first wins a tie
        nearest = np.argpartition(-ranked, last, axis=1)[:, : self.n_neighbors]
        targets = self.targets[nearest]
        closeness = np.take_along_axis(nearness, nearest, axis=1).astype(np.float32) * self.falloff
        weights = np.exp(closeness - closeness.max(axis=1, keepdims=True))
        return np.asarray(np.einsum("nk,nko->no", weights / weights.sum(axis=1, keepdims=True), targets))


def exact_unit(largest: np.ndarray) -> float:
    """Return a factor for features after which, rounded, all sums of ``2 x s - s s`` stay below 2^24.

    Args:
        largest: bound of each feature's size, ``(width,)``, zeros allowed.
    """
    norm = float(np.sqrt(np.square(largest).sum()))
    if norm == 0:
        return 1.0
    return float((np.sqrt(EXACT / 3) - np.sqrt(len(largest))) / norm)  # each may round up by less than 1


def code_width(shape: TabularShape) -> int:
    """Return how many numbers stand for a category: enough for all categories of most columns to be equally far.

    >>> code_width(TabularShape(0, (4, 6), n_outputs=2, is_regression=False))
    8
    """
    most = max(shape.cardinalities, default=1)
    return min(CODE_WIDTH, 1 << (most - 1).bit_length())


def code_vectors(shape: TabularShape) -> np.ndarray:
    """Return a vector of +-1 for each code, ``(n_codes, code_width)``.

    The first of each column are rows of a Hadamard matrix, all equally far from each other; rarer ones are random, and
    about as far.
    """
    width = code_width(shape)
    random = np.random.default_rng(0)
    extra = random.choice([-1.0, 1.0], size=(max(0, max(shape.cardinalities, default=0) - width), width))
    vectors = np.vstack([hadamard(width).astype(float), extra])
    return np.vstack([np.empty((0, width)), *(vectors[:cardinality] for cardinality in shape.cardinalities)])


def _largest(table: np.ndarray, shape: TabularShape) -> list[float]:
    """Return the largest number that each number of each column's codes can be, in size."""
    parts = np.split(table, np.cumsum(shape.cardinalities)[:-1]) if shape.n_categorical else []
    return [float(value) for part in parts for value in np.abs(part).max(axis=0)]
