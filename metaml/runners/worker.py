"""The worker process: waits for jobs on an inherited socket, does them one after another, answers with outcomes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

import numpy as np
import torch

from metaml.evaluation import Evaluator, PausedError, Pipeline, PrunedError, take_rows
from metaml.export import check_parity, to_onnx
from metaml.files import write_atomic
from metaml.halving import RungErrors
from metaml.metrics import metric_for
from metaml.models import TabularShape
from metaml.preprocessing import TableFeatures
from metaml.runners.jobs import Assignment, Job, Outcome, Started
from metaml.space import SPACES
from metaml.training import DivergedError, Rows, fit_model
from metaml.trial import Status

PARITY_ROWS, PARITY_VALUES = 512, 2_000_000
"""Rows on which an exported file is compared with the trained model, and values in them: of large images fewer rows."""


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
            connection.send(Started(job.number))
            connection.send(run_job(evaluator, job))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def run_job(evaluator: Evaluator, job: Job) -> Outcome:
    """Do one job; whatever an honest exception can tell becomes a status."""
    started = time.monotonic()
    reached: RungErrors = ()
    try:
        return _evaluate(evaluator, job) if job.kind == "evaluate" else _refit(evaluator, job)
    except PrunedError as pruned:
        status, error, message = "pruned", pruned.error, str(pruned)
        reached = pruned.reached if isinstance(pruned, PausedError) else ()
    except Exception as failure:
        status, error, message = _status_of(failure), None, _message_of(failure)
    seconds = time.monotonic() - started
    return Outcome(job.number, status, error, seconds=seconds, message=message, reached=reached)  # type: ignore[arg-type]


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
        _export(evaluator, result.pipelines[0], job)
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
    pipeline = evaluator.refit(job.configuration, seed=job.seed, seconds=job.seconds, epochs=job.epochs)
    _export(evaluator, pipeline, job)
    return Outcome(job.number, "ok", seconds=time.monotonic() - started)


def _export(evaluator: Evaluator, pipeline: Pipeline, job: Job) -> None:
    assert job.export_to is not None
    model = to_onnx(pipeline, evaluator.task).SerializeToString()
    n_rows = max(1, min(PARITY_ROWS, PARITY_VALUES // evaluator.task.n_features))
    check_parity(model, pipeline, take_rows(evaluator.task.inputs, slice(n_rows)))
    write_atomic(job.export_to, model)


def _status_of(failure: Exception) -> Status:
    if isinstance(failure, TimeoutError):
        return "timeout"
    if isinstance(failure, DivergedError):
        return "diverged"
    if isinstance(failure, MemoryError) or "can't allocate memory" in str(failure):
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
