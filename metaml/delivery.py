"""From trials to the one delivered model: refit on all rows, export, measure, and keep the limit by measurement."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hw_cost import Measurement
from metaml.data import RawInputs
from metaml.latency import MEASURE_SECONDS, DeviceTable, measure_model
from metaml.run_folder import RunFolder
from metaml.runners import Job, WorkerPool
from metaml.trial import Trial

MAX_FINALISTS = 5
"""At most this many configurations are refitted and measured."""
HEADROOM = 0.02
"""A model is preferred that stays this share below the limit: by so much two measurements of one file differ."""


@dataclass(frozen=True)
class Delivered:
    """A model file with its trial and its measured latency."""

    trial: Trial
    path: Path
    measurement: Measurement
    is_refit: bool
    """Whether it was trained on all rows; if not, on the training rows of the first fold."""

    def keeps(self, limit_ms: float | None, headroom: float = 0.0) -> bool:
        """Whether the measured latency is within the limit, with a share of it to spare."""
        return limit_ms is None or self.measurement.median_ms <= (1 - headroom) * limit_ms


def finalists(trials: Sequence[Trial]) -> list[Trial]:
    """Return the successful trials, lowest error first, the faster one first among equals."""
    ok = [trial for trial in trials if trial.status == "ok" and trial.error is not None]
    return sorted(ok, key=lambda trial: (trial.error or 0.0, trial.latency_ms or 0.0, trial.number))


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Return the successful trials that no other beats in both error and predicted latency, fastest first."""
    front: list[Trial] = []
    for trial in sorted(finalists(trials), key=lambda trial: (trial.latency_ms or 0.0, trial.error or 0.0)):
        if not front or (trial.error or 0.0) < (front[-1].error or 0.0):
            front.append(trial)
    return front


class Finisher:
    """Turns the best trials into a measured model file within the time that is left.

    Args:
        pool: idle workers.
        folder: where the models go.
        rows: raw inputs to measure with.
        device: what the models are measured for.
        limit_ms: the latency limit, or None.
        batch: rows of one prediction.
        seed: of the refit.
    """

    def __init__(
        self,
        pool: WorkerPool,
        folder: RunFolder,
        rows: RawInputs,
        device: DeviceTable,
        *,
        limit_ms: float | None,
        batch: int,
        seed: int,
    ) -> None:
        self._pool, self._folder, self._rows, self._device = pool, folder, rows, device
        self._limit_ms, self._batch, self._seed = limit_ms, batch, seed
        self.notes: list[str] = []
        """What the user should know about how the answer came about."""

    def deliver(self, trials: Sequence[Trial], seconds_left: Callable[[], float]) -> Delivered | None:
        """Return the first finalist that keeps the limit by measurement; the fastest one if none does.

        One that keeps it with ``HEADROOM`` goes before one that barely does.
        """
        others: list[Delivered] = []
        for trial in finalists(trials)[:MAX_FINALISTS]:
            if others and seconds_left() < MEASURE_SECONDS + 0.5:
                break
            model = self._finish(trial, seconds_left() - MEASURE_SECONDS)
            if model is None:
                continue
            if not model.keeps(self._limit_ms) and model.measurement.is_bound and seconds_left() > 3 * MEASURE_SECONDS:
                model = replace(model, measurement=self._measure(model.path, 2 * MEASURE_SECONDS))
            if model.keeps(self._limit_ms, HEADROOM):
                return self._place(model)
            where = "hardly below" if model.keeps(self._limit_ms) else "above"
            self.notes.append(
                f"trial {trial.number} was passed over: it measures {model.measurement.median_ms:.4f} ms, "
                f"{where} the limit of {self._limit_ms:g} ms"
            )
            others.append(model)
        if not others:
            return None
        barely = [model for model in others if model.keeps(self._limit_ms)]
        if barely:
            self.notes.append(f"trial {barely[0].trial.number} is delivered: none stays clearly below the limit")
            return self._place(barely[0])
        return self._place(min(others, key=lambda model: model.measurement.median_ms))

    def _finish(self, trial: Trial, seconds: float) -> Delivered | None:
        path, is_refit = self._refit(trial, seconds), True
        if path is None:
            path, is_refit = self._folder.candidate(trial.number), False
        if not path.exists():
            return None
        return Delivered(trial, path, self._measure(path, MEASURE_SECONDS), is_refit)

    def _measure(self, path: Path, seconds: float) -> Measurement:
        return measure_model(path, self._rows, self._device, batch=self._batch, seconds=seconds)

    def _refit(self, trial: Trial, seconds: float) -> Path | None:
        path = self._folder.candidates / f"{trial.number:05d}-refit.onnx"
        if seconds <= 0:
            return None
        job = Job(
            trial.number, "refit", trial.configuration, seconds, seed=self._seed, export_to=path, epochs=trial.epochs
        )
        self._pool.submit(job)
        outcomes = self._pool.wait(seconds + 1.0)
        if outcomes and outcomes[0].status == "ok":
            return path
        if not outcomes:
            self._pool.cancel()
        why = outcomes[0].message.strip().splitlines()[-1] if outcomes and outcomes[0].message else "out of time"
        self.notes.append(f"trial {trial.number} could not be trained again on all rows ({why})")
        return None

    def _place(self, model: Delivered) -> Delivered:
        if model.measurement.is_bound:
            self.notes.append("the machine was busy while the latency was measured: the true one is lower")
        if not self._device.is_here:
            self.notes.append(f"the latency was measured on this machine, not on {self._device.name}")
        temporary = self._folder.model.with_suffix(".part")
        shutil.copyfile(model.path, temporary)
        temporary.replace(self._folder.model)
        return model
