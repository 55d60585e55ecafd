"""Distance between metafeature vectors, weighted by what proved to matter for performance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from metafeatures.columns import FloatArray
from metafeatures.similarity.base import Similarity, TaskView

MAX_MISSING = 0.2
"""A feature that is missing on a larger share of the stored tasks is not used."""
CLIP = 5.0
"""Scaled features are cut off at this many robust standard deviations."""
MAX_PAIRS = 20_000
MAD_TO_SD = 1.4826


class StatisticalDistance(Similarity):
    """Weighted L1 distance of log-compressed, robustly scaled metafeatures.

    Scales come from the stored tasks alone. A feature that is nan on the target (or on a stored task) is left out of
    that comparison and the rest is scaled up. Weights are learned where errors are given, else all equal: non-negative
    ones under which distances of stored tasks come closest, in least squares, to the distances of their performance.
    Whether learned weights are better than equal ones depends on the history (docs/similarity.md).
    """

    name = "statistical"
    version = "1"

    def __init__(self, *, shrinkage: float = 0.1, seed: int = 0) -> None:
        """Set how strongly learned weights are drawn towards equal ones, and the seed of the pairs learned from."""
        self.shrinkage = shrinkage
        self.seed = seed

    def supports(self, view: TaskView) -> bool:
        """Whether there is a vector with a finite value."""
        return view.metafeatures is not None and not bool(np.isnan(view.metafeatures.to_numpy()).all())

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        raw = compressed(pd.DataFrame({name: view.metafeatures for name, view in tasks.items()}).T.astype(float))
        self._centre = raw.median()
        scale = MAD_TO_SD * (raw - self._centre).abs().median()
        self._scale = scale.where(scale > 0, raw.std(ddof=0))
        useful = (raw.isna().mean() <= MAX_MISSING) & (self._scale > 0)
        self.features = list(raw.columns[useful])
        self._stored = self._scaled(raw)
        self.weights = pd.Series(1 / max(len(self.features), 1), index=self.features)
        if errors is not None and self.features:
            self._learn(errors)

    def _scaled(self, raw: pd.DataFrame) -> pd.DataFrame:
        scaled = (raw.reindex(columns=self.features) - self._centre[self.features]) / self._scale[self.features]
        return scaled.clip(-CLIP, CLIP)

    def _differences(self, target: TaskView) -> pd.DataFrame:
        """Absolute difference of each feature to each stored task: tasks × features, nan where either is nan."""
        vector = pd.Series(dtype=float) if target.metafeatures is None else target.metafeatures
        return (self._stored - self._scaled(compressed(vector.to_frame().T.astype(float))).iloc[0]).abs()

    def _distances(self, target: TaskView) -> pd.Series[float]:
        differences, weights = self._differences(target).to_numpy(), self.weights.to_numpy()
        known = ~np.isnan(differences) @ weights
        total = np.nan_to_num(differences) @ weights
        distances = np.divide(total, known, out=np.full(len(known), np.nan), where=known > 0)
        return pd.Series(distances, self._stored.index)

    def reasons(self, target: TaskView, task: str) -> pd.DataFrame:
        """Why a task is near or far: features × ``difference`` and ``surprise``, both in units of the distance.

        ``difference`` is what the feature contributes to the distance of ``task``; ``surprise`` is how much less that
        is than its mean over the stored tasks. So the features in which the two agree, where tasks usually do not, have
        the largest surprise; those in which they differ, the largest difference. nan where either value is.
        """
        parts = self._differences(target) * self.weights.to_numpy()
        table = pd.DataFrame({"difference": parts.loc[task], "surprise": parts.mean() - parts.loc[task]})
        return table.set_axis(pd.Index(self.features))

    def _learn(self, errors: pd.DataFrame) -> None:
        """Fit the weights to distances between rows of ranked errors, over pairs of tasks that share configurations."""
        names = [name for name in self._stored.index if name in errors.index]
        if len(names) < 2 or not errors.shape[1]:
            return
        performance = performance_distances(errors.loc[names])
        first, second = np.triu_indices(len(names), 1)
        known = np.flatnonzero(np.isfinite(performance[first, second]))
        if known.size < 10:
            return
        chosen = np.random.default_rng(self.seed).permutation(known)[:MAX_PAIRS]
        stored = self._stored.loc[names].fillna(0.0).to_numpy()
        A = np.abs(stored[first[chosen]] - stored[second[chosen]])
        b = performance[first[chosen], second[chosen]]
        self.weights[:] = non_negative_weights(A, b, self.shrinkage)


def compressed(values: pd.DataFrame) -> pd.DataFrame:
    """Sign times log(1 + |value|): heavy tails, such as numbers of rows, become comparable."""
    return pd.DataFrame(np.sign(values) * np.log1p(np.abs(values)), index=values.index, columns=values.columns)


def performance_distances(errors: pd.DataFrame) -> FloatArray:
    """1 - Spearman correlation of the errors of each pair of tasks over all configurations: ``(t, t)``.

    A missing error takes the middle rank of its task; nan for tasks without two different errors.
    """
    filled = errors.T.fillna(errors.median(axis=1)).T
    ranks = filled.rank(axis=1).to_numpy(dtype=np.float64)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    unit = np.divide(ranks, norms, out=np.full(ranks.shape, np.nan), where=norms > 0)
    return np.asarray(1 - unit @ unit.T)


def non_negative_weights(A: FloatArray, b: FloatArray, shrinkage: float) -> FloatArray:
    """Weights w ≥ 0 of sum 1 for which A w, times and plus a constant, comes closest to b in least squares.

    Args:
        A: ``(pairs, features)``
        b: ``(pairs,)``
        shrinkage: weight, relative to the data, of the squared difference to equal weights.
    """
    A, b = A - A.mean(axis=0), b - b.mean()
    equal = A.sum(axis=1)
    start = max(float(equal @ b) / max(float(equal @ equal), 1e-12), 1e-6)
    gram, moment = A.T @ A / len(b), A.T @ b / len(b)
    ridge = shrinkage * float(np.trace(gram)) / A.shape[1]

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        pull = w - start
        value = w @ gram @ w / 2 - w @ moment + ridge * pull @ pull / 2
        return float(value), np.asarray(gram @ w - moment + ridge * pull)

    found = minimize(loss, np.full(A.shape[1], start), jac=True, method="L-BFGS-B", bounds=[(0, None)] * A.shape[1])
    total = found.x.sum()
    return np.asarray(found.x / total) if total > 0 else np.full(A.shape[1], 1 / A.shape[1])
