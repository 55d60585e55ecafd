"""What rows of a latency table say about each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hw_cost.table_format import Row

STRANGE = 100.0
"""Factor by which a latency may differ from its neighbours beyond what their sizes explain: caches and broadcasts
explain some ten, another unit is a thousand."""
WITNESSES, WINDOW = 3, 4
"""Neighbours that must find a row strange, and how many are asked on either side."""


def of_another_unit(rows: Sequence[Row]) -> int | None:
    """Return the position of the first row whose latency cannot be in the unit of the others, or None.

    A latency grows at most in proportion to each size that grows. A row that differs by more than that and `STRANGE`
    from several neighbours, of the same operator and in the order of the product of sizes, is in another unit.
    """
    groups = defaultdict[str, list[int]](list)
    for position, row in enumerate(rows):
        groups[row.kernel.op].append(position)
    strangers = [found for group in groups.values() for found in _strangers(rows, group)]
    return min(strangers, default=None)


def _strangers(rows: Sequence[Row], group: Sequence[int]) -> list[int]:
    counted = [
        [1 + size for name, size in rows[position].kernel.sizes.items() if name != "working_set"] for position in group
    ]
    sizes, logs = np.log(np.array(counted, dtype=float)), np.log([rows[position].latency_us for position in group])
    order = np.argsort(sizes.sum(axis=1), kind="stable")
    found = []
    for place, k in enumerate(order):
        around = order[max(0, place - WINDOW) : place + WINDOW + 1]
        difference, growth = logs[k] - logs[around], sizes[k] - sizes[around]
        slower = difference - np.maximum(growth, 0).sum(axis=1)
        faster = -difference - np.maximum(-growth, 0).sum(axis=1)
        if (np.maximum(slower, faster) > math.log(STRANGE)).sum() >= WITNESSES:
            found.append(group[k])
    return found
