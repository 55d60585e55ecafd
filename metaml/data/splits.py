"""Which rows train and which validate; and which of the training rows a smaller budget sees.

All is stratified (by class, or by tenths of a regression target) and depends on nothing but its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metaml.errors import UsageError

MAX_VALIDATION_ROWS = 20_000
"""A holdout never validates on more: the standard error of an accuracy there is at most 0.4 percentage points."""
MAX_FOLDS = 20
"""More folds than this that a task brings along, as of leave-one-out, would be too many trainings for one trial."""
_REGRESSION_STRATA = 10


@dataclass(frozen=True)
class Split:
    """Row indices of one division into training and validation rows, ascending, without overlap."""

    train: np.ndarray[Any, Any]
    valid: np.ndarray[Any, Any]


N_FOLDS = {"tabular": 5, "image": 3}
"""Modality of a task -> folds of its cross-validation: networks on images take long to train."""


def make_splits(
    y: np.ndarray[Any, Any],
    type: str,
    *,
    seed: int = 0,
    n_folds: int = N_FOLDS["tabular"],
    cv_below: int = 1000,
    holdout: float = 0.25,
) -> tuple[Split, ...]:
    """Divide the rows: ``n_folds`` folds of cross-validation below ``cv_below`` rows, else one holdout.

    Every class is among the training rows of every split. The row of a class that has only one therefore never
    validates; all other rows validate exactly once in a cross-validation.

    Args:
        y: Target values, shape (n,).
        type: Task type.
        seed: The same seed gives the same splits.
        n_folds: Number of folds of a cross-validation.
        cv_below: Fewer rows than this are cross-validated.
        holdout: Fraction of validation rows, at most ``MAX_VALIDATION_ROWS`` of them.
    """
    if n_folds < 2 or not 0 < holdout < 1:
        raise UsageError(f"Splits need n_folds of 2 or more and 0 < holdout < 1, but got {n_folds} and {holdout}.")
    order, rank, size = _stratified_order(y, type, seed)
    free = size > 1 if type != "regression" else np.ones(len(order), dtype=bool)  # rows that may validate, by position
    if len(y) < cv_below:
        dealt = order[np.lexsort((rank, _strata(y, type)[order]))]
        dealt = dealt[np.isin(dealt, order[free])]
        return tuple(_split(len(y), dealt[fold::n_folds]) for fold in range(n_folds))
    n_valid = min(max(1, round(holdout * len(y))), MAX_VALIDATION_ROWS)
    return (_split(len(y), order[free & (rank < size - 1)][:n_valid]),)


def usable_splits(
    splits: tuple[Split, ...], present: np.ndarray[Any, Any], y: np.ndarray[Any, Any], type: str
) -> tuple[tuple[Split, ...], str]:
    """Return the splits that a task brings along as they apply to the rows that are left, or none and a note why.

    Rows of a class that would otherwise be missing among the training rows train instead of validating.

    Args:
        splits: Indices of rows before any were left out.
        present: Which of these rows are left, shape (m,).
        y: Target values of the rows that are left, shape (n,).
        type: Task type.
    """
    if len(splits) > MAX_FOLDS:
        return (), f"Its own {len(splits)} folds are more than {MAX_FOLDS}: its rows are divided anew."
    place = np.where(present, np.cumsum(present) - 1, -1)
    moved = []
    for split in splits:
        rows = np.concatenate([split.train, split.valid])
        if rows.min(initial=0) < 0 or rows.max(initial=0) >= len(present) or len(np.unique(rows)) < len(rows):
            return (), "Its own splits name rows twice, or rows that are not there: its rows are divided anew."
        train, valid = (indices[indices >= 0] for indices in (place[split.train], place[split.valid]))
        known = np.isin(y[valid], y[train]) if type != "regression" else np.ones(len(valid), dtype=bool)
        moved.append(Split(train=np.sort(np.concatenate([train, valid[~known]])), valid=np.sort(valid[known])))
    if any(not len(split.train) or not len(split.valid) for split in moved):
        return (), "Its own splits leave no rows to train or to validate: its rows are divided anew."
    return tuple(moved), ""


def subsample(
    indices: np.ndarray[Any, Any], y: np.ndarray[Any, Any], type: str, fraction: float, seed: int
) -> np.ndarray[Any, Any]:
    """Return a stratified fraction of some rows, at least one of every class; a smaller fraction is part of a larger.

    Args:
        indices: Row indices, usually the training rows of a split, shape (m,).
        y: Target values of the whole task, shape (n,).
        type: Task type.
        fraction: More than 0, at most 1.
        seed: The same seed gives the same order of rows, of which each fraction takes the first ones.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"The fraction of rows must be above 0 and at most 1, but is {fraction}.")
    indices = np.sort(indices)
    order, rank, _ = _stratified_order(y[indices], type, seed)
    first = rank == 0
    n_rows = max(int(first.sum()), round(fraction * len(indices)))
    return np.sort(indices[np.concatenate([order[first], order[~first]])[:n_rows]])


def _strata(y: np.ndarray[Any, Any], type: str) -> np.ndarray[Any, Any]:
    """Return the stratum of each row, 0, 1, …: its class, or the tenth of the target's range of ranks."""
    if type != "regression":
        return np.unique(y, return_inverse=True)[1]
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return ranks * _REGRESSION_STRATA // max(1, len(y))


def _stratified_order(y: np.ndarray[Any, Any], type: str, seed: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Shuffle the rows so that every prefix holds the strata in about their proportions.

    Row number r of the c in its (shuffled) stratum comes at (r + u) / c of the order, with one uniform u per stratum.

    Returns:
        Row indices; and by position in this order, the rank of the row in its stratum and the size of the stratum.
    """
    rng = np.random.default_rng(seed)
    strata = _strata(y, type)
    shuffled = rng.permutation(len(y))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    counts = np.bincount(strata)
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts, counts)
    position = np.argsort((rank + np.repeat(rng.random(len(counts)), counts)) / size, kind="stable")
    return by_stratum[position], rank[position], size[position]


def _split(n_rows: int, valid: np.ndarray[Any, Any]) -> Split:
    train = np.ones(n_rows, dtype=bool)
    train[valid] = False
    return Split(train=np.flatnonzero(train), valid=np.sort(valid))
