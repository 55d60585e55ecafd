"""Makes the delivered model smaller where the validation metric allows it, and says what came of each attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx

from metaml.compression import TOLERANCE, agreement, is_quantisable, to_int8
from metaml.data import Split
from metaml.delivery import Clock, Delivered, Workbench, finalists
from metaml.ensembles import Judge
from metaml.evaluation import take_rows
from metaml.files import write_atomic
from metaml.latency import MEASURE_SECONDS
from metaml.merge import merge_models, run_model
from metaml.models import FAMILIES, TorchFamily
from metaml.request import COMPRESS
from metaml.runners import Job, Outcome, WorkerPool
from metaml.runners.jobs import CompressionJob
from metaml.trial import Trial

MIN_AGREEMENT = 0.99
"""Share of validation rows on which an 8-bit model must name the same class."""
LEAST_SECONDS = 4.0
"""No attempt begins with less time than this: it is what quantising and measuring a file may take."""
STUDENT_SHARE = 0.6
"""A student's predicted latency is at most this share of the model's that it could replace."""


@dataclass(frozen=True)
class Reduction:
    """One attempt to make the model smaller."""

    name: str
    accepted: bool
    why: str
    """What was gained, or what stood against it."""
    error_before: float | None = None
    """Normalised error on validation rows before, of models trained on the training rows."""
    error: float | None = None
    """The same after."""
    bytes_before: int | None = None
    bytes: int | None = None
    latency_ms_before: float | None = None
    """Measured."""
    latency_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class Reducer:
    """Tries to make a delivered model smaller; what it was before stays where nothing is gained.

    Args:
        pool: idle workers.
        bench: measures, and holds the delivered file.
        judge: knows the validation rows of all folds.
        split: the first fold.
        seed: of the fits.
    """

    def __init__(self, pool: WorkerPool, bench: Workbench, judge: Judge, split: Split, *, seed: int) -> None:
        self._pool, self._bench, self._split, self._seed = pool, bench, split, seed
        self._judge = replace(judge, truths=judge.truths[:1])

    def reduce(
        self, model: Delivered, how: str, trials: Sequence[Trial], seconds_left: Clock
    ) -> tuple[Delivered, list[Reduction]]:
        """Return the smaller model, or the same one, and what came of each attempt.

        Args:
            model: what was delivered; a network step needs it to be a single trial.
            how: name in `metaml.request.COMPRESS`; of several network steps the fastest accepted one counts.
            trials: all of them: students are chosen among them.
            seconds_left: time.
        """
        before, records = model, list[Reduction]()
        first: bytes | None = None
        for name in COMPRESS[how]:
            if seconds_left() < LEAST_SECONDS:
                records.append(Reduction(name, False, "no time was left"))
                continue
            its_first: bytes | None = None
            try:
                if name == "int8":
                    found, record = self._to_int8(model, first or self._first_fold(model), is_auto=how == "auto")
                else:
                    found, record, its_first = self._shrink(name, before, trials, seconds_left)
            except Exception as error:  # whatever fails here costs the attempt, not the answer
                records.append(Reduction(name, False, f"it failed ({error})"))
                continue
            records.append(record)
            if found is not None and (name == "int8" or _is_faster(found, model)):
                model, first = found, its_first
        if model is not before:
            self._bench.place(model.path)
        return model, records

    def _first_fold(self, model: Delivered) -> bytes | None:
        """The same model trained on the training rows of the first fold alone, if all members left one."""
        paths = [self._bench.folder.candidate(member.trial.number) for member in model.members]
        if not all(path.exists() for path in paths):
            return None
        weights = [member.weight for member in model.members]
        content: bytes = merge_models([onnx.load(path) for path in paths], weights).SerializeToString()
        return content

    def _to_int8(self, model: Delivered, first: bytes | None, *, is_auto: bool) -> tuple[Delivered | None, Reduction]:
        if first is None:
            return None, Reduction(
                "int8",
                False,
                "not tried: no copy that was trained on the training rows alone, which it is judged with, was kept",
            )
        if not is_quantisable(first):
            return None, Reduction("int8", False, "it has no dense or convolving layers")
        rows = self._bench.rows
        train, valid = take_rows(rows, self._split.train), take_rows(rows, self._split.valid)
        plain, small = (run_model(file, valid) for file in (first, to_int8(first, train)))
        errors = [self._judge.error([output[:, 0] if output.shape[1] == 1 else output]) for output in (plain, small)]
        same = agreement(plain, small) if self._judge.n_outputs > 1 else 1.0
        whole = model.path.read_bytes()
        path = self._bench.folder.candidates / "int8.onnx"
        write_atomic(path, to_int8(whole, train))
        found = replace(model, path=path, latency=self._bench.measure(path, MEASURE_SECONDS), latency_ms=None)
        why = f"{100 * same:.1f} % of the validation rows keep their class" if self._judge.n_outputs > 1 else ""
        against = []
        if errors[1] > errors[0] * (1 + TOLERANCE):
            against.append("the validation error rises too much")
        if same < MIN_AGREEMENT:
            against.append(f"only {100 * same:.1f} % of the validation rows keep their class")
        if is_auto and not _is_faster(found, model):
            against.append("it is no faster")
        record = Reduction(
            "int8",
            not against,
            "; ".join(against) or why,
            error_before=errors[0],
            error=errors[1],
            bytes_before=len(whole),
            bytes=path.stat().st_size,
            latency_ms_before=model.latency.ms,
            latency_ms=found.latency.ms,
        )
        return (None if against else found), record

    def _shrink(
        self, name: str, model: Delivered, trials: Sequence[Trial], seconds_left: Clock
    ) -> tuple[Delivered | None, Reduction, bytes | None]:
        job, why = self._job(name, model, trials, seconds_left() - 2 * MEASURE_SECONDS)
        if job is None or job.compression is None or job.export_to is None:
            return None, Reduction(name, False, why), None
        outcome = self._run(job)
        if outcome is None or outcome.status != "ok" or outcome.error is None:
            lines = outcome.message.strip().splitlines() if outcome else ["it took too long"]
            return None, Reduction(name, False, lines[-1] if lines else "failed"), None
        measured = self._bench.measure(job.export_to, MEASURE_SECONDS)
        is_faster = measured.ms < model.latency.ms
        record = Reduction(
            name,
            is_faster,
            outcome.message if is_faster else f"{outcome.message}, but it is no faster",
            model.error,
            outcome.error,
            model.path.stat().st_size,
            job.export_to.stat().st_size,
            model.latency.ms,
            measured.ms,
        )
        if not is_faster:
            return None, record, None
        table = self._bench.device.table
        found = Delivered(
            model.members,
            job.export_to,
            measured,
            outcome.error,
            outcome.metrics,
            table.predict(job.export_to, batch=self._bench.batch).latency_ms,
        )
        return found, record, job.compression.first_to.read_bytes()

    def _job(self, name: str, model: Delivered, trials: Sequence[Trial], seconds: float) -> tuple[Job | None, str]:
        trial, student = model.trial, None
        if name == "distill":
            student = _student(model, trials)
            if student is None:
                return None, "no trial's network is clearly faster than the model"
        elif not isinstance(FAMILIES[trial.configuration["family"]], TorchFamily):
            return None, f"a {trial.configuration['family']} has no layers to make smaller"
        folder = self._bench.folder.candidates
        work = CompressionJob(
            name,
            replace(self._bench.device.table),  # without what it has computed so far, which need not travel
            self._bench.batch,
            TOLERANCE,
            folder / f"{name}-first.onnx",
            student,
            model.error or 0.0,
        )
        path = folder / f"{name}.onnx"
        return Job(-1, "compress", trial.configuration, seconds, seed=self._seed, export_to=path, compression=work), ""

    def _run(self, job: Job) -> Outcome | None:
        """Run a job until its time is up; then the worker is killed."""
        deadline = time.monotonic() + job.seconds
        self._pool.submit(job)
        while time.monotonic() < deadline:
            outcomes = self._pool.wait(deadline - time.monotonic())
            if outcomes:
                return outcomes[0]
        self._pool.cancel()
        return None


def _is_faster(one: Delivered, other: Delivered) -> bool:
    return one.latency.ms < other.latency.ms


def _student(model: Delivered, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The best trial's network that is predicted to be clearly faster than the model."""
    limit = STUDENT_SHARE * (model.latency_ms or 0.0)
    for trial in finalists(trials):
        is_network = isinstance(FAMILIES[trial.configuration["family"]], TorchFamily)
        if is_network and trial.latency_ms is not None and trial.latency_ms <= limit:
            return trial.configuration
    return None
