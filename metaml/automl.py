"""The main job: the best model for a task within a latency and a time limit; here the parts are wired."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from metaml.answer import Answer, SearchResult, describe_members, describe_task, describe_trial, finite
from metaml.context import Context, prepare
from metaml.data import Task, TaskType, load_task
from metaml.delivery import Delivered, Finisher, Workbench, pareto
from metaml.ensembles import Judge
from metaml.errors import SearchError, StoreError, UsageError
from metaml.events import Listener
from metaml.export import describe_model
from metaml.files import write_json
from metaml.latency import HERE, DeviceTable, open_device, own_table
from metaml.logbook import Logbook
from metaml.membership import Membership
from metaml.metrics import metric_for
from metaml.reduction import Reducer, Reduction
from metaml.refits import Refitter, pays_longer
from metaml.report import write_report, write_trials
from metaml.request import SearchRequest
from metaml.run_folder import RunFolder
from metaml.runners import Assignment, WorkerPool, default_workers
from metaml.sentences import notes_on_crashes, nothing_kept_the_limit, remembers, why_nothing
from metaml.session import Session
from metaml.store import Recorder, RunRecord, Store, default_store_url
from metaml.views import DESCRIPTIONS, remember, task_record

_DESCRIBED = ("configuration", "ensemble", "compression", "metrics", "error", "latency_ms")
"""What ``model.json`` says of the answer, among other things."""
PATIENCE_SECONDS = 1.0, 30.0
"""A locked store is waited for a tenth of the time limit, so long at least and at most."""
INTERRUPT_SECONDS = 4.0
"""After Ctrl-C the best model so far is delivered within this time."""


def search(
    task: str | Path | pd.DataFrame | Task,
    *,
    target: str | None = None,
    task_type: TaskType | Literal["classification"] | None = None,
    device: str = "cpu",
    uncertified: bool = False,
    max_latency_ms: float | None = None,
    batch: int = 1,
    time_limit: float = 600.0,
    trials: int | None = None,
    warm_start: str = "auto",
    store: str | Path | bool | None = None,
    store_required: bool = False,
    workers: int | WorkerPool | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    metric: str | None = None,
    ensemble: int = 5,
    compress: str = "none",
    zero_cost: str | None = None,
    listener: Listener | None = None,
    started: float | None = None,
) -> SearchResult:
    """Search the best model for a task.

    Args:
        task: a file, an image folder, ``sklearn:NAME``, ``openml:TASK``, ``openml:dDATASET``, a DataFrame with the
            target, or a `Task`.
        target: name of the target column.
        task_type: ``binary``, ``multiclass``, ``regression`` or ``classification``; None to tell it from the target.
        device: ``cpu`` or ``gpu`` for this machine, or the JSON file of a latency table.
        uncertified: use the table of a file although it has no certificate.
        max_latency_ms: limit for one prediction of `batch` rows in milliseconds; None for none.
        batch: rows of one prediction.
        time_limit: seconds for everything.
        trials: at most this many trials.
        warm_start: name in `portfolio.WARM_STARTERS`.
        store: URL or path of the metadata store, None for the default one, False for none.
        store_required: refuse to search without the store; otherwise one that cannot be opened is left alone, with a
            warning, and the search goes on without past results.
        workers: trials that run side by side; None for one on each core. A pool may be given that was started before
            this module, whose imports take seconds, was imported; it is closed here.
        out: run folder; None for a new one under ``runs/``.
        seed: same seed, same task, same history, one worker and no time pressure: same trials.
        metric: what is optimised; None for ROC AUC (binary), log loss (multiclass), RMSE (regression).
        ensemble: at most this many trials are delivered together as one model file, where that is better; 1 for a
            single one.
        compress: ``int8``, ``prune``, ``svd``, ``distill``, ``auto`` or ``none``: how the delivered model is made
            smaller, where its validation error stays within two percent; all but int8 deliver a single model.
        zero_cost: ``synflow``, ``jacob_cov``, ``ntk``, ``regions`` or ``parameters``: a score of untrained networks
            that chooses every second configuration after past results; None for no such filter.
        listener: hears of the progress.
        started: monotonic time from which the time limit counts; None for now.

    Raises:
        DataError, UsageError: the data or the arguments cannot be used.
        StoreError: the store cannot be used.
        SearchError: no model could be delivered.
    """
    started = time.monotonic() if started is None else started
    request = SearchRequest(
        source=task.source if isinstance(task, Task) else str(task) if isinstance(task, (str, Path)) else None,
        target=target,
        task_type=task_type,
        device=device,
        uncertified=uncertified,
        max_latency_ms=max_latency_ms,
        batch=batch,
        time_limit=time_limit,
        trials=trials,
        warm_start=warm_start,
        seed=seed,
        metric=metric,
        ensemble=ensemble,
        compress=compress,
        zero_cost=zero_cost,
        workers=workers.n_workers if isinstance(workers, WorkerPool) else workers or default_workers(),
        store=store_location(store),
        store_required=store_required,
    )
    listener = listener or Listener()
    with workers if isinstance(workers, WorkerPool) else WorkerPool(request.workers) as pool:
        table = _open_device(request, pool, listener)
        loaded = task if isinstance(task, Task) else load_task(task, target, type=task_type)
        metric_for(loaded.type, request.metric)  # what cannot be searched leaves no folder behind
        if request.store is not None and request.store_required:
            Store.open(request.store).close()
        folder = RunFolder.create(Path(out) if out else None, loaded.name, request.to_json())
        return _Run(request, loaded, folder, pool, table, listener, started).execute()


def resume(
    run: str | Path, *, time_limit: float | None = None, listener: Listener | None = None, started: float | None = None
) -> SearchResult:
    """Go on with a search after any kind of stop; no finished trial is lost or run again.

    Args:
        run: its folder.
        time_limit: seconds for this sitting; None for what was left of the first limit.
        listener: hears of the progress.
        started: monotonic time from which the limit counts; None for now.

    Raises:
        UsageError: this is no run, or its data were given in memory.
    """
    started = time.monotonic() if started is None else started
    folder = RunFolder.open(Path(run))
    if folder.result is not None and folder.model.exists() and time_limit is None:
        return SearchResult(folder.path, folder.result)
    folder.candidates.mkdir(exist_ok=True)
    content = folder.request
    request = SearchRequest.from_json(content)
    if request.source is None:
        raise UsageError("This run's data were given in memory, not as a file; it cannot be resumed from its folder.")
    left = time_limit or max(request.time_limit - folder.elapsed, 0.2 * request.time_limit)
    source, request = request.source, replace(request, time_limit=left)
    listener = listener or Listener()
    with WorkerPool(request.workers) as pool:
        table = _open_device(request, pool, listener)
        task = load_task(source, request.target, type=request.task_type)
        return _Run(request, task, folder, pool, table, listener, started).execute()


def _open_device(request: SearchRequest, pool: WorkerPool, listener: Listener) -> DeviceTable:
    """Open the latency table while workers import; where it must be measured first, no worker runs."""
    if request.device not in HERE or own_table(request.device) is not None:
        return open_device(request.device, uncertified=request.uncertified)
    listener.message("no latency table of this machine yet: adapting a shipped one, once, in about 10 s")
    with pool.away():
        return open_device(request.device, uncertified=request.uncertified)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch and linear algebra use one thread in this process: beside busy workers, threads wait for each other.

    Task2Vec of 120 images: 0.2 s with one thread, 9 s with two, on two processors of which one was busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """The steps of one sitting, in their order."""

    def __init__(
        self,
        request: SearchRequest,
        task: Task,
        folder: RunFolder,
        pool: WorkerPool,
        device: DeviceTable,
        listener: Listener,
        started: float,
    ) -> None:
        self._request, self._task, self._folder = request, task, folder
        self._pool, self._device, self._listener = pool, device, listener
        self._started, self._deadline = started, started + request.time_limit
        self._was_interrupted = False
        self._store_error: StoreError | None = None
        self._earlier, self._earlier_seconds = Answer.of(folder), folder.elapsed

    def execute(self) -> SearchResult:
        """Search, deliver, report."""
        for note in self._task.notes:
            self._listener.message(note)
        with _one_thread(), ExitStack() as opened:
            store = opened.enter_context(self._open_store())
            self._listener.message(self._device.how)
            context = prepare(self._request, self._task, store if self._request.store else None, self._device)
            if context.space.left_out:
                runtime, strangers = self._device.table.device.runtime, ", ".join(sorted(context.space.left_out))
                self._listener.message(f"{runtime} cannot run {strangers}: these are not searched")
            self._pool.assign(Assignment(self._task, context.splits, context.metric.name))
            try:
                run_id = self._register(store, context, self._device.name)
            except StoreError as error:
                store = opened.enter_context(self._without_store(error))
                run_id = self._register(store, context, self._device.name)
            return self._search(store, context, run_id)

    def _open_store(self) -> Store:
        """Open the store that was asked for, or the run's own where there is none or it cannot be used."""
        if self._request.store is None:
            return Store.open(self._private_store)
        least, most = PATIENCE_SECONDS
        try:
            return Store.open(self._request.store, patience=min(most, max(least, 0.1 * self._request.time_limit)))
        except StoreError as error:
            return self._without_store(error)

    @property
    def _private_store(self) -> Path:
        return self._folder.path / "trials.sqlite"

    def _without_store(self, error: StoreError) -> Store:
        """Open the run's own store in the place of one that cannot be used."""
        if self._request.store is None or self._request.store_required:
            raise error
        self._listener.message(f"{error} The search goes on without it; its trials are kept in {self._private_store}.")
        self._request = replace(self._request, store=None)
        self._folder.update_request(store=None)
        return Store.open(self._private_store)

    def _search(self, store: Store, context: Context, run_id: str) -> SearchResult:
        request = self._request
        proposer = context.proposer(request)
        recorder = Recorder(store, run_id, self._folder.waiting)
        recorder.flush()
        log = Logbook(self._folder, recorder, store.trials(run_id))
        session = Session(request, context, proposer, self._pool, log, listener=self._listener, deadline=self._deadline)
        try:
            return self._run_and_deliver(session, log, context)
        finally:
            proposer.close()
            log.save_elapsed()
            self._listener.finished()

    def _run_and_deliver(self, session: Session, log: Logbook, context: Context) -> SearchResult:
        request = self._request
        title = f"{self._task.name}: {self._task.type}, {self._task.extent}"
        self._listener.message(remembers(context))
        self._listener.started(title, request.time_limit)
        try:
            session.run()
        except KeyboardInterrupt:
            self._stop()
        except StoreError as error:
            self._store_error = error
            self._pool.cancel()
        if log.best is None:
            raise self._store_error or SearchError(why_nothing(log.trials, self._was_interrupted))
        longer = ", for longer than in its trial" if pays_longer(log.best) else ""
        last = "measuring" if self._device.is_here else "foretelling the latency of"
        self._listener.finishing(f"training the best configuration on all rows{longer}; then {last} it")
        finisher = self._finisher(context)
        try:
            delivered = finisher.deliver(log.trials, self._seconds_left)
        except KeyboardInterrupt:  # what was trained so far is delivered
            self._stop()
            delivered = finisher.deliver(log.trials, self._seconds_left)
        if delivered is None and self._earlier is not None and self._folder.result is not None:
            self._listener.message("there was no time for anything new: the model of before is kept")
            return SearchResult(self._folder.path, self._folder.result)
        if delivered is None:
            raise SearchError("No model could be exported and measured: " + "; ".join(finisher.notes))
        if request.max_latency_ms is not None and not delivered.keeps(request.max_latency_ms):
            self._listener.message(nothing_kept_the_limit(delivered, request.max_latency_ms))
        reducer = Reducer(self._pool, self._bench(context), self._judge(context), context.splits[0], seed=request.seed)
        delivered, reductions = reducer.reduce(delivered, request.compress, log.trials, self._seconds_left)
        result = self._result(session, log, context, delivered, reductions, finisher.notes)
        if self._store_error is not None:
            raise self._store_error
        return result

    def _stop(self) -> None:
        """Leave little time for the rest."""
        self._was_interrupted = True
        self._pool.cancel()
        self._deadline = min(self._deadline, time.monotonic() + INTERRUPT_SECONDS)

    def _finisher(self, context: Context) -> Finisher:
        request = self._request
        is_plain = request.compress == "none"  # what is made smaller is trained anew, as in its trial
        membership = Membership(
            self._judge(context),
            self._folder,
            context.ensemble_latency,
            request.max_latency_ms,
            request.max_members,
            request.workers,
            bags=is_plain,
        )
        refitter = Refitter(
            self._pool,
            self._folder,
            seed=request.seed,
            n_folds=len(context.splits),
            longest=time.monotonic() - self._started if is_plain else 0.0,
        )
        return Finisher(refitter, self._bench(context), membership if request.max_members > 1 else None)

    def _bench(self, context: Context) -> Workbench:
        request = self._request
        return Workbench(self._folder, self._task.inputs, context.device, request.max_latency_ms, request.batch)

    def _judge(self, context: Context) -> Judge:
        truths = tuple(self._task.y[split.valid] for split in context.splits)
        return Judge(context.metric, truths, self._task.n_outputs)

    def _seconds_left(self) -> float:
        """Time until the answer must be ready to be written down."""
        return self._deadline - time.monotonic() - 0.5

    def _register(self, store: Store, context: Context, device: str) -> str:
        """Write the task and the run into the store, once; return the run's id."""
        task = self._task
        stored = self._folder.request.get("run_id")
        earlier = store.run(stored) if stored is not None else None
        if earlier is not None and earlier.fingerprint != task.fingerprint:
            raise UsageError(
                f"The data of {task.source} have changed since this run began: its trials do not fit them any more. "
                "Start a new search."
            )
        if earlier is not None and earlier.space != context.space.version:
            raise UsageError(
                f"This run began in search space {earlier.space}, this metaml searches {context.space.version}. "
                "Start a new search: what it found so far is remembered, unless it had no store."
            )
        if earlier is not None:
            return earlier.run_id
        store.add_task(task_record(task))
        remember(store, task, {DESCRIPTIONS[task.modality]: context.metafeatures})
        run_id = uuid4().hex
        store.add_run(
            RunRecord(
                run_id,
                task.fingerprint,
                context.space.version,
                context.metric.name,
                device=device,
                seed=self._request.seed,
                options=self._request.to_json(),
                host=platform.node(),
                versions={name: version(name) for name in ("metaml", "torch", "scikit-learn", "onnxruntime")},
                started=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        self._folder.update_request(run_id=run_id)
        return run_id

    def _result(
        self,
        session: Session,
        log: Logbook,
        context: Context,
        model: Delivered,
        reductions: list[Reduction],
        notes: list[str],
    ) -> SearchResult:
        limit = self._request.max_latency_ms
        trial, found = model.trial, model.latency
        latency = {
            "predicted": model.latency_ms,
            "measured": found.ms if found.is_measured else None,
            "judged": found.judged_ms,
            "interval": [found.low_ms, found.high_ms],
            "limit": limit,
            "batch": self._request.batch,
            "device": context.device.name,
            "is_bound": found.is_bound,
        }
        best: dict[str, Any] = {
            "configuration": trial.configuration,
            "source": trial.source,
            "ensemble": describe_members(model),
            "compression": [reduction.to_json() for reduction in reductions],
            "metrics": dict(model.metrics),
            "error": model.error,
            "latency_ms": latency,
            "model": str(self._folder.model),
            "model_bytes": self._folder.model.stat().st_size,
            "trained_on": "all rows" if model.is_refit else "the training rows of the first split",
        }
        if self._earlier is not None and self._earlier.is_as_good_as(best):
            best = self._earlier.restore(self._folder)
            notes = [*notes, "the model of before is kept: nothing better was found since"]
        seconds, asked = time.monotonic() - self._started, self._request.time_limit
        late = [f"the search took {seconds:.1f} s, more than the {asked:g} s allowed"] if seconds > asked + 1 else []
        trials = sorted(log.trials, key=lambda trial: trial.number)  # those side by side end in another order
        summary: dict[str, Any] = {
            "run": str(self._folder.path),
            "task": describe_task(self._task, context),
            "best": best,
            "trials": [describe_trial(t) for t in trials],
            "pareto": [describe_trial(t) for t in pareto(log.trials)],
            "seconds": round(seconds, 3),
            "earlier_seconds": round(self._earlier_seconds, 3),
            "overhead_seconds": round(seconds - session.busy_seconds, 3),
            "interrupted": self._was_interrupted,
            "notes": [*self._task.notes, *notes, *notes_on_crashes(log.trials), *late],
        }
        summary = finite(summary)
        model_description = describe_model(self._task) | {
            "metric": context.metric.name,
            **{
                key: summary["best"][key]
                for key in ("configuration", "ensemble", "compression", "metrics", "error", "latency_ms")
            },
            "versions": {name: version(name) for name in ("metaml", "torch", "onnx", "onnxruntime")},
        }
        write_json(self._folder.path / "model.json", finite(model_description))
        write_trials(trials, self._folder.path / "trials.csv")
        write_report(summary, self._folder.report)
        self._folder.result = summary
        return SearchResult(self._folder.path, summary)


def store_location(store: str | Path | bool | None) -> str | None:
    """Return where the store is: None stands for the default one, False for none."""
    if store is False:
        return None
    return default_store_url() if store is None or store is True else str(store)
