"""Random rows for the inputs of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from hw_cost.graph import BATCH
from hw_cost.runtimes.base import Input

NUMPY_TYPES = {"float": np.float32, "double": np.float64}
MOST_ELEMENTS = 500_000
"""Random numbers that are drawn for a model."""
MOST_BATCHES = 1024
"""Different batches that a measurement cycles through: a processor learns which way the branches of a tree go for rows
that come again and again."""


def random_feeds(
    inputs: Iterable[Input], rows: int, *, seed: int = 0, strings: Sequence[str] = ("a", "b", "c", ""), high: int = 2
) -> dict[str, np.ndarray]:
    """Return random rows for every input.

    Args:
        inputs: the inputs of a model.
        rows: how many rows.
        seed: of the random numbers.
        strings: texts to choose from; numbers are standard normal.
        high: integers are drawn from 0 up to below this.
    """
    random = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    for node in inputs:
        shape = [rows if length == BATCH else length for length in node.shape]
        if node.dtype == "string":
            feeds[node.name] = random.choice(np.array(strings, dtype=object), size=shape)
        elif node.dtype in NUMPY_TYPES:
            feeds[node.name] = random.normal(size=shape).astype(NUMPY_TYPES[node.dtype])
        else:
            feeds[node.name] = random.integers(0, high, size=shape, dtype=np.dtype(node.dtype))
    return feeds


def enough_rows(inputs: Iterable[Input], batch: int) -> int:
    """Return how many rows to draw batches from: many small ones, few large ones."""
    elements = sum(math.prod(node.shape[1:]) for node in inputs)
    return batch * int(np.clip(MOST_ELEMENTS // max(1, elements * batch), 2, MOST_BATCHES))
