"""Rows without the numbers of one store: what travels between stores and into files.

In its portable form a row names what it points to: a run has the ``fingerprint`` of its task and the name of its
``device``, a trial has the ``run_id`` of its run and the ``hash`` of its configuration (whose space is the run's).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from sqlalchemy import Connection, Select, Table, func, select

from metaml.errors import StoreError
from metaml.store import schema
from metaml.store.rows import insert_new
from metaml.trial import Status, configuration_id

Row = Mapping[str, Any]

CHUNK = 20_000
"""Rows that are held in memory at a time."""
TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *(schema.tasks, schema.devices, schema.configurations, schema.runs),
        *(schema.metafeatures, schema.trials, schema.latencies),
    )
}
"""The tables, each after those that it points to."""
_NAMED = {
    "task": (schema.tasks, "fingerprint", "fingerprint"),
    "run": (schema.runs, "run_id", "run_id"),
    "device": (schema.devices, "name", "device"),
    "configuration": (schema.configurations, "hash", "hash"),
}
"""Column that points -> the table, its column that names, and the portable name."""


def references(table: Table) -> list[str]:
    """Return the columns of a table that point to another one."""
    return [column.name for column in table.c if column.foreign_keys]


def columns(table: Table) -> list[str]:
    """Return the columns of the portable form of a table."""
    own = [column.name for column in table.c if column.name != "id" and not column.foreign_keys]
    return [_NAMED[name][2] for name in references(table)] + own


def portable(table: Table) -> Select[Any]:
    """Return the rows of a table in their portable form, in the order of writing."""
    joined: Any = table
    named = []
    for name in references(table):
        other, naming, label = _NAMED[name]
        joined = joined.join(other, table.c[name] == other.c.id, isouter=bool(table.c[name].nullable))
        named.append(other.c[naming].label(label))
    own = [column for column in table.c if column.name != "id" and not column.foreign_keys]
    order = [table.c.id] if "id" in table.c else list(table.primary_key)
    return select(*named, *own).select_from(joined).order_by(*order)


def read(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """Yield the rows of a table in their portable form, some at a time."""
    streamed = connection.execute(portable(table).execution_options(yield_per=CHUNK))
    for part in streamed.mappings().partitions():
        yield [dict(row) for row in part]


class Writer:
    """Puts portable rows into a store; rows that are there already are passed over."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._runs: dict[str, tuple[int, str]] = {}
        self._ids: dict[str, dict[tuple[str, ...], int]] = {}
        self._learn()

    def _learn(self) -> None:
        """Read the numbers that this store has given to what can be pointed to."""
        for name, (table, naming, _) in _NAMED.items():
            named = [table.c.space, table.c[naming]] if name == "configuration" else [table.c[naming]]
            found = self._connection.execute(select(table.c.id, *named))
            self._ids[name] = {tuple(row[1:]): row[0] for row in found}
        found = self._connection.execute(select(schema.runs.c.run_id, schema.runs.c.id, schema.runs.c.space))
        self._runs = {run_id: (number, space) for run_id, number, space in found}

    def write(self, table: Table, parts: Iterator[list[Row]]) -> int:
        """Write portable rows and return how many were new.

        Raises:
            StoreError: A row is not what it says it is, points to nothing, or a run is another one here.
        """
        before = self._count(table)
        for part in parts:
            rows = [self._row(table, row) for row in part]
            if rows:
                self._connection.execute(insert_new(self._connection, table), rows)
        if table in [named[0] for named in _NAMED.values()]:
            self._learn()
        return self._count(table) - before

    def _count(self, table: Table) -> int:
        return int(self._connection.execute(select(func.count()).select_from(table)).scalar_one())

    def _row(self, table: Table, row: Row) -> dict[str, Any]:
        _CHECKS.get(table.name, _nothing)(row)
        if table is schema.runs:
            self._must_be_the_same(row)
        own = {column.name: row[column.name] for column in table.c if column.name in row and not column.foreign_keys}
        return own | {name: self._number(table, name, row) for name in references(table)}

    def _number(self, table: Table, name: str, row: Row) -> int | None:
        label = _NAMED[name][2]
        wanted = row[label]
        if wanted is None and table.c[name].nullable:
            return None
        key = (self._runs[row["run_id"]][1], wanted) if name == "configuration" else (wanted,)
        if key not in self._ids[name]:
            msg = f"a row of {table.name} points to {label} {wanted!r}, which is not there"
            raise StoreError(msg)
        return self._ids[name][key]

    def _must_be_the_same(self, row: Row) -> None:
        """Refuse a run whose id means another run here: its trials would be mixed."""
        if row["run_id"] not in self._runs:
            return
        statement = portable(schema.runs).where(schema.runs.c.run_id == row["run_id"])
        here = self._connection.execute(statement).mappings().one()
        different = [name for name in here if here[name] != row[name]]
        if different:
            msg = f"run {row['run_id']!r} is in both, but they differ in {', '.join(different)}: nothing was written"
            raise StoreError(msg)


def _nothing(_row: Row) -> None:
    pass


def _check_configuration(row: Row) -> None:
    try:
        sound = configuration_id(json.loads(row["configuration"])) == row["hash"]
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        msg = f"the configuration {row['hash']!r} is not the one that has this id"
        raise StoreError(msg)


def _check_trial(row: Row) -> None:
    if row["status"] not in _STATUSES:
        msg = f"a trial of run {row['run_id']!r} has the unknown status {row['status']!r}"
        raise StoreError(msg)


_STATUSES: Sequence[str] = get_args(Status)
_CHECKS: dict[str, Callable[[Row], None]] = {"configurations": _check_configuration, "trials": _check_trial}
