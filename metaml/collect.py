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
from metaml.data import N_FOLDS, Task, load_task, make_splits
from metaml.errors import DataError, UsageError
from metaml.history import history_of_space, upgraded
from metaml.metrics import metric_for
from metaml.runners import Assignment, Job, WorkerPool
from metaml.space import SPACES
from metaml.store import RunRecord, Store
from metaml.trial import Configuration, Trial, configuration_id
from metaml.views import remember, task_record
from portfolio import GreedyPortfolio, History, Target, load_history, save_history

logger = logging.getLogger("metaml")

SPACE = SPACES["tabular"]
"""Histories are of tables."""
REDRAWN = 0.4
"""Share of the hyperparameters that a variation of a default draws anew: more of these are good than of random ones."""


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


def choose_configurations(n: int, *, families: Sequence[str] = (), seed: int = 0) -> list[Configuration]:
    """Return the families' defaults and their random variations, at most `n` in all, every family equally often.

    Args:
        n: how many.
        families: names of those to choose from; none: all.
        seed: fixes the variations.

    Raises:
        UsageError: a family is unknown.
    """
    if unknown := set(families).difference(SPACE.families):
        raise UsageError(f"No family is called {', '.join(sorted(unknown))}; there are {', '.join(SPACE.families)}.")
    space = SPACE.without([name for name in SPACE.families if name not in families]) if families else SPACE
    defaults = space.defaults()
    wanted = (defaults + space.sample(max(0, n - len(defaults)), seed, redrawn=REDRAWN))[:n]
    return list({configuration_id(configuration): configuration for configuration in wanted}.values())


def best_configurations(n: int, store: Store, known: History | None = None) -> list[Configuration]:
    """Return the `n` configurations that complement each other best on the tables tried so far, best first.

    They are the greedy portfolio of the store's tables (see `portfolio.GreedyPortfolio`), to be measured on more.

    Args:
        n: how many.
        store: holds the trials.
        known: further results, of which those on the store's tables count.

    Raises:
        UsageError: the store holds no results.
    """
    own = history_of_space(store, SPACE)
    if own.errors.empty:
        raise UsageError("The store holds no results to choose the best of: build with new configurations first.")
    history = (own if known is None else own.merge(known)).keep_tasks(own.errors.index)
    chosen = GreedyPortfolio().fit(history).propose(Target(), n=n)
    return [dict(history.configurations[name]) for name in chosen]


@dataclass(frozen=True)
class Plan:
    """What is done on every task."""

    configurations: Sequence[Configuration]
    workers: int = 1
    """Trials that run side by side."""
    seed: int = 0
    """Of the splits and the fits."""
    trial_seconds: float = 60.0
    """Time allowed for a trial."""


def collect(
    entries: Sequence[TaskEntry],
    plan: Plan,
    store: Store,
    *,
    known: History | None = None,
    shard: tuple[int, int] = (0, 1),
    report: Callable[[str], None] = logger.info,
) -> int:
    """Evaluate every configuration on every task that the store does not hold yet; return the number of new trials.

    Args:
        entries: the tasks.
        plan: what is evaluated on each, and how.
        store: receives every trial as it ends; a second call goes on where the first stopped.
        known: results that are not wanted again.
        shard: (i, n): only every n-th task, from the i-th on.
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
        run_id = _register(entry, task, store, plan.seed)
        earlier = store.trials(run_id)
        done = {trial.configuration_id for trial in earlier} | _known(known, task)
        wanted = [configuration for configuration in plan.configurations if configuration_id(configuration) not in done]
        missing = list(enumerate(wanted, start=max((trial.number + 1 for trial in earlier), default=0)))
        if missing:
            _evaluate(task, dict(missing), plan, lambda trial, run_id=run_id: store.add_trial(run_id, trial))  # type: ignore[misc]
        report(f"{entry.name}: {len(missing)} new trials, {len(done)} were there")
        n_new += len(missing)
    return n_new


def _evaluate(task: Task, configurations: dict[int, Configuration], plan: Plan, keep: Callable[[Trial], None]) -> None:
    """Run one trial for each numbered configuration."""
    waiting = list(configurations)
    with WorkerPool(plan.workers) as pool:
        splits = make_splits(task.y, task.type, seed=plan.seed, n_folds=N_FOLDS[task.modality])
        pool.assign(Assignment(task, splits, metric_for(task.type).name))
        while waiting or pool.is_busy:
            while waiting and pool.n_idle:
                number = waiting.pop(0)
                pool.submit(Job(number, "evaluate", configurations[number], plan.trial_seconds, seed=plan.seed))
            for outcome in pool.wait(60.0):
                keep(outcome.as_trial(configurations[outcome.number], "collect", seed=plan.seed))


def _known(history: History | None, task: Task) -> set[str]:
    """Ids of the configurations whose result on a task a history holds."""
    if history is None or task.fingerprint not in history.errors.index:
        return set()
    return set(history.errors.loc[task.fingerprint].dropna().index)


def _register(entry: TaskEntry, task: Task, store: Store, seed: int) -> str:
    """Write the task and its run into the store, once; return the run's id."""
    run_id = f"collect-{SPACE.version}-{task.fingerprint}-{seed}"
    store.add_task(task_record(task, name=entry.name, group=entry.family))
    remember(store, task)
    store.add_run(RunRecord(run_id, task.fingerprint, SPACE.version, metric_for(task.type).name, seed=seed))
    return run_id


def published(folder: Path) -> History:
    """Return the history of a folder in configurations of the current space; an empty one if the folder has none."""
    if not (folder / "configurations.json").exists():
        return History.empty()
    return upgraded(load_history(folder), SPACE)


def publish_history(store: Store, folder: Path) -> tuple[int, int]:
    """Add the store's results of the current space to a history folder; return its (tasks, configurations)."""
    history = published(folder).merge(history_of_space(store, SPACE, metafeatures_version=metafeatures.VERSION))
    save_history(history, folder)
    n_tasks, n_configurations = history.errors.shape
    return n_tasks, n_configurations
