"""Numbers to scores of the normal distribution by their rank in the training rows. Also as ONNX operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import ndtr

from hw_cost.graph import BATCH, OpGraph, Parameter, constant, number
from metaml.models.base import Tensors

N_SEGMENTS = 24
"""Straight pieces of the curve from numbers to scores."""
MOST_SCORE = 3.0
"""Score of the largest number; that of the smallest is its negative."""
MOST_ROWS = 50_000
"""Rows that quantiles are taken of."""
NARROWEST = 1e-4
"""Narrowest piece, in units of the scaled numbers: closer ones would lie within the rounding of a float32."""


@dataclass(frozen=True)
class QuantileScores:
    """A piecewise linear curve for each column, through the quantiles that lie evenly on the normal score.

    Numbers beyond those of the training rows get the outermost scores. A number that is frequent has the mean of the
    scores of its ranks, as in the quantile transformation of scikit-learn.
    """

    left: np.ndarray
    """Where each piece begins, float32 ``(d, N_SEGMENTS)``; columns with few numbers have fewer pieces."""
    width: np.ndarray
    """Widths of the pieces, float32 ``(d, N_SEGMENTS)``; 1 where there is none."""
    rise: np.ndarray
    """Rises of the score along the pieces, float32 ``(d, N_SEGMENTS)``; 0 where there is none."""
    lowest: np.ndarray
    """Score of the smallest number, float32 ``(d,)``."""

    @classmethod
    def fit(cls, numeric: np.ndarray) -> Self:
        """Learn from scaled numbers, float32 ``(n, d)`` without nan."""
        sample = numeric[:: max(1, len(numeric) // MOST_ROWS)].astype(np.float64)
        d = numeric.shape[1]
        left, rise = np.zeros((d, N_SEGMENTS), np.float32), np.zeros((d, N_SEGMENTS), np.float32)
        width, lowest = np.ones((d, N_SEGMENTS), np.float32), np.zeros(d, np.float32)
        for j, column in enumerate(sample.T):
            knots, scores = _knots(column)
            n = len(knots) - 1
            left[j, :n], width[j, :n], rise[j, :n] = knots[:-1], np.diff(knots), np.diff(scores)
            lowest[j] = scores[0]
        return cls(left, width, rise, lowest)

    def transform(self, numeric: np.ndarray) -> np.ndarray:
        """Return the scores of scaled numbers, float32 ``(n, d)`` in and out."""
        scores = np.empty_like(numeric)
        for j, column in enumerate(numeric.T):
            n = max(1, int(np.count_nonzero(self.rise[j])))
            knots = np.append(self.left[j, :n], self.left[j, n - 1] + self.width[j, n - 1])
            heights = self.lowest[j] + np.concatenate([[0.0], np.cumsum(self.rise[j, :n], dtype=np.float64)])
            scores[:, j] = np.interp(column, knots, heights)
        return scores

    def emit(self, graph: OpGraph, numeric: str) -> str:
        """Append the operations that do `transform`: the sum of how far each piece has been passed, times its rise."""
        d = len(self.lowest)
        pieces = (BATCH, d, N_SEGMENTS)
        left, steepness, rise = (
            Parameter(f"scores.{name}", (d, N_SEGMENTS), is_trained=False) for name in ("left", "steepness", "rise")
        )
        columns = graph.add("Unsqueeze", numeric, constant(2), output=(BATCH, d, 1), at=2)
        above = graph.add("Sub", columns, left, output=pieces)
        share = graph.add("Mul", above, steepness, output=pieces)
        passed = graph.add("Clip", share, number(0.0), number(1.0), output=pieces)
        risen = graph.add("Mul", passed, rise, output=pieces)
        total = graph.add("ReduceSum", risen, constant(2), output=(BATCH, d), keepdims=0)
        return graph.add("Add", total, Parameter("scores.lowest", (d,), is_trained=False), output=(BATCH, d))

    def tensors(self) -> Tensors:
        """Return the arrays of the emitted operations."""
        return {
            "scores.left": self.left,
            "scores.steepness": 1 / self.width,
            "scores.rise": self.rise,
            "scores.lowest": self.lowest,
        }


def _knots(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return increasing knots and their scores, float32; of numbers too close to each other one knot is kept."""
    scores = np.linspace(-MOST_SCORE, MOST_SCORE, N_SEGMENTS + 1)
    ranks = ndtr(scores)
    ranks[0], ranks[-1] = 0.0, 1.0
    quantiles = np.quantile(column, ranks).astype(np.float32)
    knots, heights = [quantiles[0]], [[scores[0]]]
    for quantile, score in zip(quantiles[1:], scores[1:], strict=True):
        if quantile - knots[-1] > NARROWEST * max(1.0, abs(float(quantile))):
            knots.append(quantile)
            heights.append([])
        heights[-1].append(score)
    means = np.array([np.mean(several) for several in heights], np.float32)
    return np.array(knots, np.float32), means
