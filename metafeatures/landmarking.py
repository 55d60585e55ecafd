"""Simple, fast learners and their cross-validated scores on a table: the engine behind the landmarkers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metafeatures import discriminant
from metafeatures.columns import FloatArray, IntArray

FOLDS = 10
WORST_R2 = -1.0
Mask = NDArray[np.bool_]


class Landmarks:
    """Learners under cross-validation on ``X`` ``(m, e)``, standardised numbers and dummies, and ``target`` ``(m,)``.

    Rows come in random order: row i of those sorted by class goes to fold i modulo `FOLDS`. The score is the accuracy;
    in regression R², at least `WORST_R2`. Each learner runs once, on demand.
    """

    def __init__(self, X: FloatArray, target: FloatArray, *, classify: bool) -> None:
        self.X = X
        self.target = target
        self.classify = classify
        order = np.argsort(target, kind="stable") if classify else np.arange(target.size)
        self._fold = np.empty(target.size, dtype=np.int64)
        self._fold[order] = np.arange(target.size) % FOLDS
        self._scores: dict[str, FloatArray] = {}

    def scores(self, learner: str) -> FloatArray:
        """The score of one of `LEARNERS` in each fold; empty where it cannot be trained."""
        if learner not in self._scores:
            self._scores[learner] = self._cross_validate(LEARNERS[learner])
        return self._scores[learner]

    def _cross_validate(self, learner: Learner) -> FloatArray:
        if not self.X.shape[1]:
            return np.empty(0)
        folds = [self._fold == fold for fold in np.unique(self._fold)]
        return np.array([self._score(learner, test) for test in folds if not test.all()])

    def _score(self, learner: Learner, test: Mask) -> float:
        """The score of ``learner`` on the rows ``test`` after training on all others."""
        truth, seen = self.target[test], self.target[~test]
        learnable = np.unique(seen).size > 1
        predicted = learner(self, ~test) if learnable else np.full(truth.size, seen[0])
        if self.classify:
            return float(np.mean(predicted == truth))
        spread = float(np.sum((truth - seen.mean()) ** 2))
        return max(1 - float(np.sum((truth - predicted) ** 2)) / spread, WORST_R2) if spread > 0 else np.nan

    @cached_property
    def distances(self) -> FloatArray:
        """Squared Euclidean distance of each pair of rows, ``(m, m)``."""
        squares = np.einsum("ij,ij->i", self.X, self.X)
        return np.asarray(squares[:, None] + squares - 2 * self.X @ self.X.T)

    def nearest(self, distances: FloatArray, train: Mask) -> FloatArray:
        """Target of the nearest training row of each test row, by ``(m, m)`` distances."""
        nearest = np.argmin(distances[np.ix_(~train, train)], axis=1)
        return np.asarray(self.target[train][nearest])

    def stump(self, train: Mask, columns: IntArray) -> tuple[FloatArray, int]:
        """Predictions of the best single split over ``columns`` for the test rows, and the column that it splits."""
        X = self.X[:, columns]
        model = (DecisionTreeClassifier if self.classify else DecisionTreeRegressor)(max_depth=1, random_state=0)
        model.fit(X[train], self.target[train])
        return np.asarray(model.predict(X[~train])), int(columns[max(model.tree_.feature[0], 0)])

    def relevance(self, train: Mask) -> FloatArray:
        """Share of the target's variance (of its class indicators) that each column explains linearly, ``(e,)``."""
        X, target = self.X[train], self.target[train]
        Z = (target[:, None] == np.unique(target)).astype(np.float64) if self.classify else target[:, None]
        X, Z = X - X.mean(axis=0), Z - Z.mean(axis=0)
        explained = np.sum((X.T @ Z) ** 2, axis=1)
        spread = np.sum(X**2, axis=0)
        return np.where(spread > 0, explained / spread, 0.0)


Learner = Callable[[Landmarks, Mask], FloatArray]
"""(landmarks, training rows) -> predictions for the other rows."""


def _all_columns(landmarks: Landmarks) -> IntArray:
    return np.arange(landmarks.X.shape[1])


def best_node(landmarks: Landmarks, train: Mask) -> FloatArray:
    """The best split of one column."""
    return landmarks.stump(train, _all_columns(landmarks))[0]


def random_node(landmarks: Landmarks, train: Mask) -> FloatArray:
    """The best split of a column drawn at random, that is the first in canonical order."""
    return landmarks.stump(train, np.array([0]))[0]


def worst_node(landmarks: Landmarks, train: Mask) -> FloatArray:
    """The best split of the column that is least related to the target."""
    return landmarks.stump(train, np.array([np.argmin(landmarks.relevance(train))]))[0]


def linear_discr(landmarks: Landmarks, train: Mask) -> FloatArray:
    """Linear discriminant analysis; ridge regression of the target in regression."""
    X, target, new = landmarks.X[train], landmarks.target[train], landmarks.X[~train]
    if landmarks.classify:
        return discriminant.classify(X, target, new)
    return np.asarray(Ridge(alpha=1.0).fit(X, target).predict(new))


def naive_bayes(landmarks: Landmarks, train: Mask) -> FloatArray:
    """Naive Bayes with normal distributions; in regression without prediction."""
    if not landmarks.classify:
        return np.full((~train).sum(), np.nan)
    model = GaussianNB(var_smoothing=1e-6).fit(landmarks.X[train], landmarks.target[train])
    return np.asarray(model.predict(landmarks.X[~train]))


def one_nn(landmarks: Landmarks, train: Mask) -> FloatArray:
    """The nearest neighbour over all columns."""
    return landmarks.nearest(landmarks.distances, train)


def elite_nn(landmarks: Landmarks, train: Mask) -> FloatArray:
    """The nearest neighbour in the one column that the best single split uses."""
    column = landmarks.X[:, landmarks.stump(train, _all_columns(landmarks))[1]]
    return landmarks.nearest(np.abs(column[:, None] - column), train)


def decision_tree(landmarks: Landmarks, train: Mask) -> FloatArray:
    """An unpruned decision tree."""
    model = (DecisionTreeClassifier if landmarks.classify else DecisionTreeRegressor)(random_state=0)
    return np.asarray(model.fit(landmarks.X[train], landmarks.target[train]).predict(landmarks.X[~train]))


LEARNERS: dict[str, Learner] = {
    learner.__name__: learner
    for learner in (best_node, random_node, worst_node, linear_discr, naive_bayes, one_nn, elite_nn, decision_tree)
}
