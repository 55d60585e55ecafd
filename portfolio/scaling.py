"""Errors of different tasks on one scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from portfolio.table import Floats
from portfolio.warping import Asinh, Straight, Warp

Scaling = Literal["regret", "log-regret", "zscore", "raw"]
SOFTNESS = 0.1
"""Below this regret, in units of a task's range, "log-regret" is linear again."""


def regret(errors: Floats) -> Floats:
    """Return the distance to the best of each task in units of the task's range: 0 the best, 1 the worst.

    Shape ``(t, c)`` in and out, nan stays nan; a task whose errors are all equal becomes all 0.

    >>> regret(np.array([[2.0, 4.0, 3.0, np.nan]])).tolist()
    [[0.0, 1.0, 0.5, nan]]
    """
    low, high = np.nanmin(errors, axis=1, keepdims=True), np.nanmax(errors, axis=1, keepdims=True)
    return np.asarray((errors - low) / np.where(high > low, high - low, 1.0))


def ranks(errors: Floats, unknown: float = float("nan")) -> Floats:
    """Return the rank of each configuration within its task, scaled to [0, 1]; ties share their mean rank.

    Shape ``(t, c)`` in and out, nan becomes ``unknown``.

    >>> ranks(np.array([[0.2, 0.9, 0.2, np.nan]])).tolist()
    [[0.25, 1.0, 0.25, nan]]
    """
    out = np.full(errors.shape, unknown)
    for row, values in enumerate(errors):
        known = np.flatnonzero(np.isfinite(values))
        _, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
        mean_rank = np.cumsum(count) - (count + 1) / 2
        out[row, known] = mean_rank[place] / max(len(known) - 1, 1)
    return out


def _by_range(errors: Floats) -> tuple[Floats, Floats]:
    low = np.nanmin(errors, axis=1)
    return low, np.nanmax(errors, axis=1) - low


def _by_deviation(errors: Floats) -> tuple[Floats, Floats]:
    mean = np.nanmean(errors, axis=1)
    return mean, np.sqrt(np.nanmean((errors - mean[:, None]) ** 2, axis=1))


def _as_it_is(errors: Floats) -> tuple[Floats, Floats]:
    return np.zeros(len(errors)), np.ones(len(errors))


LOCATORS: dict[Scaling, Callable[[Floats], tuple[Floats, Floats]]] = {
    "regret": _by_range,
    "log-regret": _by_range,
    "zscore": _by_deviation,
    "raw": _as_it_is,
}


def shift_and_scale(errors: Floats, scaling: Scaling) -> tuple[Floats, Floats]:
    """Return shift a and scale s > 0 of each task, shape ``(t,)`` each, such that ``(errors - a) / s`` is comparable.

    >>> shift_and_scale(np.array([[1.0, 3.0]]), "regret")
    (array([1.]), array([2.]))
    """
    shift, scale = LOCATORS[scaling](errors)
    tiny = 1e-9 * np.maximum(np.abs(shift), 1e-3)
    return shift, np.where(scale > tiny, scale, 1.0)


def warp_of(scaling: Scaling) -> Warp:
    """Return how errors are warped after shift and scale."""
    return Asinh(SOFTNESS) if scaling == "log-regret" else Straight()
