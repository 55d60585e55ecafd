"""Expected improvement."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from portfolio.table import Floats


def expected_improvement(mean: Floats, deviation: Floats, best: float | Floats) -> Floats:
    """Return E[max(best - Y, 0)] for Y ~ N(mean, deviation²), elementwise (Jones et al. 1998, eq. 15).

    >>> expected_improvement(np.array([0.0, 2.0]), np.array([0.0, 0.0]), 1.0).tolist()
    [1.0, 0.0]
    """
    gap = best - mean
    z = np.clip(gap / np.where(deviation > 0, deviation, 1.0), -40.0, 40.0)
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    spread = np.maximum(gap * ndtr(z) + deviation * density, 0.0)
    return np.asarray(np.where(deviation > 0, spread, np.maximum(gap, 0.0)))
