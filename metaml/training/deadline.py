"""A training that will not end in time says so early."""

from __future__ import annotations

import time

PROBE_SECONDS, PROBE_STEPS = 0.5, 16
"""How long, and for how many steps, a training runs before its total time is foreseen; the first steps are slower."""
TOLERANCE = 1.2
"""Only a foreseen time above the allowed one by this factor ends a training early."""


class TooLongError(TimeoutError):
    """A training is foreseen to take longer than is allowed."""

    def __init__(self, foreseen: float, allowed: float) -> None:
        super().__init__(f"training would take about {foreseen:.1f} s, allowed are {allowed:.1f} s")
        self.share = allowed / foreseen
        """The part of it that there is time for."""


class Foresight:
    """Raises `TooLongError` once a training is seen not to end in time; the first steps do not count.

    Args:
        seconds: time allowed from now on.
        step: steps done before now.
    """

    def __init__(self, seconds: float, *, step: int = 0) -> None:
        self._seconds, self._started = seconds, time.monotonic()
        self._begin, self._first, self._first_time = step, step, self._started

    def check(self, step: int, n_steps: int) -> None:
        """Compare the time that `n_steps` will have taken with the time allowed, after `step` of them.

        Raises:
            TooLongError: it is longer.
        """
        now = time.monotonic()
        done = step - self._begin
        if done <= PROBE_STEPS // 2:
            self._first, self._first_time = step, now
        elapsed, steps = now - self._started, step - self._first
        foreseen = elapsed + (now - self._first_time) / steps * (n_steps - step) if steps else elapsed
        is_known = elapsed > PROBE_SECONDS and done >= min(PROBE_STEPS, n_steps - self._begin)
        if elapsed > self._seconds or (is_known and foreseen > TOLERANCE * self._seconds):
            raise TooLongError(foreseen, self._seconds)
