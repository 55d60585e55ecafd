"""Asynchronous successive halving (Li et al. 2020): a trial pauses on its way unless it is among the best there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ETA = 3
"""One of so many trials goes on from a rung to the next."""
SHARES = (1 / 9, 1 / 3)
"""Shares of a training at which it is compared."""

RungErrors = tuple[tuple[float, float], ...]
"""(share of the training, normalised error then), in order."""


@dataclass(frozen=True)
class Rungs:
    """What a trial is compared with on its way."""

    limits: RungErrors
    """(share, the highest error with which it goes on)."""
    checkpoint: Path
    """Where its state is kept when it does not; a trial whose state is there already goes on from it."""


@dataclass
class Halving:
    """The errors of a run's trials at each rung, and which of them are paused.

    >>> halving = Halving(shares=(0.5,))
    >>> for number, error in enumerate([0.3, 0.1, 0.2]):
    ...     halving.record(number, [(0.5, error)], is_paused=error > halving.limits()[0][1])
    >>> halving.limits()  # of four trials one goes on: one that is better than 0.1
    ((0.5, 0.1),)
    >>> for number in range(3, 6):
    ...     halving.record(number, [(0.5, 0.4)], is_paused=True)
    >>> halving.promote(), halving.promote()  # of six trials two go on: 0.1 did, and now 0.2 may
    (2, None)
    """

    shares: tuple[float, ...] = SHARES
    eta: int = ETA
    _errors: dict[float, list[float]] = field(default_factory=dict)
    _paused: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Number of the trial -> its last (share, error)."""

    def limits(self) -> RungErrors:
        """Return, for each share, the highest error with which one more trial would be among the best there."""
        return tuple((share, self._limit(share)) for share in self.shares)

    def record(self, number: int, reached: Iterable[tuple[float, float]], *, is_paused: bool) -> None:
        """Take in the (share, error) of a trial at each rung that it reached; it paused at the last of them, or not."""
        last = None
        for share, error in reached:
            self._errors.setdefault(share, []).append(error)
            last = (share, error)
        if is_paused and last is not None:
            self._paused[number] = last

    def promote(self) -> int | None:
        """Return the best paused trial of the highest rung where one is now among the best; it is paused no longer."""
        for share in reversed(self.shares):
            waiting = [(error, number) for number, (at, error) in self._paused.items() if at == share]
            errors = sorted(self._errors.get(share, []))
            n_best = len(errors) // self.eta
            if waiting and n_best and min(waiting)[0] <= errors[n_best - 1]:
                number = min(waiting)[1]
                del self._paused[number]
                return number
        return None

    def _limit(self, share: float) -> float:
        errors = sorted(self._errors.get(share, []))
        n_best = max(1, (len(errors) + 1) // self.eta)
        return errors[n_best - 1] if len(errors) >= n_best else math.inf
