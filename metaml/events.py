"""What a search tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass

from metaml.trial import Trial


@dataclass(frozen=True)
class Progress:
    """How a search stands after a trial."""

    trial: Trial
    """The trial that just ended."""
    best: Trial | None
    """The best one so far."""
    n_trials: int
    """Trials that were run; those rejected before training are not counted."""
    n_rejected: int
    """Configurations rejected before training because they would be too slow."""
    seconds_left: float
    """Time until the answer."""


class Listener:
    """Hears of a search's progress; this one does nothing with it."""

    stop_asked = False
    """Set it to True to end the search with the best so far, as Ctrl-C does."""

    def message(self, text: str) -> None:
        """One sentence for the user."""

    def started(self, title: str, time_limit: float) -> None:
        """The trials begin."""

    def progress(self, progress: Progress) -> None:
        """A trial ended."""

    def finishing(self, text: str) -> None:
        """The trials are over; the answer is being refitted and measured."""

    def finished(self) -> None:
        """The search is over, whatever its end."""
