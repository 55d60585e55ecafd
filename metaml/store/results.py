"""Trials as columns of numbers: what a history is made of, a million at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, case, func, select

from metaml.store.schema import configurations, devices, runs, tasks, trials
from metaml.trial import WORST_ERROR

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FAILED = ("crashed", "diverged", "memout")
"""Statuses of a trial that was trained and has no error to show for it."""
_FEW = 0.25
"""Share of the runs below which their trials are looked up one run after another instead of reading all trials."""


@dataclass(frozen=True)
class Selection:
    """Which trials count as results: those of one space, at the full budget, that ended with an error or failed."""

    space: str
    metric: str | None = None
    """Metric of the run, or None for any."""
    budget: float = 1.0
    """The lowest budget that counts."""
    modality: str | None = None
    """Modality of the task, or None for any."""
    device: str | None = None
    """Name of the device of the run, or None for any."""


@dataclass(frozen=True)
class Results:
    """n results of t tasks and c configurations; all arrays have the shape ``(n,)``."""

    tasks: list[str]
    """Fingerprints of the tasks that have a run of the selection, even those without a result."""
    configurations: list[str]
    """Ids of the configurations of the space, even those without a result."""
    task: Ints
    """Place in ``tasks``."""
    configuration: Ints
    """Place in ``configurations``."""
    error: Floats
    seconds: Floats
    budget: Floats
    last: int
    """Number of the newest trial of the store; the next reading may begin after it."""
    read: int
    """How many trials came after the one at which this reading began, results or not."""
    total: int
    """How many trials the store has; unless it is all that were read before plus ``read``, some were removed."""

    def to_frame(self) -> pd.DataFrame:
        """Return the results as the table of `Store.results`."""
        columns = {"error": self.error, "seconds": self.seconds, "budget": self.budget}
        names = {
            "fingerprint": pd.Index(self.tasks, dtype="str").take(self.task),
            "configuration_id": pd.Index(self.configurations, dtype="str").take(self.configuration),
        }
        return pd.DataFrame({**names, **columns})


def read_results(
    connection: Connection, chosen: Selection, *, exclude: Collection[str] = (), after: int = 0
) -> Results:
    """Return the results of a selection among the trials that were written after the trial ``after``."""
    runs_of = _runs(connection, chosen, frozenset(exclude))
    fingerprints = list(dict.fromkeys(fingerprint for _, fingerprint in runs_of))
    hashes = _hashes(connection, chosen.space)
    numbers = _numbers(connection, _finished(chosen.budget, after, _few(connection, [run for run, _ in runs_of])))
    place = {fingerprint: i for i, fingerprint in enumerate(fingerprints)}
    task = _translate(numbers[:, 0], {run: place[fingerprint] for run, fingerprint in runs_of})
    configuration = _translate(numbers[:, 1], {number: i for i, number in enumerate(hashes)})
    kept = np.flatnonzero((task >= 0) & (configuration >= 0))
    error, seconds, budget = numbers[kept, 2:].T
    counts = _extent(connection, after)
    return Results(
        fingerprints, list(hashes.values()), task[kept], configuration[kept], error, seconds, budget, *counts
    )


def _runs(connection: Connection, chosen: Selection, exclude: frozenset[str]) -> list[tuple[int, str]]:
    """Return the number and the fingerprint of each run of a selection."""
    joined = runs.join(tasks, runs.c.task == tasks.c.id).outerjoin(devices, runs.c.device == devices.c.id)
    conditions = [runs.c.space == chosen.space]
    for column, value in ((runs.c.metric, chosen.metric), (tasks.c.modality, chosen.modality)):
        conditions += [] if value is None else [column == value]
    conditions += [] if chosen.device is None else [devices.c.name == chosen.device]
    statement = select(runs.c.id, tasks.c.fingerprint).select_from(joined).where(*conditions).order_by(runs.c.id)
    return [(run, fingerprint) for run, fingerprint in connection.execute(statement) if fingerprint not in exclude]


def _hashes(connection: Connection, space: str) -> dict[int, str]:
    table = configurations
    statement = select(table.c.id, table.c.hash).where(table.c.space == space).order_by(table.c.id)
    return {number: digest for number, digest in connection.execute(statement)}


def _few(connection: Connection, wanted: list[int]) -> list[int] | None:
    """Return the runs when they are few among all runs, otherwise None: reading everything in order is faster then."""
    total = connection.execute(select(func.count()).select_from(runs)).scalar_one()
    return wanted if len(wanted) < min(_FEW * total, 10_000) else None


def _finished(budget: float, after: int, of_runs: list[int] | None) -> Select[tuple[int, int, float, float, float]]:
    """Return (run, configuration, error, seconds, budget) of the trials that are results."""
    error = case((trials.c.status == "ok", trials.c.error), else_=WORST_ERROR)
    has_error = (trials.c.status == "ok") & trials.c.error.is_not(None)
    statement = (
        select(trials.c.run, trials.c.configuration, error, trials.c.seconds, trials.c.budget)
        .where(trials.c.budget >= budget, has_error | trials.c.status.in_(FAILED))
        .order_by(trials.c.id)
    )
    statement = statement.where(trials.c.id > after) if after else statement
    return statement if of_runs is None else statement.where(trials.c.run.in_(of_runs))


def _numbers(connection: Connection, statement: Select[tuple[int, int, float, float, float]]) -> Floats:
    """Return the rows of a statement of five numbers, (n, 5), straight from the driver: no row object is made."""
    cursor: Any = connection.execute(statement).cursor
    return np.fromiter(chain.from_iterable(cursor), np.float64).reshape(-1, 5)


def _translate(numbers: Floats, table: dict[int, int]) -> Ints:
    """Return the table's values at some integers, -1 where it has none, (n,)."""
    wanted = numbers.astype(np.int64)
    places = np.full(max(int(wanted.max(initial=0)), max(table, default=0)) + 1, -1, np.int64)
    places[list(table)] = list(table.values())
    return places[wanted]


def _extent(connection: Connection, after: int) -> tuple[int, int, int]:
    """Return the number of the newest trial, how many trials came after a given one, and how many there are."""
    last = connection.execute(select(func.max(trials.c.id))).scalar() or 0
    counted = select(func.count()).select_from(trials)
    total = connection.execute(counted).scalar_one()
    return int(last), connection.execute(counted.where(trials.c.id > after)).scalar_one() if after else total, total
