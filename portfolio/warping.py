"""Scaled errors warped so that small differences near the best count as much as large ones among the bad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from portfolio.improvement import expected_improvement
from portfolio.table import Floats

LARGEST = 50.0
"""Exponents are cut here: beyond it a configuration is bad whatever the exact number."""


class Straight:
    """No warping: a Gaussian on the scaled errors themselves."""

    def forward(self, values: Floats) -> Floats:
        """Return the values as they are."""
        return values

    def inverse(self, warped: Floats) -> Floats:
        """Return the values as they are."""
        return warped

    def log_slope(self, values: Floats) -> Floats:
        """Return the log of the derivative of ``forward``: 0."""
        return np.zeros_like(values)

    def improvement(self, mean: Floats, deviation: Floats, best: Floats) -> Floats:
        """Return E[max(best - Y, 0)] of a Gaussian Y."""
        return expected_improvement(mean, deviation, best)


@dataclass(frozen=True)
class Asinh:
    """``g(r) = asinh(r / d) / asinh(1 / d)``: as a logarithm for r much larger than d, linear around 0, g(1) = 1.

    Unlike a logarithm it is defined below 0, where a new task beats what its scale was guessed from (warped Gaussian
    processes: Snelson, Rasmussen & Ghahramani 2004).
    """

    softness: float
    """The d above, in units of a task's range."""

    @property
    def _unit(self) -> float:
        return float(np.arcsinh(1.0 / self.softness))

    def forward(self, values: Floats) -> Floats:
        """Warp scaled errors."""
        return np.asarray(np.arcsinh(values / self.softness) / self._unit)

    def inverse(self, warped: Floats) -> Floats:
        """Return scaled errors."""
        return np.asarray(self.softness * np.sinh(np.clip(self._unit * warped, -LARGEST, LARGEST)))

    def log_slope(self, values: Floats) -> Floats:
        """Return the log of the derivative of ``forward``, by which densities change."""
        return np.asarray(-np.log(self._unit * np.hypot(values, self.softness)))

    def improvement(self, mean: Floats, deviation: Floats, best: Floats) -> Floats:
        """Return E[max(best - g⁻¹(Z), 0)] for Z ~ N(mean, deviation²), deviation > 0: the part of a sinh-normal law.

        From E[exp(Z); Z < b] = exp(m + s²/2) Φ((b - m)/s - s), with Z in units in which g⁻¹ = d sinh.
        """
        m, s = self._unit * mean, self._unit * deviation
        t = (self._unit * self.forward(best) - m) / s
        half = 0.5 * s * s
        above = np.exp(np.minimum(half + m, LARGEST)) * ndtr(t - s)
        below = np.exp(np.minimum(half - m, LARGEST)) * ndtr(t + s)
        return np.asarray(np.maximum(best * ndtr(t) - 0.5 * self.softness * (above - below), 0.0))


Warp = Straight | Asinh
