"""Transport between what is left of a table when its rows are gone: one normal distribution a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from metafeatures.columns import FloatArray
from metafeatures.similarity.base import Similarity, TaskView
from metafeatures.similarity.cloud import Cloud


@dataclass(frozen=True)
class ClassNormals:
    """The classes of a cloud as normal distributions: small, and without any row, so that a store may keep it."""

    weights: FloatArray
    """Share of each class, ``(k,)``, sum 1."""
    means: FloatArray
    """``(k, d)``"""
    covariances: FloatArray
    """``(k, d, d)``, divisor n"""

    def to_vector(self) -> pd.Series[float]:
        """Named numbers: ``c3.weight``, ``c3.mean.0``, ``c3.cov.1.0`` and so on."""
        rows, columns = np.tril_indices(self.means.shape[1])
        values: dict[str, float] = {}
        for c, (weight, mean, covariance) in enumerate(zip(self.weights, self.means, self.covariances, strict=True)):
            values[f"c{c}.weight"] = weight
            values |= {f"c{c}.mean.{i}": x for i, x in enumerate(mean)}
            values |= {f"c{c}.cov.{i}.{j}": covariance[i, j] for i, j in zip(rows, columns, strict=True)}
        return pd.Series(values, dtype=np.float64)

    @classmethod
    def from_vector(cls, vector: pd.Series[float]) -> ClassNormals:
        """Read what `to_vector` wrote; entries that are nan (of classes that other tasks have) are passed over."""
        values = vector.dropna().astype(np.float64)
        k = sum(str(name).endswith(".weight") for name in values.index)
        d = sum(str(name).startswith("c0.mean.") for name in values.index)
        numbers = np.asarray(values, dtype=np.float64).reshape(k, 1 + d + d * (d + 1) // 2)
        covariances = np.zeros((k, d, d))
        rows, columns = np.tril_indices(d)
        covariances[:, rows, columns] = covariances[:, columns, rows] = numbers[:, 1 + d :]
        return cls(numbers[:, 0], numbers[:, 1 : 1 + d], covariances)


def class_normals(cloud: Cloud) -> ClassNormals:
    """The classes that have points, by their numbers."""
    present = np.unique(cloud.classes)
    members = [cloud.points[cloud.classes == c] for c in present]
    d = cloud.points.shape[1]
    means = np.array([points.mean(axis=0) for points in members]).reshape(-1, d)
    centred = [points - mean for points, mean in zip(members, means, strict=True)]
    covariances = np.array([c.T @ c / len(c) for c in centred]).reshape(-1, d, d)
    weights = np.array([len(points) for points in members], dtype=float)
    return ClassNormals(weights / max(weights.sum(), 1.0), means, covariances)


def squared_wasserstein(source: ClassNormals, target: ClassNormals) -> FloatArray:
    """Squared Wasserstein distance between each pair of classes, ``(k, k')``.

    |m - m'|² + tr(S + S' - 2 (S^½ S' S^½)^½), the Bures distance of the covariances (Takatsu 2011).
    """
    squares = np.sum((source.means[:, None] - target.means) ** 2, axis=2)
    traces = np.trace(target.covariances, axis1=1, axis2=2)
    for i, covariance in enumerate(source.covariances):
        root = _matrix_root(covariance)
        inner = root @ target.covariances @ root
        overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(inner), 0.0)).sum(axis=1)
        squares[i] += np.maximum(np.trace(covariance) + traces - 2 * overlap, 0.0)
    return np.asarray(squares)


def _matrix_root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def squared_mixture_distance(source: ClassNormals, target: ClassNormals) -> float:
    """The smallest mean squared Wasserstein distance of classes over all couplings of their shares.

    MW₂² of Delon & Desolneux (2020) between the two mixtures of normal distributions.
    """
    costs = squared_wasserstein(source, target)
    k, other = costs.shape
    sums = np.vstack([np.kron(np.eye(k), np.ones(other)), np.kron(np.ones(k), np.eye(other))])
    shares = np.concatenate([source.weights, target.weights])
    solved = linprog(costs.ravel(), A_eq=sums[:-1], b_eq=shares[:-1], method="highs")  # one equation is redundant
    return max(float(solved.fun), 0.0) if solved.fun is not None else np.nan


class NormalsDistance(Similarity):
    """Optimal transport between the class distributions alone, each taken as normal. Milliseconds a pair.

    What `TransportDistance` becomes when the rows are gone: √2 times the distance of the mixtures, because there points
    and labels pay the same price. So it can be asked of stored tasks.
    """

    name = "normals"
    version = "1"

    def supports(self, view: TaskView) -> bool:
        """Whether the classes were described."""
        return self.name in view.vectors and bool(view.vectors[self.name].notna().any())

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        self._normals = {name: ClassNormals.from_vector(view.vectors[self.name]) for name, view in tasks.items()}

    def _distances(self, target: TaskView) -> pd.Series[float]:
        own = ClassNormals.from_vector(target.vectors[self.name])
        squares = {name: 2 * squared_mixture_distance(own, normals) for name, normals in self._normals.items()}
        return pd.Series(squares, dtype=float) ** 0.5
