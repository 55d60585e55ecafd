"""The Shapiro-Wilk test over many columns at once, after Royston (1995), "Remark AS R94", Applied Statistics 44."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.special import ndtr, ndtri

from metafeatures.columns import FloatArray, IntArray

# Coefficients in rising powers, as tabulated by Royston.
_LAST = (0.0, 0.221157, -0.147981, -2.07119, 4.434685, -2.706056)
_LAST_BUT_ONE = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)
_SMALL_SHIFT = (-2.273, 0.459)
_SMALL_MEAN = (0.5440, -0.39978, 0.025054, -6.714e-4)
_SMALL_LOG_SD = (1.3822, -0.77857, 0.062767, -0.0020322)
_LARGE_MEAN = (-1.5861, -0.31082, -0.083751, 0.0038915)
_LARGE_LOG_SD = (-0.4803, -0.082676, 0.0030302)


def shapiro_wilk(ordered: FloatArray, counts: IntArray) -> FloatArray:
    """The p-value of each column for the hypothesis that its values are normally distributed.

    Args:
        ordered: ``(m, p)``, each column ascending with nan last.
        counts: how many cells of each column are not nan, ``(p,)``.

    Returns:
        ``(p,)``, nan for columns that are constant or have fewer than three values.
    """
    result = np.full(counts.size, np.nan)
    for n in np.unique(counts[counts >= 3]):
        columns = np.flatnonzero(counts == n)
        x = ordered[:n, columns]
        centred = x - x.mean(axis=0)
        with np.errstate(all="ignore"):
            w = (weights(int(n)) @ centred) ** 2 / (centred**2).sum(axis=0)
            p = _p_value(np.minimum(w, 1.0), int(n))
        result[columns] = np.where(x[0] < x[-1], p, np.nan)
    return result


def weights(n: int) -> FloatArray:
    """The weights of the ordered values in the numerator of W, ``(n,)``, antisymmetric and of norm 1."""
    if n == 3:
        return np.array([-np.sqrt(0.5), 0.0, np.sqrt(0.5)])
    scores = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    total, u = float(scores @ scores), 1 / np.sqrt(n)
    last = polyval(u, _LAST) + scores[-1] / np.sqrt(total)
    if n > 5:
        second = polyval(u, _LAST_BUT_ONE) + scores[-2] / np.sqrt(total)
        rest = (total - 2 * scores[-1] ** 2 - 2 * scores[-2] ** 2) / (1 - 2 * last**2 - 2 * second**2)
        tail = np.array([second, last])
    else:
        rest = (total - 2 * scores[-1] ** 2) / (1 - 2 * last**2)
        tail = np.array([last])
    a = scores / np.sqrt(rest)
    a[-tail.size :] = tail
    a[: tail.size] = -tail[::-1]
    return np.asarray(a)


def _p_value(w: FloatArray, n: int) -> FloatArray:
    if n == 3:
        return np.asarray(np.maximum(6 / np.pi * (np.arcsin(np.sqrt(w)) - np.arcsin(np.sqrt(0.75))), 0.0))
    y = np.log1p(-w)
    if n <= 11:
        shift = polyval(n, _SMALL_SHIFT)
        y = np.where(y < shift, -np.log(shift - y), np.inf)
        mean, sd = polyval(n, _SMALL_MEAN), np.exp(polyval(n, _SMALL_LOG_SD))
    else:
        mean, sd = polyval(np.log(n), _LARGE_MEAN), np.exp(polyval(np.log(n), _LARGE_LOG_SD))
    return np.asarray(ndtr((mean - y) / sd))
