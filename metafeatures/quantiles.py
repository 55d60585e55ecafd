"""Quantiles of many sorted columns at once, and bins between them."""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray, IntArray


def sorted_quantiles(ordered: FloatArray, counts: IntArray, levels: FloatArray) -> FloatArray:
    """Quantiles of sorted columns, linearly interpolated, as definition 7 of Hyndman and Fan (1996).

    Args:
        ordered: ``(m, p)``, each column ascending with nan last.
        counts: how many cells of each column are not nan, ``(p,)``.
        levels: between 0 and 1, ``(l,)``.

    Returns:
        ``(l, p)``, nan for a column without values.
    """
    if not ordered.shape[0]:
        return np.full((levels.size, ordered.shape[1]), np.nan)
    last = np.maximum(counts - 1, 0)
    position = last * levels[:, None]
    below = np.floor(position).astype(np.int64)
    low = np.take_along_axis(ordered, below, axis=0)
    high = np.take_along_axis(ordered, np.minimum(below + 1, last), axis=0)
    weight, gap = position - below, high - low
    return np.where(weight < 0.5, low + gap * weight, high - gap * (1 - weight))


def equal_frequency_codes(values: FloatArray, ordered: FloatArray, counts: IntArray, bins: int) -> IntArray:
    """Discretise columns into bins of (nearly) equally many values.

    Bin edges are the quantiles at 1/bins, 2/bins, …, 1; a bin includes its upper edge. Codes may skip numbers where
    edges coincide. A missing cell gets a code after all others.

    Args:
        values: ``(m, p)``
        ordered: the same values, each column ascending with nan last.
        counts: how many cells of each column are not nan, ``(p,)``.
        bins: how many.

    Returns:
        ``(m, p)`` codes from 0 to ``bins``.
    """
    edges = sorted_quantiles(ordered, counts, np.linspace(0, 1, bins + 1)[1:])
    codes = np.zeros_like(values, dtype=np.int64)
    for edge in edges[:-1]:  # nothing lies above the last one
        codes += values > edge
    codes[np.isnan(values)] = bins
    return codes
