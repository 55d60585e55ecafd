"""A sample of a table's rows as points in a space that every table shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metafeatures.columns import FloatArray, IntArray
from metafeatures.table import Table

DIMENSIONS = 16
POINTS = 1000
MAX_CLASSES = 50


@dataclass(frozen=True)
class Cloud:
    """Labelled points; classes are numbered by falling frequency, a numeric target is cut into ten bins.

    The rarest classes share a number where there are more than `MAX_CLASSES`.
    """

    points: FloatArray
    """``(m, DIMENSIONS)``"""
    classes: IntArray
    """``(m,)``"""


def cloud_of(table: Table, *, max_points: int = POINTS) -> Cloud:
    """Principal components of the encoded table, whitened by one common scale.

    Axes are ordered by variance, their signs make each component's skewness positive, missing ones are 0; the mean
    squared norm of the points is 1. So two tables can be compared although their columns have nothing in common.
    """
    X = table.encoded[:max_points]
    X = X - X.mean(axis=0) if X.size else X
    points = np.zeros((X.shape[0], DIMENSIONS))
    if X.size:
        _, vectors = np.linalg.eigh(X.T @ X)
        axes = vectors[:, ::-1][:, :DIMENSIONS]
        components = X @ axes
        signs = np.where(np.sum(components**3, axis=0) < 0, -1.0, 1.0)
        points[:, : axes.shape[1]] = components * signs
    size = np.sqrt(np.mean(np.sum(points**2, axis=1))) if X.size else 0.0
    classes = np.minimum(table.target_codes[:max_points], MAX_CLASSES - 1)
    return Cloud(points / size if size > 0 else points, classes)
