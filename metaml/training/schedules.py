"""Learning-rate schedules: each one stateless function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises linearly, for `cosine` and `constant`."""
CYCLE_RISE, CYCLE_START, CYCLE_END = 0.3, 1 / 25, 1 / 25 / 1e4
"""Of `one_cycle`: share of the steps in which the rate rises, and its first and last shares of the peak."""

Schedule = Callable[[int, int], float]
"""(step, n_steps) -> share of the peak learning rate in that step, the first being 0."""


def constant(step: int, n_steps: int) -> float:
    """Return 1, after a short linear rise.

    >>> [constant(step, 100) for step in (0, 4, 99)]
    [0.2, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / _rise(n_steps))


def cosine(step: int, n_steps: int) -> float:
    """Return a short linear rise to 1, then a half cosine down to 0 (Loshchilov and Hutter 2017, without restarts).

    >>> [round(cosine(step, 100), 3) for step in (0, 4, 52, 99)]
    [0.2, 1.0, 0.492, 0.0]
    """
    rise = _rise(n_steps)
    if step < rise:
        return constant(step, n_steps)
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rise) / max(1, n_steps - rise)))


def one_cycle(step: int, n_steps: int) -> float:
    """Return a half cosine up to 1 over 30 % of the steps, and one down to nearly 0 (Smith and Topin 2018).

    >>> [round(one_cycle(step, 100), 3) for step in (0, 29, 64, 99)]
    [0.04, 1.0, 0.5, 0.0]
    """
    top, last = CYCLE_RISE * n_steps - 1, n_steps - 1
    if step <= top:
        return _half_cosine(CYCLE_START, 1.0, step / top if top > 0 else 1.0)
    return _half_cosine(1.0, CYCLE_END, (step - top) / (last - top) if last > top else 1.0)


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant, "one_cycle": one_cycle}
"""Name in the configuration -> schedule."""


def _rise(n_steps: int) -> int:
    return max(1, round(WARM_UP * n_steps))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
