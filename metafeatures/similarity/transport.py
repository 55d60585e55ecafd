"""Optimal transport dataset distance, Alvarez-Melis & Fusi (2020), with Gaussian class-to-class distances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from metafeatures.columns import FloatArray
from metafeatures.similarity.base import Similarity, TaskView
from metafeatures.similarity.cloud import Cloud
from metafeatures.similarity.normals import class_normals, squared_wasserstein
from metafeatures.similarity.sinkhorn import sinkhorn_divergence

MAX_POINTS = 500
EXACT_POINTS = 1000
"""More points than this are transported with entropy, debiased."""
EPSILON = 0.1
"""Strength of that entropy, in the unit of the costs; clouds have a mean squared norm of 1."""


def squared_otdd(source: Cloud, target: Cloud, *, max_points: int = MAX_POINTS, epsilon: float = EPSILON) -> float:
    """The squared distance min_π Σ π(i,j) (|x_i - x'_j|² + W₂²(α_y(i), α_y'(j))), with class clouds α taken as normal.

    Points are taken in order, which is random; class distributions are those of all points. Up to `EXACT_POINTS` both
    clouds count as uniform on equally many points, of which the optimal plan is a permutation. Above, it is the
    debiased Sinkhorn divergence of as many points as there are.

    Args:
        source: n points.
        target: m points.
        max_points: largest number of points of a cloud.
        epsilon: strength of the entropy above `EXACT_POINTS`.
    """
    a, b = (Cloud(cloud.points[:max_points], cloud.classes[:max_points]) for cloud in (source, target))
    if not len(a.points) or not len(b.points):
        return np.nan
    between = _costs(source, target, a, b)
    if max(between.shape) > EXACT_POINTS:
        return sinkhorn_divergence(between, _costs(source, source, a, a), _costs(target, target, b, b), epsilon=epsilon)
    n = min(between.shape)
    square = between[:n, :n]
    return max(float(square[linear_sum_assignment(square)].mean()), 0.0)


def _costs(source: Cloud, target: Cloud, a: Cloud, b: Cloud) -> FloatArray:
    """Cost of each pair of points of ``a`` and ``b``, whose classes are distributed as in ``source`` and ``target``."""
    labels = squared_wasserstein(class_normals(source), class_normals(target))
    rows = np.searchsorted(np.unique(source.classes), a.classes)
    columns = np.searchsorted(np.unique(target.classes), b.classes)
    return _squared_distances(a.points, b.points) + labels[np.ix_(rows, columns)]


def _squared_distances(x: FloatArray, z: FloatArray) -> FloatArray:
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(z**2, axis=1) - 2 * x @ z.T
    return np.asarray(np.maximum(squares, 0.0))


class TransportDistance(Similarity):
    """OTDD between samples of the rows, in a space of principal components. Tens of milliseconds a pair.

    Meant for a shortlist: `fit` on the tasks that a cheaper measure has found near.
    """

    name = "transport"
    version = "2"

    def __init__(self, *, max_points: int = MAX_POINTS) -> None:
        """Use at most ``max_points`` points of each cloud; the time grows with their cube (square above 1,000)."""
        self.max_points = max_points

    def supports(self, view: TaskView) -> bool:
        """Whether there are points."""
        return view.cloud is not None and len(view.cloud.points) > 1

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        self._clouds = {name: view.cloud for name, view in tasks.items() if view.cloud is not None}

    def _distances(self, target: TaskView) -> pd.Series[float]:
        if target.cloud is None:
            return pd.Series(dtype=float)
        squares = {
            name: squared_otdd(target.cloud, cloud, max_points=self.max_points) for name, cloud in self._clouds.items()
        }
        return pd.Series(squares, dtype=float) ** 0.5
