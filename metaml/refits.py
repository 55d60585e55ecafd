"""Trains finished trials again on all rows, side by side, within a time; each at most once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaml.data import RawInputs
from metaml.export import parity_rows
from metaml.merge import run_model
from metaml.models import FAMILIES
from metaml.predictions import read_predictions
from metaml.run_folder import RunFolder
from metaml.runners import Job, Outcome, WorkerPool
from metaml.trial import Configuration, Trial

REFIT_FACTOR = 1.4
"""A fit on all rows takes so much longer than one on the training rows of a fold, which are three quarters or more."""
EXPORT_SECONDS = 0.2
"""Time to write and check a model's file."""
USED_SHARE = 0.95
"""Longer trainings are given this share of the time there is: one that is cut short must still be exported."""
MOST_THREADS = 4
"""Threads of a refit, where other workers have nothing to do."""
MOST_LENGTHENED = 4.0
"""A configuration is not trained for more than this many times the epochs of its trial: on few images 140 and
290 epochs gave the same accuracy, and 290 the worse probabilities."""


_Kind = tuple[int, bool]
"""Number of a trial, and whether it is bagged."""


def refit_seconds(trial: Trial, n_folds: int, *, bagged: bool = False) -> float:
    """Foresee how long a trial's configuration trains on all rows, from how long the trial took; so long if bagged."""
    once = trial.seconds / trial.budget
    return once + n_folds * EXPORT_SECONDS if bagged else REFIT_FACTOR * once / n_folds + EXPORT_SECONDS


def pays_longer(trial: Trial) -> bool:
    """Whether a trial's configuration is better trained for longer than in its trial."""
    return _lengthened(trial, 2.0) is not None


def pays_bagged(trial: Trial) -> bool:
    """Whether the mean of several fits of a trial's configuration, each on other rows, is better than one on all."""
    return FAMILIES[trial.configuration["family"]].gains_by_bagging and not pays_longer(trial)


def _lengthened(trial: Trial, share: float) -> Configuration | None:
    return FAMILIES[trial.configuration["family"]].lengthened(trial.configuration, min(share, MOST_LENGTHENED))


@dataclass(frozen=True)
class Part:
    """A trial's model as a file."""

    trial: Trial
    path: Path
    is_refit: bool
    """Whether it was trained on all rows; if not, on the training rows of the first fold."""
    n_models: int = 1
    """How many it is the mean of: above 1 if it is bagged."""

    def predictions(self, inputs: RawInputs, n_outputs: int) -> np.ndarray:
        """Return what the model says of the first rows: the trained one itself where it left that behind.

        **Shape**
        - Output: ``(n, n_outputs)`` of the n rows of `metaml.export.parity_rows`
        """
        first = parity_rows(inputs)
        n = len(next(iter(first.values())))
        if self.is_refit:
            for shape in ((n, n_outputs), (n,)):
                stored = read_predictions(self.path.with_suffix(".npz"), [shape])
                if stored is not None:
                    return stored[0].reshape(n, n_outputs)
        return run_model(self.path.read_bytes(), first)


