"""Hyperparameters as numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portfolio.table import Floats

MOST_CATEGORIES = 40
"""A hyperparameter with more distinct texts than this (a name, a hash) says nothing about another configuration."""


def encode(configurations: Sequence[Mapping[str, Any]]) -> Floats:
    """Return one row per configuration, all values in [0, 1], shape ``(c, d)``; d = 0 if nothing varies.

    A number becomes its place among the distinct values (so that no scale, linear or log, has to be known); text and
    truth values become one column per category; a hyperparameter that only some have gets a column "is there".

    >>> encode([{"lr": 0.001}, {"lr": 0.01}, {"lr": 1.0}]).T.tolist()
    [[0.0, 0.5, 1.0]]
    """
    names = sorted({str(key) for configuration in configurations for key in configuration})
    columns: list[Floats] = []
    for name in names:
        columns += _columns([configuration.get(name) for configuration in configurations])
    return np.column_stack(columns) if columns else np.zeros((len(configurations), 0))


def _columns(values: list[Any]) -> list[Floats]:
    """Return the columns of one hyperparameter, none if it is the same everywhere."""
    there = np.array([value is not None for value in values])
    present = [value for value in values if value is not None]
    if all(_is_number(value) for value in present):
        numbers = np.array([float(value) if value is not None else np.nan for value in values])
        distinct = np.unique(numbers[there])
        place = np.searchsorted(distinct, numbers) / max(len(distinct) - 1, 1)
        out = [np.where(there, place, 0.5)] if len(distinct) > 1 else []
    else:
        labels = np.array([json.dumps(value, sort_keys=True, default=str) for value in values])
        distinct_labels = np.unique(labels[there])
        varied = 1 < len(distinct_labels) <= MOST_CATEGORIES
        out = [(labels == label).astype(float) for label in distinct_labels] if varied else []
    return out if there.all() else [*out, there.astype(float)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
