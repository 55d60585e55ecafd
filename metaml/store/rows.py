"""How rows get into the tables; every function works inside the transaction of its caller."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from metaml.errors import StoreError
from metaml.store import records, schema
from metaml.store.records import RunRecord, TaskRecord
from metaml.trial import Configuration, Trial

_BATCH = 500


def batches(values: Collection[str]) -> Iterator[list[str]]:
    """Cut values into lists that fit among the parameters of one statement."""
    listed = list(values)
    return (listed[i : i + _BATCH] for i in range(0, len(listed), _BATCH))


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert that passes over rows which are there already."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def task_id(connection: Connection, fingerprint: str) -> int:
    """Return the number of a task.

    Raises:
        StoreError: The task is not there.
    """
    table = schema.tasks
    found = connection.execute(select(table.c.id).where(table.c.fingerprint == fingerprint)).scalar()
    if found is None:
        msg = f"the store has no task {fingerprint!r}: add_task comes first"
        raise StoreError(msg)
    return int(found)


def device_id(connection: Connection, name: str) -> int:
    """Return the number of a device, which is added when it is new."""
    row = {"name": records.key(name, "name of a device"), "details": "{}"}
    connection.execute(insert_new(connection, schema.devices), row)
    return int(connection.execute(select(schema.devices.c.id).where(schema.devices.c.name == name)).scalar_one())


def run_id_and_space(connection: Connection, run_id: str) -> tuple[int, str]:
    """Return the number and the space of a run.

    Raises:
        StoreError: The run is not there.
    """
    table = schema.runs
    found = connection.execute(select(table.c.id, table.c.space).where(table.c.run_id == run_id)).first()
    if found is None:
        msg = f"the store has no run {run_id!r}: add_run comes first"
        raise StoreError(msg)
    return int(found[0]), str(found[1])


def configuration_number(connection: Connection, space: str, name: str) -> int:
    """Return the number of a configuration of a space by its id.

    Raises:
        StoreError: The configuration is not there.
    """
    found = _known(connection, space, [name])
    if not found:
        msg = f"the store has no configuration {name!r} of space {space!r}"
        raise StoreError(msg)
    return found[name]


def insert_task(connection: Connection, task: TaskRecord) -> None:
    """Add a task unless its fingerprint is known."""
    row = {**vars(task), "fingerprint": records.key(task.fingerprint, "fingerprint of a task")}
    for name in ("name", "group", "source"):
        row[name] = None if row[name] is None else records.free_text(row[name])
    for name in ("n_rows", "n_features", "n_classes"):
        row[name] = records.integer(row[name])
    connection.execute(insert_new(connection, schema.tasks), row)


def insert_metafeatures(connection: Connection, fingerprint: str, values: pd.Series[float], version: str) -> None:
    """Add the metafeatures of a task, unless it has some of this version."""
    document = records.dump_numbers({str(name): value for name, value in values.items()})
    row = {"version": records.key(version, "version of metafeatures"), "values": document}
    connection.execute(insert_new(connection, schema.metafeatures), row | {"task": task_id(connection, fingerprint)})


def insert_run(connection: Connection, run: RunRecord) -> None:
    """Add a run unless its id is known."""
    row = {name: getattr(run, name) for name in ("space", "metric", "started")}
    row |= {
        "run_id": records.key(run.run_id, "id of a run"),
        "host": records.free_text(run.host),
        "seed": int(run.seed),
    }
    row |= {"options": records.dump_json(dict(run.options)), "versions": records.dump_json(dict(run.versions))}
    row["task"] = task_id(connection, run.fingerprint)
    row["device"] = None if run.device is None else device_id(connection, run.device)
    connection.execute(insert_new(connection, schema.runs), row)


class TrialWriter:
    """Adds the trials of several runs in one transaction; each configuration is hashed and looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: dict[int, tuple[Configuration, str]] = {}
        """Identity of a dictionary -> itself, so that the identity is not given to another one, and its id."""
        self._numbers: dict[tuple[str, str], int] = {}
        """(space, id of the configuration) -> number of the row."""

    def insert(self, run_id: str, trials: Collection[Trial]) -> None:
        """Add the trials of a run and those of their configurations that are new.

        Raises:
            StoreError: The run is not there, or a configuration names another space than the run.
        """
        run, space = run_id_and_space(self._connection, run_id)
        names = [self._name(trial) for trial in trials]
        new = {
            name: trial.configuration
            for name, trial in zip(names, trials, strict=True)
            if (space, name) not in self._numbers
        }
        for name, number in insert_configurations(self._connection, space, new).items():
            self._numbers[space, name] = number
        values = [
            (run, self._numbers[space, name], *records.trial_values(trial))
            for name, trial in zip(names, trials, strict=True)
        ]
        _insert_values(self._connection, values)

    def _name(self, trial: Trial) -> str:
        known = self._seen.get(id(trial.configuration))
        if known is None:
            known = self._seen[id(trial.configuration)] = (trial.configuration, trial.configuration_id)
        return known[1]


def insert_configurations(
    connection: Connection, space: str, configurations: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Add those of some configurations (by id) that are new to a space; return the numbers of all of them.

    Raises:
        StoreError: A configuration names another space.
    """
    known = _known(connection, space, configurations)
    missing = [name for name in configurations if name not in known]
    for name in missing:
        if configurations[name].get("space", space) != space:
            msg = f"a configuration of space {configurations[name]['space']!r} cannot join a run of space {space!r}"
            raise StoreError(msg)
    if missing:
        rows = [records.configuration_row(name, configurations[name], space) for name in missing]
        connection.execute(insert_new(connection, schema.configurations), rows)
        known |= _known(connection, space, missing)
    return known


def _known(connection: Connection, space: str, hashes: Collection[str]) -> dict[str, int]:
    table, found = schema.configurations, {}
    for some in batches(hashes):
        statement = select(table.c.hash, table.c.id).where(table.c.space == space, table.c.hash.in_(some))
        found.update({digest: number for digest, number in connection.execute(statement)})
    return found


def _insert_values(connection: Connection, values: list[tuple[Any, ...]]) -> None:
    """Insert trials as bare tuples, in the order of the columns: a third of the cost of named parameters."""
    if not values:
        return
    columns = [column.name for column in schema.trials.c if column.name != "id"]
    holder = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    sql = f"INSERT INTO trials ({', '.join(columns)}) VALUES ({', '.join([holder] * len(columns))})"
    connection.exec_driver_sql(f"{sql} ON CONFLICT DO NOTHING", values)
