"""Results of other people: how they enter a store, and what of them does not.

They keep their own search space, their own tasks (``source:name``, as no content is there to take a fingerprint of) and
their own scale: the error is what the source reports, turned so that lower is better, and not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from metaml.store import rows
from metaml.store.records import RunRecord, TaskRecord
from metaml.store.store import Store
from metaml.trial import Status, Trial, configuration_id


@dataclass(frozen=True)
class ForeignTrial:
    """One result as a source reports it."""

    task: str
    configuration: str
    status: Status = "ok"
    error: float = math.nan
    """Lower is better; nan unless ok."""
    seconds: float = 0.0
    seed: int = 0
    budget: float = 1.0
    """Share of the full budget."""
    number: int | None = None
    """The source's own number of this result, by which it is known again; None numbers them as they come."""


@dataclass(frozen=True)
class ForeignResults:
    """All that a source says about one search space."""

    source: str
    """Name of the source; tasks of one source are the same tasks in all of its spaces."""
    space: str
    metric: str
    trials: list[ForeignTrial]
    configurations: Mapping[str, dict[str, Any]]
    """By the names that the source has for them; ``family`` among the keys where it is known."""
    metafeatures: pd.DataFrame | None = None
    """Tasks × features."""
    tasks: pd.DataFrame | None = None
    """Tasks × some of the fields of `TaskRecord`."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What the reader left out already: reason -> how many trials."""
    notes: tuple[str, ...] = ()
    """What else the user should know."""


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote, and what it left out and why."""

    space: str
    tasks: int
    configurations: int
    trials: int
    """New trials; those that were in the store already are not among them."""
    tasks_without_metafeatures: int
    dropped: dict[str, int]
    """Reason -> how many trials."""
    notes: tuple[str, ...] = ()


def add_foreign(store: Store, results: ForeignResults) -> ImportReport:
    """Write results of other people into a store; doing it again changes nothing.

    Raises:
        StoreError: The store cannot be written.
    """
    dropped = dict(results.dropped)
    configurations = {name: {"space": results.space, **values} for name, values in results.configurations.items()}
    by_task: dict[str, list[Trial]] = {}
    used: set[str] = set()
    for number, trial in _numbered(results, dropped):
        used.add(trial.configuration)
        by_task.setdefault(trial.task, []).append(_trial(results, number, trial, configurations[trial.configuration]))
    before = store.info()["counts"]["trials"]
    with store.writing() as connection:
        writer = rows.TrialWriter(connection)
        for task, trials in by_task.items():
            _insert_task(connection, results, task)
            writer.insert(_run_id(results, task), trials)
    described = set() if results.metafeatures is None else set(results.metafeatures.index)
    return ImportReport(
        space=results.space,
        tasks=len(by_task),
        configurations=len({configuration_id(configurations[name]) for name in used}),
        trials=store.info()["counts"]["trials"] - before,
        tasks_without_metafeatures=len(set(by_task) - described),
        dropped={reason: count for reason, count in dropped.items() if count},
        notes=results.notes,
    )


def _numbered(results: ForeignResults, dropped: dict[str, int]) -> Iterator[tuple[int, ForeignTrial]]:
    """Yield the trials that are usable with a number in the run of their task, and count the others."""
    numbers: dict[str, int] = {}
    for trial in results.trials:
        place = numbers[trial.task] = numbers.get(trial.task, -1) + 1
        reason = _unusable(results, trial)
        if reason is None:
            yield (place if trial.number is None else trial.number), trial
        else:
            dropped[reason] = dropped.get(reason, 0) + 1


def _unusable(results: ForeignResults, trial: ForeignTrial) -> str | None:
    if trial.configuration not in results.configurations:
        return "the configuration is not described"
    if trial.status == "ok" and math.isnan(trial.error):
        return "not run"
    if trial.status == "ok" and not math.isfinite(trial.error):
        return "the error is infinite"
    return None


def _trial(results: ForeignResults, number: int, trial: ForeignTrial, configuration: dict[str, Any]) -> Trial:
    ok = trial.status == "ok"
    return Trial(
        number=number,
        configuration=configuration,
        source="imported",
        status=trial.status,
        error=trial.error if ok else None,
        budget=trial.budget,
        seed=trial.seed,
        metrics={results.metric: trial.error} if ok else {},
        seconds=trial.seconds if math.isfinite(trial.seconds) else 0.0,
    )


def _run_id(results: ForeignResults, task: str) -> str:
    """Return the id of the run that holds what one source says of one task by one metric."""
    return f"import:{results.space}:{results.metric}:{task}"


def _insert_task(connection: Connection, results: ForeignResults, task: str) -> None:
    """Add a task with its metafeatures and its run; nothing of the run depends on where and when it was imported."""
    fingerprint = f"{results.source}:{task}"
    known: dict[str, Any] = {"name": task, "type": "multiclass", "source": results.source}
    if results.tasks is not None and task in results.tasks.index:
        known |= {str(name): value for name, value in results.tasks.loc[task].items() if not pd.isna(value)}
    rows.insert_task(connection, TaskRecord(fingerprint=fingerprint, **known))
    if results.metafeatures is not None and task in results.metafeatures.index:
        features = pd.Series(results.metafeatures.loc[task], dtype=float)
        rows.insert_metafeatures(connection, fingerprint, features, results.source)
    options = {"source": results.source}
    run = RunRecord(_run_id(results, task), fingerprint, results.space, results.metric, options=options)
    rows.insert_run(connection, run)
