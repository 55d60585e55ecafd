"""Intervals for means of paired differences."""

from __future__ import annotations

import numpy as np

RESAMPLES = 10_000


def mean_interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval (percentiles) of the mean of ``(n,)`` values."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
