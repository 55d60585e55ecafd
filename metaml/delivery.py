"""From trials to the one delivered model: refit on all rows, export, measure, and keep the limit by what it takes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from metaml.data import RawInputs
from metaml.export import parity_rows
from metaml.files import write_atomic
from metaml.latency import MEASURE_SECONDS, DeviceTable, Latency, latency_of
from metaml.membership import Ensemble, Membership
from metaml.merge import check_merged, merge_models
from metaml.refits import Part, Refitter
from metaml.run_folder import RunFolder
from metaml.trial import Trial

MAX_FINALISTS = 5
"""At most this many configurations are refitted and measured."""
HEADROOM = 0.02
"""A model is preferred that stays this share below the limit: by so much two measurements of one file differ."""
MERGE_SECONDS = 0.5
"""Time for making one file of the members of an ensemble."""

Clock = Callable[[], float]
"""Seconds that are left."""


@dataclass(frozen=True)
class Member:
    """A trial in the answer."""

    trial: Trial
    weight: float = 1.0
    is_refit: bool = True
    """Whether it was trained on all rows; if not, on the training rows of the first fold."""
    n_models: int = 1
    """How many models it is the mean of: above 1 if it is bagged."""


@dataclass(frozen=True)
class Delivered:
    """A model file with the trials that it is made of, and its latency."""

    members: tuple[Member, ...]
    """Heaviest first; one that is no ensemble has one."""
    path: Path
    latency: Latency
    error: float | None
    """Normalised error on the validation rows."""
    metrics: Mapping[str, float]
    """Raw metrics on the validation rows."""
    latency_ms: float | None
    """Predicted before it was trained."""

    @property
    def trial(self) -> Trial:
        """The only or the heaviest member."""
        return self.members[0].trial

    @property
    def is_refit(self) -> bool:
        """Whether all of it was trained on all rows."""
        return all(member.is_refit for member in self.members)

    def keeps(self, limit_ms: float | None, headroom: float = 0.0) -> bool:
        """Whether the latency is within the limit; where it is measured, with a share of the limit to spare."""
        return limit_ms is None or self.latency.judged_ms <= (1 - headroom * self.latency.is_measured) * limit_ms


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


@dataclass(frozen=True)
class Workbench:
    """What models are measured with."""

    folder: RunFolder
    """Where the answer goes."""
    rows: RawInputs
    """Raw inputs to measure with."""
    device: DeviceTable
    limit_ms: float | None
    batch: int = 1
    """Rows of one prediction."""

    def measure(self, path: Path, seconds: float) -> Latency:
        """Measure a file, or foretell it; see `latency_of`."""
        return latency_of(path, self.rows, self.device, batch=self.batch, seconds=seconds)

    def place(self, path: Path) -> None:
        """Make a file the answer, at once and whole."""
        temporary = self.folder.model.with_suffix(".part")
        shutil.copyfile(path, temporary)
        temporary.replace(self.folder.model)


class Finisher:
    """Turns the best trials into a measured model file within the time that is left.

    Args:
        refitter: trains trials again on all rows.
        bench: measures.
        membership: chooses an ensemble; None for single models only.
    """

    def __init__(self, refitter: Refitter, bench: Workbench, membership: Membership | None = None) -> None:
        self._refitter, self._bench, self._membership = refitter, bench, membership
        self._limit_ms = bench.limit_ms
        self._own_notes: list[str] = []

    @property
    def notes(self) -> list[str]:
        """What the user should know about how the answer came about."""
        return [*self._refitter.notes, *self._own_notes]

    def deliver(self, trials: Sequence[Trial], seconds_left: Clock) -> Delivered | None:
        """Return the ensemble where one is better, else the best single model that keeps the limit."""
        return self._deliver_ensemble(finalists(trials), seconds_left) or self._deliver_single(trials, seconds_left)

    def _deliver_ensemble(self, ranked: Sequence[Trial], seconds_left: Clock) -> Delivered | None:
        """Return the ensemble if there is one that keeps the limit by measurement."""
        kept_back = 2 * MEASURE_SECONDS + MERGE_SECONDS
        if self._membership is None or len(ranked) < 2 or seconds_left() <= kept_back:
            return None
        ensemble = self._membership.choose(ranked, seconds_left() - kept_back)
        if ensemble is None:
            return None
        best_first = [trial for trial in ranked if trial.number in ensemble.weights]
        bagged = self._membership.bagged(
            sorted(best_first, key=lambda trial: -ensemble.weights[trial.number]), seconds_left() - kept_back
        )
        model: Delivered | None = None
        for tried in dict.fromkeys((bagged, frozenset[int]())):
            model = self._make_ensemble(ensemble, ranked, best_first, tried, seconds_left() - kept_back)
            if model is None:
                return None
            if model.keeps(self._limit_ms, HEADROOM):
                return self._place(model)
        assert model is not None
        self._own_notes.append(
            f"the ensemble of {len(model.members)} was passed over: it takes {model.latency.judged_ms:.4f} ms, "
            f"the limit is {self._limit_ms:g} ms"
        )
        return None

    def _make_ensemble(
        self, ensemble: Ensemble, ranked: Sequence[Trial], members: Sequence[Trial], bagged: Set[int], seconds: float
    ) -> Delivered | None:
        """Train members, some of them bagged, and return what could be made of them."""
        assert self._membership is not None
        parts = self._refitter.get(members, seconds, bagged)
        here = {part.trial.number for part in parts}
        left = ensemble if len(here) == len(ensemble.weights) else self._membership.without(ensemble, ranked, here)
        if left is None:
            self._own_notes.append("a single model is delivered: too few members of an ensemble could be trained")
            return None
        return self._merged(left, parts)

    def _merged(self, ensemble: Ensemble, parts: Sequence[Part]) -> Delivered | None:
        """Write and measure the file of an ensemble; whatever fails here costs the ensemble, not the answer."""
        assert self._membership is not None
        of = {part.trial.number: part for part in parts}
        members = [of[number] for number in ensemble.weights]
        weights = list(ensemble.weights.values())
        path = self._bench.folder.candidates / "ensemble.onnx"
        judge, rows = self._membership.judge, self._bench.rows
        try:
            model = merge_models([onnx.load(part.path) for part in members], weights).SerializeToString()
            expected = [part.predictions(rows, judge.n_outputs) for part in members]
            check_merged(model, parity_rows(rows), expected, weights, scale=judge.unit)
            write_atomic(path, model)
            latency = self._bench.measure(path, MEASURE_SECONDS)
        except Exception as error:
            self._own_notes.append(f"a single model is delivered: the ensemble became no file ({error})")
            return None
        bagged = {part.trial.number for part in members if part.n_models > 1}
        trials = [part.trial for part in members]
        predicted_ms = self._membership.predicted(trials, bagged)[0] if bagged else ensemble.latency_ms
        made = tuple(
            Member(part.trial, ensemble.weights[part.trial.number], part.is_refit, part.n_models) for part in members
        )
        return Delivered(made, path, latency, ensemble.error, ensemble.metrics, predicted_ms)

    def _deliver_single(self, trials: Sequence[Trial], seconds_left: Clock) -> Delivered | None:
        """Return the first finalist that keeps the limit by measurement; the fastest one if none does.

        One that keeps it with ``HEADROOM`` goes before one that barely does.
        """
        others, passed_over = list[Delivered](), dict[int, str]()
        for trial in finalists(trials)[:MAX_FINALISTS]:
            if others and seconds_left() < MEASURE_SECONDS + 0.5:
                break
            model = self._finish(trial, seconds_left() - MEASURE_SECONDS)
            if model is None:
                continue
            if not model.keeps(self._limit_ms) and model.latency.is_bound and seconds_left() > 3 * MEASURE_SECONDS:
                model = replace(model, latency=self._bench.measure(model.path, 2 * MEASURE_SECONDS))
            if model.keeps(self._limit_ms, HEADROOM):
                self._own_notes += passed_over.values()
                return self._place(model)
            where = "hardly below" if model.keeps(self._limit_ms) else "above"
            passed_over[trial.number] = (
                f"trial {trial.number} was passed over: it takes {model.latency.judged_ms:.4f} ms, "
                f"{where} the limit of {self._limit_ms:g} ms"
            )
            others.append(model)
        barely = [model for model in others if model.keeps(self._limit_ms)]
        chosen = barely[0] if barely else min(others, key=lambda model: model.latency.judged_ms, default=None)
        if chosen is not None:
            why = "none stays clearly below the limit" if barely else "nothing keeps the limit, and it is the fastest"
            passed_over[chosen.trial.number] = f"trial {chosen.trial.number} is delivered: {why}"
        self._own_notes += passed_over.values()
        return None if chosen is None else self._place(chosen)

    def _finish(self, trial: Trial, seconds: float) -> Delivered | None:
        """Return a trial as a model: bagged where that may be, and not where it then exceeds the limit."""
        ends = time.monotonic() + seconds
        bagged = self._membership.bagged([trial], seconds) if self._membership is not None else frozenset[int]()
        model = self._make(trial, seconds, bagged)
        if bagged and (model is None or not model.is_refit or not model.keeps(self._limit_ms, HEADROOM)):
            model = self._make(trial, ends - time.monotonic(), frozenset()) or model
        return model

    def _make(self, trial: Trial, seconds: float, bagged: Set[int]) -> Delivered | None:
        parts = self._refitter.get([trial], seconds, bagged)
        if not parts:
            return None
        (part,) = parts
        latency = self._bench.measure(part.path, MEASURE_SECONDS)
        member = Member(trial, is_refit=part.is_refit, n_models=part.n_models)
        predicted_ms = trial.latency_ms
        if part.n_models > 1 and self._membership is not None:
            predicted_ms = self._membership.predicted([trial], bagged)[0]
        return Delivered((member,), part.path, latency, trial.error, trial.metrics, predicted_ms)

    def _place(self, model: Delivered) -> Delivered:
        if model.latency.is_bound:
            self._own_notes.append("the machine was busy while the latency was measured: the true one is lower")
        if not self._bench.device.is_here:
            self._own_notes.append(
                f"the latency is foretold for {self._bench.device.name}, which is not this machine: please measure the "
                "model there (metaml latency validate)"
            )
        bagged = [member for member in model.members if member.n_models > 1]
        if bagged:
            who = "trial" if len(bagged) == 1 else "each of trials"
            numbers, n = ", ".join(str(member.trial.number) for member in bagged), bagged[0].n_models
            self._own_notes.append(
                f"{who} {numbers} is the mean of {n} models, each trained without another {1 / n:.0%} of the rows; "
                "the validation metrics are those of one such model"
            )
        self._bench.place(model.path)
        return model
