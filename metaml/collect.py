"""Fills a history: every configuration of a set on every task of a folder, resumable and in shards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

import metafeatures
from metaml.context import describe_task
from metaml.data import Task, load_task, make_splits
from metaml.errors import DataError, UsageError
from metaml.history import history_from_store
from metaml.metrics import metric_for
from metaml.runners import Assignment, Job, Outcome, WorkerPool
from metaml.space import SPACE_VERSION, default_configurations, sample_configurations
from metaml.store import RunRecord, Store, TaskRecord
from metaml.trial import Configuration, Trial, configuration_id
from portfolio import save_history

logger = logging.getLogger("metaml")


@dataclass(frozen=True)
class TaskEntry:
    """One line of a manifest: where a task is and what is known of it."""

    name: str
    path: Path
    target: str
    type: Literal["classification", "regression"] | None
    family: str
    """Near-duplicates share one."""
    rows: int


def read_manifest(folder: Path) -> list[TaskEntry]:
    """Read ``manifest.csv`` of a folder: columns name, file, target, and optionally task, family, rows.

    ``task`` is ``classification`` or ``regression``.

    Raises:
        UsageError: there is no manifest, or it lacks a column.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        raise UsageError(f"{folder} has no manifest.csv with the columns name, file, target (and task, family, rows).")
    frame = pd.read_csv(path)
    missing = {"name", "file", "target"} - set(frame.columns)
    if missing:
        raise UsageError(f"{path} must have the columns {', '.join(sorted(missing))}.")
    return [
        TaskEntry(
            row["name"],
            folder / row["file"],
            row["target"],
            _type(row.get("task")),
            row.get("family", row["name"]),
            int(row.get("rows", 0)),
        )
        for _, row in frame.iterrows()
    ]


def _type(text: object) -> Literal["classification", "regression"] | None:
    if text == "regression":
        return "regression"
    return "classification" if text == "classification" else None


def choose_tasks(entries: Sequence[TaskEntry], n: int, *, max_rows: int) -> list[TaskEntry]:
    """Return `n` tasks of all sizes, one of each family, each task type in its share, ordered by size."""
    small = sorted((entry for entry in entries if entry.rows <= max_rows), key=lambda entry: (entry.rows, entry.name))
    one_each = list({entry.family: entry for entry in reversed(small)}.values())[::-1]
    types = sorted({entry.type or "" for entry in one_each})
    chosen: list[TaskEntry] = []
    for kind in types:
        of_kind = [entry for entry in one_each if (entry.type or "") == kind]
        share = max(1, round(n * len(of_kind) / len(one_each)))
        spread = np.linspace(0, len(of_kind) - 1, min(share, len(of_kind))).round().astype(int)
        chosen += [of_kind[i] for i in spread]
    return sorted(chosen, key=lambda entry: (entry.rows, entry.name))[:n]


def choose_configurations(n: int, *, seed: int = 0) -> list[Configuration]:
    """Return the families' defaults and random configurations, `n` in all, every family equally often."""
    defaults = default_configurations()
    return (defaults + sample_configurations(max(0, n - len(defaults)), seed))[:n]


def collect(
    entries: Sequence[TaskEntry],
    configurations: Sequence[Configuration],
    store: Store,
    *,
    shard: tuple[int, int] = (0, 1),
    workers: int = 1,
    seed: int = 0,
    trial_seconds: float = 60.0,
    report: Callable[[str], None] = logger.info,
) -> int:
    """Evaluate every configuration on every task that the store does not hold yet; return the number of new trials.

    Args:
        entries: the tasks.
        configurations: what is evaluated on each.
        store: receives every trial as it ends; a second call goes on where the first stopped.
        shard: (i, n): only every n-th task, from the i-th on.
        workers: trials that run side by side.
        seed: of the splits and the fits.
        trial_seconds: time allowed for a trial.
        report: hears one line per task.
    """
    position, n_shards = shard
    n_new = 0
    for entry in entries[position::n_shards]:
        try:
            task = load_task(entry.path, entry.target, type=entry.type)
        except DataError as error:
            report(f"{entry.name}: left out ({error})")
            continue
        n_new += _collect_task(entry, task, configurations, store, workers, seed, trial_seconds, report)
    return n_new


def _collect_task(
    entry: TaskEntry,
    task: Task,
    configurations: Sequence[Configuration],
    store: Store,
    workers: int,
    seed: int,
    trial_seconds: float,
    report: Callable[[str], None],
) -> int:
    run_id = f"collect-{SPACE_VERSION}-{task.fingerprint}-{seed}"
    _register(entry, task, store, run_id, seed)
    done = {trial.configuration_id for trial in store.trials(run_id)}
    known = {configuration_id(c): (i, c) for i, c in enumerate(configurations)}
    todo = [pair for name, pair in known.items() if name not in done]
    if todo:
        splits = make_splits(task.y, task.type, seed=seed)
        with WorkerPool(workers) as pool:
            pool.assign(Assignment(task, splits, metric_for(task.type).name))
            _run_all(pool, todo, lambda trial: store.add_trial(run_id, trial), seed, trial_seconds)
    report(f"{entry.name}: {len(todo)} new trials, {len(done)} were there")
    return len(todo)


def _run_all(
    pool: WorkerPool,
    todo: list[tuple[int, Configuration]],
    keep: Callable[[Trial], None],
    seed: int,
    trial_seconds: float,
) -> None:
    waiting, running = list(todo), dict(todo)
    while waiting or pool.is_busy:
        while waiting and pool.n_idle:
            number, configuration = waiting.pop(0)
            pool.submit(Job(number, "evaluate", configuration, trial_seconds, seed=seed))
        for outcome in pool.wait(60.0):
            keep(_trial(outcome, running[outcome.number], seed))


def _trial(outcome: Outcome, configuration: Configuration, seed: int) -> Trial:
    names = ("status", "error", "metrics", "seconds", "cpu_seconds", "n_parameters", "flops", "model_bytes", "message")
    return Trial(
        outcome.number, configuration, "collect", seed=seed, **{name: getattr(outcome, name) for name in names}
    )


def _register(entry: TaskEntry, task: Task, store: Store, run_id: str, seed: int) -> None:
    store.add_task(
        TaskRecord(
            fingerprint=task.fingerprint,
            name=entry.name,
            type=task.type,
            n_rows=len(task.y),
            n_features=len(task.columns),
            n_classes=len(task.classes) or None,
            group=entry.family,
        )
    )
    store.add_metafeatures(task.fingerprint, describe_task(task), metafeatures.VERSION)
    store.add_run(RunRecord(run_id, task.fingerprint, SPACE_VERSION, metric_for(task.type).name, seed=seed))


def publish_history(store: Store, folder: Path) -> tuple[int, int]:
    """Write the store's results of the current space as a history folder; return its (tasks, configurations)."""
    history = history_from_store(store, space=SPACE_VERSION, metafeatures_version=metafeatures.VERSION)
    names = store.tasks()["name"]
    save_history(history, folder, names=names)
    n_tasks, n_configurations = history.errors.shape
    return n_tasks, n_configurations
