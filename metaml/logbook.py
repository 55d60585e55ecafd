"""The trials of a run, of earlier sittings and of this one, each kept as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from metaml.delivery import finalists
from metaml.predictions import drop_predictions
from metaml.run_folder import RunFolder
from metaml.store import Recorder
from metaml.trial import Trial


class Logbook:
    """Keeps trials in the store and the elapsed time in the run folder.

    Args:
        folder: receives the elapsed time and candidate models.
        recorder: keeps trials.
        trials: those of earlier sittings.
    """

    def __init__(self, folder: RunFolder, recorder: Recorder, trials: Iterable[Trial]) -> None:
        self.trials = list(trials)
        self._folder, self._recorder = folder, recorder
        self._started, self._elapsed_before = time.monotonic(), folder.elapsed

    @property
    def best(self) -> Trial | None:
        """The successful trial with the lowest error."""
        ranked = finalists(self.trials)
        return ranked[0] if ranked else None

    @property
    def n_run(self) -> int:
        """Trials that were run, not rejected."""
        return sum(trial.status != "infeasible" for trial in self.trials)

    @property
    def typical_seconds(self) -> float:
        """Median seconds of a trial; 0 before the first."""
        seconds = sorted(trial.seconds for trial in self.trials if trial.status != "infeasible")
        return seconds[len(seconds) // 2] if seconds else 0.0

    def candidate(self, number: int) -> Path:
        """Return where the model of a trial goes."""
        return self._folder.candidate(number)

    def predictions(self, number: int) -> Path:
        """Return where the validation predictions of a trial go."""
        return self._folder.predictions(number)

    def keep(self, trials: Iterable[Trial]) -> None:
        """Keep trials that ended; when this returns they are on a disk."""
        for trial in trials:
            self.trials.append(trial)
            self._recorder.add(trial)
        drop_predictions([self._folder.predictions(trial.number) for trial in finalists(self.trials)])
        self.save_elapsed()

    def save_elapsed(self) -> None:
        """Write down how much of the time limit is used."""
        self._folder.elapsed = self._elapsed_before + time.monotonic() - self._started
