"""Optimal transport dataset distance, Alvarez-Melis & Fusi (2020), with Gaussian class-to-class distances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from metafeatures.columns import FloatArray
from metafeatures.similarity.base import Similarity, TaskView
from metafeatures.similarity.cloud import Cloud

MAX_POINTS = 500


def squared_otdd(source: Cloud, target: Cloud, *, max_points: int = MAX_POINTS) -> float:
    """The squared distance min_π Σ π(i,j) (|x_i - x'_j|² + W₂²(α_y(i), α_y'(j))), with class clouds α taken as normal.

    Both clouds count as uniform on equally many points, of which the optimal plan is a permutation; from a larger
    cloud the first points are taken (they come in random order). Class distributions are those of all points.
    """
    n = min(len(source.points), len(target.points), max_points)
    labels = class_distances(source, target)
    x, z = source.points[:n], target.points[:n]
    cost = _squared_distances(x, z) + labels[np.ix_(source.classes[:n], target.classes[:n])]
    return max(float(cost[linear_sum_assignment(cost)].mean()), 0.0) if n else np.nan


def class_distances(source: Cloud, target: Cloud) -> FloatArray:
    """Squared Wasserstein distance between the normal approximations of each pair of classes, ``(k, k')``.

    |m - m'|² + tr(S + S' - 2 (S^½ S' S^½)^½), the Bures distance of the covariances (Takatsu 2011, eq. 1.2).
    """
    means, covariances = _normals(source)
    other_means, other_covariances = _normals(target)
    distances = _squared_distances(means, other_means)
    for i, covariance in enumerate(covariances):
        root = _matrix_root(covariance)
        inner = root @ other_covariances @ root
        overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(inner), 0.0)).sum(axis=1)
        traces = np.trace(covariance) + np.trace(other_covariances, axis1=1, axis2=2)
        distances[i] += np.maximum(traces - 2 * overlap, 0.0)
    return distances


def _normals(cloud: Cloud) -> tuple[FloatArray, FloatArray]:
    """Mean ``(k, d)`` and covariance ``(k, d, d)`` of each class; zeros for classes without points."""
    d, k = cloud.points.shape[1], int(cloud.classes.max(initial=-1)) + 1
    means, covariances = np.zeros((k, d)), np.zeros((k, d, d))
    for c in np.unique(cloud.classes):
        points = cloud.points[cloud.classes == c]
        means[c] = points.mean(axis=0)
        centred = points - means[c]
        covariances[c] = centred.T @ centred / len(points)
    return means, covariances


def _matrix_root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _squared_distances(x: FloatArray, z: FloatArray) -> FloatArray:
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(z**2, axis=1) - 2 * x @ z.T
    return np.asarray(np.maximum(squares, 0.0))


class TransportDistance(Similarity):
    """OTDD between samples of the rows, in a space of principal components. Tens of milliseconds a pair.

    Meant for a shortlist: `fit` on the tasks that a cheaper measure has found near.
    """

    version = "1"

    def __init__(self, *, max_points: int = MAX_POINTS) -> None:
        """Use at most ``max_points`` points of each cloud; the time grows with their cube."""
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