class Refitter:
    """Turns trials into files of models.

    Args:
        pool: idle workers.
        folder: where the files go.
        seed: of the fits.
        n_folds: on which the trials were evaluated.
        longest: seconds that may be spent on training for longer than in the trials, where `pays_longer`.
    """

    def __init__(
        self, pool: WorkerPool, folder: RunFolder, *, seed: int, n_folds: int = 1, longest: float = 0.0
    ) -> None:
        self._pool, self._folder, self._seed = pool, folder, seed
        self._n_folds, self._longest = n_folds, longest
        self._done: dict[_Kind, Path | None] = {}
        self.notes: list[str] = []
        """Which trials could not be trained again, and why; which were trained for longer."""

    def get(self, trials: Sequence[Trial], seconds: float, bagged: Set[int] = frozenset()) -> list[Part]:
        """Return the models of trials, those trained on all rows where that works in time.

        Where it does not, the first fold's model stands in; a trial that left none is missing.

        Args:
            trials: in the order in which they are trained.
            seconds: time allowed for all of them together.
            bagged: numbers of those that are trained on each fold's rows instead; see `Evaluator.refit_bagged`.
        """
        kinds = {trial.number: (trial.number, trial.number in bagged) for trial in trials}
        new = [trial for trial in trials if kinds[trial.number] not in self._done]
        self._train(new, time.monotonic() + seconds, bagged)
        parts = []
        for trial in trials:
            path = self._done.get(kinds[trial.number])
            n_models = self._n_folds if path is not None and trial.number in bagged else 1
            is_refit = path is not None
            path = path or self._folder.candidate(trial.number)
            if path.exists():
                parts.append(Part(trial, path, is_refit, n_models))
        return parts

    def _train(self, trials: list[Trial], deadline: float, bagged: Set[int]) -> None:
        if not trials:
            return
        waiting = list(trials)
        running: dict[int, Trial] = {}
        rounds = math.ceil(len(trials) / self._pool.n_workers)
        each = USED_SHARE * min(self._longest, deadline - time.monotonic()) / rounds - EXPORT_SECONDS
        threads = min(MOST_THREADS, max(1, self._pool.n_workers // len(trials)))
        why = "interrupted"
        try:
            while waiting or running:
                while waiting and self._pool.n_idle and deadline > time.monotonic():
                    trial = waiting.pop(0)
                    running[trial.number] = trial
                    is_bagged = trial.number in bagged
                    self._start(trial, deadline - time.monotonic(), each, threads, is_bagged=is_bagged)
                outcomes = self._pool.wait(max(0.0, deadline - time.monotonic())) if running else []
                for outcome in outcomes:
                    self._keep(outcome, running.pop(outcome.number), is_bagged=outcome.number in bagged)
                if not outcomes and deadline <= time.monotonic():
                    break
            why = "out of time"
        finally:
            if running:
                self._pool.cancel()
            for number in [*running, *(trial.number for trial in waiting)]:
                self._fail((number, number in bagged), why)

    def _start(self, trial: Trial, seconds: float, longer: float, threads: int, *, is_bagged: bool) -> None:
        """Start a refit: a longer one than the trial where there are so many seconds for it and it pays.

        Two threads train a small convolutional network about 1.5 times as fast as one: the root of their number.
        """
        path = self._path((trial.number, is_bagged))
        share = math.sqrt(threads) * longer / refit_seconds(trial, self._n_folds)
        lengthened = None if is_bagged else _lengthened(trial, share)
        job = Job(
            trial.number,
            "refit",
            lengthened or trial.configuration,
            min(seconds, longer) if lengthened else seconds,
            seed=self._seed,
            export_to=path,
            predictions_to=path.with_suffix(".npz"),
            epochs=None if lengthened else trial.epochs,
            threads=threads if lengthened else 1,
            is_bagged=is_bagged,
        )
        self._pool.submit(job)

    def _path(self, kind: _Kind) -> Path:
        number, is_bagged = kind
        return self._folder.candidates / f"{number:05d}-{'bag' if is_bagged else 'refit'}.onnx"

    def _keep(self, outcome: Outcome, trial: Trial, *, is_bagged: bool) -> None:
        kind = (outcome.number, is_bagged)
        if outcome.status != "ok":
            reason = outcome.message.strip()
            self._fail(kind, reason.splitlines()[-1] if reason else outcome.status)
            return
        self._done[kind] = self._path(kind)
        if trial.epochs and outcome.epochs and outcome.epochs > trial.epochs:
            self.notes.append(
                f"trial {trial.number} was trained for {outcome.epochs} epochs on all rows; "
                f"its validation metrics are those of {trial.epochs} epochs"
            )

    def _fail(self, kind: _Kind, why: str) -> None:
        self._done[kind] = None
        self.notes.append(f"trial {kind[0]} could not be trained again on all rows ({why})")
