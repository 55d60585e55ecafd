"""The longer questions that the store is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, case, func, select
from sqlalchemy.engine import URL

from metaml.store import sqlite
from metaml.store.schema import configurations, devices, tasks, trials
from metaml.store.schema import runs as runs_table
from metaml.trial import WORST_ERROR

FAILED = ("crashed", "diverged", "timeout", "memout")
"""Statuses of a trial that was trained and has no error to show for it."""
_BATCH = 500


def batches(values: list[str]) -> Iterator[list[str]]:
    """Cut a list into pieces that fit among the parameters of one statement."""
    return (values[i : i + _BATCH] for i in range(0, len(values), _BATCH))


def trials_of_run(run_id: str) -> Select[Any]:
    """Return the trials of a run with their configurations (``document``), by number."""
    columns = [*trials.c, configurations.c.configuration.label("document")]
    joined = trials.join(configurations, trials.c.configuration == configurations.c.id)
    joined = joined.join(runs_table, trials.c.run == runs_table.c.id)
    return select(*columns).select_from(joined).where(runs_table.c.run_id == run_id).order_by(trials.c.number)


def runs() -> Select[Any]:
    """Return the runs with the fingerprints of their tasks and the names of their devices."""
    own = [column for column in runs_table.c if column.name not in ("id", "task", "device")]
    joined = runs_table.join(tasks, runs_table.c.task == tasks.c.id)
    joined = joined.outerjoin(devices, runs_table.c.device == devices.c.id)
    return (
        select(*own, tasks.c.fingerprint, devices.c.name.label("device")).select_from(joined).order_by(runs_table.c.id)
    )


def results(
    connection: Connection, *, space: str, metric: str | None, budget: float, exclude: Collection[str]
) -> pd.DataFrame:
    """Return the table of `Store.results`."""
    numbers = _numbers(connection, _finished(space, metric, budget))
    fingerprint_of = {number: name for number, name in connection.execute(select(tasks.c.id, tasks.c.fingerprint))}
    hash_of = {number: name for number, name in connection.execute(select(configurations.c.id, configurations.c.hash))}
    frame = pd.DataFrame(
        {
            "fingerprint": _names(numbers[:, 0], fingerprint_of),
            "configuration_id": _names(numbers[:, 1], hash_of),
            "error": numbers[:, 2],
            "seconds": numbers[:, 3],
            "budget": numbers[:, 4],
        }
    )
    return frame[~frame["fingerprint"].isin(list(exclude))].reset_index(drop=True) if exclude else frame


def _finished(space: str, metric: str | None, budget: float) -> Select[Any]:
    """Return (task, configuration, error, seconds, budget) of the trials that are results."""
    of_space = select(configurations.c.id).where(configurations.c.space == space)
    error = case((trials.c.status == "ok", trials.c.error), else_=WORST_ERROR)
    statement = (
        select(runs_table.c.task, trials.c.configuration, error, trials.c.seconds, trials.c.budget)
        .join_from(trials, runs_table, trials.c.run == runs_table.c.id)
        .where(trials.c.configuration.in_(of_space), trials.c.budget >= budget)
        .where((trials.c.error.is_not(None) & (trials.c.status == "ok")) | trials.c.status.in_(FAILED))
        .order_by(trials.c.id)
    )
    return statement if metric is None else statement.where(runs_table.c.metric == metric)


def _numbers(connection: Connection, statement: Select[Any]) -> NDArray[np.float64]:
    """Return the rows of a statement of five numbers as an array, (n, 5)."""
    rows = connection.execute(statement).all()
    return np.fromiter(chain.from_iterable(rows), float, 5 * len(rows)).reshape(-1, 5)


def _names(numbers: NDArray[np.float64], names: dict[int, str]) -> pd.Index[str]:
    """Return the names of rows by their ids, (n,)."""
    ids = np.fromiter(names, np.int64, len(names))
    order = np.argsort(ids)
    places = order[np.searchsorted(ids[order], numbers.astype(np.int64))] if len(numbers) else np.empty(0, np.int64)
    return pd.Index(list(names.values()), dtype="str").take(places)


def state(connection: Connection, location: Path | URL | None) -> dict[str, Any]:
    """Return the path, the size in bytes and the time of the last writing (UTC, None when unknown)."""
    if isinstance(location, Path):
        files = [file for file in (location, location.with_name(location.name + "-wal")) if file.exists()]
        written = datetime.fromtimestamp(max(file.stat().st_mtime for file in files), UTC).isoformat(timespec="seconds")
        return {"path": str(location), "bytes": sqlite.size_in_bytes(location), "last_write": written}
    started = connection.execute(select(func.max(trials.c.started))).scalar()
    is_postgres = connection.dialect.name == "postgresql"
    size = connection.execute(select(func.pg_database_size(func.current_database()))).scalar() if is_postgres else 0
    return {"path": None, "bytes": size, "last_write": started}
