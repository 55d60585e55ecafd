"""Trains finished trials again on all rows, side by side, within a time; each at most once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaml.data import RawInputs
from metaml.export import parity_rows
from metaml.merge import run_model
from metaml.predictions import read_predictions
from metaml.run_folder import RunFolder
from metaml.runners import Job, Outcome, WorkerPool
from metaml.trial import Trial

REFIT_FACTOR = 1.4
"""A fit on all rows takes so much longer than one on the training rows of a fold, which are three quarters or more."""
EXPORT_SECONDS = 0.2
"""Time to write and check a model's file."""


def refit_seconds(trial: Trial, n_folds: int) -> float:
    """Foresee how long a trial's configuration trains on all rows, from how long the trial took."""
    return REFIT_FACTOR * trial.seconds / n_folds / trial.budget + EXPORT_SECONDS


@dataclass(frozen=True)
class Part:
    """A trial's model as a file."""

    trial: Trial
    path: Path
    is_refit: bool
    """Whether it was trained on all rows; if not, on the training rows of the first fold."""

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
    """

    def __init__(self, pool: WorkerPool, folder: RunFolder, *, seed: int) -> None:
        self._pool, self._folder, self._seed = pool, folder, seed
        self._done: dict[int, Path | None] = {}
        self.notes: list[str] = []
        """Which trials could not be trained again, and why."""

    def get(self, trials: Sequence[Trial], seconds: float) -> list[Part]:
        """Return the models of trials, those trained on all rows where that works in time.

        Where it does not, the first fold's model stands in; a trial that left none is missing.

        Args:
            trials: in the order in which they are trained.
            seconds: time allowed for all of them together.
        """
        self._train([trial for trial in trials if trial.number not in self._done], time.monotonic() + seconds)
        parts = []
        for trial in trials:
            path = self._done.get(trial.number)
            is_refit = path is not None
            path = path or self._folder.candidate(trial.number)
            if path.exists():
                parts.append(Part(trial, path, is_refit))
        return parts

    def _train(self, trials: list[Trial], deadline: float) -> None:
        waiting = list(trials)
        running: dict[int, Path] = {}
        while waiting or running:
            while waiting and self._pool.n_idle and deadline > time.monotonic():
                trial = waiting.pop(0)
                running[trial.number] = self._start(trial, deadline - time.monotonic())
            outcomes = self._pool.wait(max(0.0, deadline - time.monotonic())) if running else []
            for outcome in outcomes:
                self._keep(outcome, running.pop(outcome.number))
            if not outcomes and deadline <= time.monotonic():
                break
        if running:
            self._pool.cancel()
        for number in [*running, *(trial.number for trial in waiting)]:
            self._fail(number, "out of time")

    def _start(self, trial: Trial, seconds: float) -> Path:
        path = self._folder.candidates / f"{trial.number:05d}-refit.onnx"
        job = Job(
            trial.number,
            "refit",
            trial.configuration,
            seconds,
            seed=self._seed,
            export_to=path,
            predictions_to=path.with_suffix(".npz"),
            epochs=trial.epochs,
        )
        self._pool.submit(job)
        return path

    def _keep(self, outcome: Outcome, path: Path) -> None:
        if outcome.status == "ok":
            self._done[outcome.number] = path
        else:
            reason = outcome.message.strip()
            self._fail(outcome.number, reason.splitlines()[-1] if reason else outcome.status)

    def _fail(self, number: int, why: str) -> None:
        self._done[number] = None
        self.notes.append(f"trial {number} could not be trained again on all rows ({why})")
