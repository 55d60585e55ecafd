"""The worker process: waits for jobs on an inherited socket, does them one after another, answers with outcomes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from hw_cost.graph import OpGraph
from metaml.compression import COMPRESSIONS, Terms, compress, distil_into
from metaml.evaluation import Evaluator, PausedError, Pipeline, PrunedError
from metaml.export import check_parity, parity_rows, to_onnx
from metaml.files import write_atomic
from metaml.halving import RungErrors
from metaml.merge import merge_models
from metaml.metrics import metric_for
from metaml.models import FAMILIES, TabularShape
from metaml.predictions import write_predictions
from metaml.preprocessing import TableFeatures
from metaml.runners.jobs import Assignment, Job, Outcome, Started
from metaml.space import SPACES
from metaml.training import DivergedError, Rows, TooLongError, fit_model
from metaml.trial import Status


def main(descriptor: int) -> None:
    """Serve the pool at the other end of the socket until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's business
    _die_with_parent()
    torch.set_num_threads(1)
    connection = Connection(descriptor)
    _warm_up()
    try:
        assignment: Assignment = connection.recv()
        evaluator = Evaluator(assignment.task, assignment.splits, metric_for(assignment.task.type, assignment.metric))
        while True:
            job: Job = connection.recv()
            connection.send(Started(job.number, os.getpid()))
            connection.send(run_job(evaluator, job))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def run_job(evaluator: Evaluator, job: Job) -> Outcome:
    """Do one job; whatever an honest exception can tell becomes a status."""
    started = time.monotonic()
    reached: RungErrors = ()
    try:
        return _WORK[job.kind](evaluator, job)
    except PrunedError as pruned:
        status, error, message = "pruned", pruned.error, str(pruned)
        reached = pruned.reached if isinstance(pruned, PausedError) else ()
    except Exception as failure:
        status, error, message = _status_of(failure), None, _message_of(failure)
    seconds = time.monotonic() - started
    return Outcome(job.number, status, error, seconds=seconds, message=message, reached=reached)  # type: ignore[arg-type]


def _in_time(do: Callable[[Evaluator, Job], Outcome], evaluator: Evaluator, job: Job) -> Outcome:
    """Do a job; or that of a shorter training in its place, when it is seen that it would take too long.

    Several threads are given up first: beside other work they wait for each other.
    """
    started, asked = time.monotonic(), job
    while True:
        spent = time.monotonic() - started
        try:
            outcome = do(evaluator, replace(job, seconds=asked.seconds - spent))
        except TooLongError as late:
            if job.threads > 1:
                job = replace(job, threads=1)
                continue
            shorter = FAMILIES[job.configuration["family"]].shortened(job.configuration, late.share)
            if shorter is None:
                raise
            job = replace(job, configuration=shorter, epochs=None)
        else:
            fitted = None if job.configuration is asked.configuration else job.configuration
            return replace(outcome, configuration=fitted, seconds=outcome.seconds + spent)


def _evaluate(evaluator: Evaluator, job: Job) -> Outcome:
    result = evaluator.evaluate(
        job.configuration,
        budget=job.budget,
        seed=job.seed,
        seconds=job.seconds,
        hopeless=job.hopeless,
        rungs=job.rungs,
    )
    if job.export_to is not None and result.error < job.export_below:
        _export(evaluator, result.pipelines[:1], job.export_to)
    if job.predictions_to is not None:
        with suppress(OSError):  # a full disk costs an ensemble, not the trial
            write_predictions(job.predictions_to, result.predictions)
    return Outcome(
        job.number,
        "ok",
        error=result.error,
        metrics=result.metrics,
        seconds=result.seconds,
        cpu_seconds=result.cpu_seconds,
        n_parameters=result.n_parameters,
        flops=result.flops,
        model_bytes=result.model_bytes,
        epochs=result.epochs,
        curve=result.curve,
        reached=result.reached,
    )


def _refit(evaluator: Evaluator, job: Job) -> Outcome:
    started = time.monotonic()
    torch.set_num_threads(job.threads)
    fit = evaluator.refit_bagged if job.is_bagged else evaluator.refit
    try:
        found = fit(job.configuration, seed=job.seed, seconds=job.seconds, epochs=job.epochs)
    finally:
        torch.set_num_threads(1)
    pipelines = found if isinstance(found, list) else [found]
    _export(evaluator, pipelines, job.export_to)
    if job.predictions_to is not None:
        rows = parity_rows(evaluator.task.inputs)
        write_predictions(job.predictions_to, [np.mean([pipeline.predict(rows) for pipeline in pipelines], axis=0)])
    return Outcome(job.number, "ok", seconds=time.monotonic() - started, epochs=pipelines[0].model.epochs)


def _compress(evaluator: Evaluator, job: Job) -> Outcome:
    """Without an accepted model the outcome is ok too, but has no error."""
    started, task = time.monotonic(), job.compression
    assert task is not None

    def price(graph: OpGraph) -> float:
        return task.table.predict(graph, batch=task.batch).latency_ms

    terms = Terms(price, task.tolerance, job.seed, job.seconds)
    if task.student is None:
        found = compress(evaluator, job.configuration, COMPRESSIONS[task.name], terms)
    else:
        found = distil_into(evaluator, task.student, job.configuration, task.target_error, terms)
    seconds = time.monotonic() - started
    if found is None:
        why = "nothing could be saved" if task.student is None else "no student came near enough"
        return Outcome(job.number, "ok", seconds=seconds, message=f"{why} within the tolerance")
    _export(evaluator, [found.refit], job.export_to)
    _export(evaluator, [found.first], task.first_to)
    text = f"{found.how}: {found.n_before:,} -> {found.n_parameters:,} parameters"
    return Outcome(job.number, "ok", found.error, found.metrics, seconds, n_parameters=found.n_parameters, message=text)


_WORK: dict[str, Callable[[Evaluator, Job], Outcome]] = {
    "evaluate": partial(_in_time, _evaluate),
    "refit": partial(_in_time, _refit),
    "compress": _compress,
}
"""Kind of job -> what does it."""


def _export(evaluator: Evaluator, pipelines: Sequence[Pipeline], path: Path | None) -> None:
    """Write the mean of pipelines as one file, each checked against its own predictions."""
    assert path is not None
    models = [to_onnx(pipeline, evaluator.task) for pipeline in pipelines]
    for model, pipeline in zip(models, pipelines, strict=True):
        check_parity(model.SerializeToString(), pipeline, parity_rows(evaluator.task.inputs))
    write_atomic(path, merge_models(models, [1.0] * len(models)).SerializeToString())


def _status_of(failure: Exception) -> Status:
    if isinstance(failure, TimeoutError):
        return "timeout"
    if isinstance(failure, DivergedError):
        return "diverged"
    if isinstance(failure, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(failure):
        return "memout"
    return "crashed"


def _message_of(failure: Exception) -> str:
    expected = isinstance(failure, (TimeoutError, DivergedError, MemoryError))
    return str(failure) if expected else "".join(traceback.format_exception(failure))


def _warm_up() -> None:
    """Train a tiny network while the search still loads its task: torch's first steps take a second."""
    configuration = SPACES["tabular"].default("mlp")
    features = TableFeatures(np.zeros((8, 2), dtype=np.float32), np.zeros((8, 0), dtype=np.int64))
    shape = TabularShape(2, (), n_outputs=2, is_regression=False)
    fit_model(configuration, shape, Rows(features, np.arange(8) % 2), seed=0, seconds=10.0)


def _die_with_parent() -> None:
    """End this process within a second of the search's end, even in the middle of a fit."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
