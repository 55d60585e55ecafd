"""Simple, fast learners, each with the question that it asks of a table, and their cross-validated scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metafeatures import discriminant
from metafeatures.columns import FloatArray, IntArray

FOLDS = 10
WORST_R2 = -1.0


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
        self._best_splits: dict[int, Split] = {}

    def scores(self, learner: str) -> FloatArray:
        """The score of one of `LEARNERS` in each fold; empty where it cannot be trained."""
        if learner not in self._scores:
            trainable = self.X.shape[1] > 0 and self.target.size > 1
            folds = np.unique(self._fold if trainable else self._fold[:0])
            self._scores[learner] = np.array([self._score(LEARNERS[learner], int(fold)) for fold in folds])
        return self._scores[learner]

    def _score(self, learner: Learner, fold: int) -> float:
        """The score of ``learner`` on a fold after training on all others."""
        truth, seen = self.target[self.test(fold)], self.target[self.train(fold)]
        learnable = np.unique(seen).size > 1
        predicted = learner(self, fold) if learnable else np.full(truth.size, seen[0])
        if self.classify:
            return float(np.mean(predicted == truth))
        spread = float(np.sum((truth - seen.mean()) ** 2))
        return max(1 - float(np.sum((truth - predicted) ** 2)) / spread, WORST_R2) if spread > 0 else np.nan

    def test(self, fold: int) -> IntArray:
        """The rows of a fold."""
        return np.flatnonzero(self._fold == fold)

    def train(self, fold: int) -> IntArray:
        """The rows of all other folds."""
        return np.flatnonzero(self._fold != fold)

    @cached_property
    def distances(self) -> FloatArray:
        """Squared Euclidean distance of each pair of rows, ``(m, m)``."""
        squares = np.einsum("ij,ij->i", self.X, self.X)
        return np.asarray(squares[:, None] + squares - 2 * self.X @ self.X.T)

    def split(self, fold: int, columns: IntArray) -> Split:
        """The best single split over ``columns``."""
        X = self.X[:, columns].astype(np.float32)
        model = (DecisionTreeClassifier if self.classify else DecisionTreeRegressor)(max_depth=1, random_state=0)
        model.fit(X[self.train(fold)], self.target[self.train(fold)])
        return Split(np.asarray(model.predict(X[self.test(fold)])), int(columns[max(model.tree_.feature[0], 0)]))

    def best_split(self, fold: int) -> Split:
        """The best single split over all columns."""
        if fold not in self._best_splits:
            self._best_splits[fold] = self.split(fold, np.arange(self.X.shape[1]))
        return self._best_splits[fold]

    def relevance(self, fold: int) -> FloatArray:
        """Share of the target's variance (of its class indicators) that each column explains linearly, ``(e,)``."""
        X, target = self.X[self.train(fold)], self.target[self.train(fold)]
        Z = (target[:, None] == np.unique(target)).astype(np.float64) if self.classify else target[:, None]
        X, Z = X - X.mean(axis=0), Z - Z.mean(axis=0)
        explained = np.sum((X.T @ Z) ** 2, axis=1)
        spread = np.sum(X**2, axis=0)
        return np.where(spread > 0, explained / spread, 0.0)


class Split(NamedTuple):
    """A decision tree of one inner node."""

    predicted: FloatArray
    """Its predictions for the rows of the fold."""
    column: int
    """What it splits."""


Learner = Callable[[Landmarks, int], FloatArray]
"""(landmarks, fold) -> predictions for the rows of the fold."""


def best_node(landmarks: Landmarks, fold: int) -> FloatArray:
    """The best split of one column: is one column enough?"""
    return landmarks.best_split(fold).predicted


def random_node(landmarks: Landmarks, fold: int) -> FloatArray:
    """The best split of a column drawn at random (the first in canonical order): what is a column worth?"""
    return landmarks.split(fold, np.array([0])).predicted


def worst_node(landmarks: Landmarks, fold: int) -> FloatArray:
    """The best split of the column that is least related to the target: are there useless columns?"""
    return landmarks.split(fold, np.array([np.argmin(landmarks.relevance(fold))])).predicted


def linear_discr(landmarks: Landmarks, fold: int) -> FloatArray:
    """Linear discriminant analysis; ridge regression of the target in regression: is the task linear?"""
    X, target = landmarks.X[landmarks.train(fold)], landmarks.target[landmarks.train(fold)]
    new = landmarks.X[landmarks.test(fold)]
    if landmarks.classify:
        return discriminant.classify(X, target, new)
    return np.asarray(Ridge(alpha=1.0).fit(X, target).predict(new))


def naive_bayes(landmarks: Landmarks, fold: int) -> FloatArray:
    """Naive Bayes with normal distributions: are the columns independent given the class? nan in regression."""
    train, test = landmarks.train(fold), landmarks.test(fold)
    if not landmarks.classify:
        return np.full(test.size, np.nan)
    model = GaussianNB(var_smoothing=1e-6).fit(landmarks.X[train], landmarks.target[train])
    return np.asarray(model.predict(landmarks.X[test]))


def one_nn(landmarks: Landmarks, fold: int) -> FloatArray:
    """The nearest neighbour over all columns: how dense are the classes?"""
    train = landmarks.train(fold)
    distances = landmarks.distances[np.ix_(landmarks.test(fold), train)]
    return np.asarray(landmarks.target[train][np.argmin(distances, axis=1)])


def elite_nn(landmarks: Landmarks, fold: int) -> FloatArray:
    """The nearest neighbour in the one column that the best single split uses."""
    column, train = landmarks.X[:, landmarks.best_split(fold).column], landmarks.train(fold)
    distances = np.abs(column[landmarks.test(fold), None] - column[train])
    return np.asarray(landmarks.target[train][np.argmin(distances, axis=1)])


def decision_tree(landmarks: Landmarks, fold: int) -> FloatArray:
    """An unpruned decision tree."""
    train = landmarks.train(fold)
    model = (DecisionTreeClassifier if landmarks.classify else DecisionTreeRegressor)(random_state=0)
    model.fit(landmarks.X[train], landmarks.target[train])
    return np.asarray(model.predict(landmarks.X[landmarks.test(fold)]))


LEARNERS: dict[str, Learner] = {
    learner.__name__: learner
    for learner in (best_node, random_node, worst_node, linear_discr, naive_bayes, one_nn, elite_nn, decision_tree)
}
