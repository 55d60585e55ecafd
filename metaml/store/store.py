"""The store: what is written into it, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL

from metaml.store import checks, postgres, queries, records, rows, schema, sqlite
from metaml.store.errors import StoreMissingError, StoreReadOnlyError
from metaml.store.faults import store_errors
from metaml.store.location import parse_location, shown
from metaml.store.records import DeviceRecord, LatencyRecord, RunRecord, TaskRecord
from metaml.store.results import Results, Selection, read_results
from metaml.store.upgrade import refuse, upgrade_file
from metaml.trial import Trial


class Store:
    """Results of searches: tasks, configurations, runs and their trials, metafeatures, devices and latencies.

    One store may be written by many processes and threads at once. Every ``add_…`` is one transaction that is on the
    disk when the call returns, and does nothing the second time. Every failure is a `StoreError` that names the store
    and a way out.

    >>> with Store.open(":memory:") as store:
    ...     store.add_task(TaskRecord(fingerprint="f1", name="iris", type="multiclass", n_rows=150))
    ...     store.tasks().loc["f1", "name"]
    'iris'
    """

    def __init__(self, engine: Engine, location: Path | URL | None, *, read_only: bool) -> None:
        self.engine = engine
        self.location = location
        self.read_only = read_only
        self.url = shown(location)

    @classmethod
    def open(
        cls,
        url: str | Path | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        patience: float = sqlite.BUSY_SECONDS,
    ) -> Self:
        """Open a store, or create an empty one.

        Args:
            url: A path, ``sqlite:///path``, ``postgresql+psycopg://user@host/database``, ``:memory:``, or None for the
                default place.
            create: Whether to create it, with the folders above it, when nothing is there.
            read_only: Refuse every writing; nothing is created then.
            patience: Seconds for which a file that another process has locked is waited for.

        Raises:
            StoreMissingError: Nothing is there, and nothing is to be created.
            StoreCorruptError: A file is there that is no store, or a damaged one; it is left as it is.
            StoreVersionError: The schema is newer; or it is older, and the store is on a server or opened read-only.
                (An older file that may be written is upgraded, after a backup.)
        """
        location, create = parse_location(url), create and not read_only
        place = shown(location)
        with store_errors(place):
            if isinstance(location, URL):
                engine = postgres.connect(location, read_only=read_only)
                version = postgres.prepare(engine, create=create, place=place)
            elif location is None:
                engine, version = _in_memory(), schema.SCHEMA_VERSION
            else:
                version = _existing(location, create=create)
                if not read_only:
                    sqlite.warn_if_remote(location)
                    version = upgrade_file(location, version)
                engine = sqlite.connect(location, read_only=read_only, patience=patience)
        if version != schema.SCHEMA_VERSION:
            engine.dispose()
            refuse(version, place)
        return cls(engine, location, read_only=read_only)

    def close(self) -> None:
        """Give the connections back; closing twice does no harm."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the store, for the modules of this package."""
        snapshot = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with store_errors(self.url), self.engine.execution_options(**snapshot).begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are all committed at the end, or none of them."""
        if self.read_only:
            msg = f"the store {self.url} was opened read-only, nothing can be written to it"
            raise StoreReadOnlyError(msg)
        with store_errors(self.url), self.engine.execution_options(writes=True).begin() as connection:
            yield connection

    # -- writing ------------------------------------------------------------

    def add_task(self, task: TaskRecord) -> None:
        """Add a task unless its fingerprint is known."""
        with self.writing() as connection:
            rows.insert_task(connection, task)

    def add_metafeatures(self, fingerprint: str, values: pd.Series[float], version: str) -> None:
        """Add the metafeatures of a task as one version of their definition computes them; the first ones stay.

        Raises:
            StoreError: The task is not in the store.
        """
        with self.writing() as connection:
            rows.insert_metafeatures(connection, fingerprint, values, version)

    def add_device(self, device: DeviceRecord) -> None:
        """Add a device, or what is known of it now when so far only its name was."""
        row = {**vars(device), "details": records.dump_json(dict(device.details))}
        devices = schema.devices
        with self.writing() as connection:
            rows.device_id(connection, device.name)
            bare = (devices.c.name == device.name, devices.c.details == "{}", devices.c.runtime.is_(None))
            connection.execute(devices.update().where(*bare), row)

    def add_run(self, run: RunRecord) -> None:
        """Add a run unless its id is known.

        Raises:
            StoreError: Its task is not in the store.
        """
        with self.writing() as connection:
            rows.insert_run(connection, run)

    def add_trial(self, run_id: str, trial: Trial) -> None:
        """Add one trial; when this returns it survives anything. A number that the run has already is passed over.

        Raises:
            StoreError: The run is not in the store, or the trial cannot be written.
        """
        self.add_trials(run_id, [trial])

    def add_trials(self, run_id: str, trials: Iterable[Trial]) -> None:
        """Add trials of one run in one transaction, all or none; numbers that the run has already are passed over.

        Raises:
            StoreError: The run is not in the store, or a configuration is of another space than the run.
        """
        self.add_runs_of_trials({run_id: trials})

    def add_runs_of_trials(self, trials: Mapping[str, Iterable[Trial]]) -> None:
        """Add trials of several runs, by the id of the run, in one transaction, as `add_trials` does."""
        with self.writing() as connection:
            writer = rows.TrialWriter(connection)
            for run_id, of_run in trials.items():
                writer.insert(run_id, list(of_run))

    def add_latency(self, latency: LatencyRecord) -> None:
        """Add the latency of a configuration of a run on a device.

        Raises:
            StoreError: The run, or the configuration, is not in the store.
        """
        names = ("batch", "predicted_ms", "measured_ms", "low_ms", "high_ms", "measured_at")
        row = {name: getattr(latency, name) for name in names}
        with self.writing() as connection:
            row["run"], space = rows.run_id_and_space(connection, latency.run_id)
            row["configuration"] = rows.configuration_number(connection, space, latency.configuration_id)
            row["device"] = rows.device_id(connection, latency.device)
            connection.execute(rows.insert_new(connection, schema.latencies), row)

    # -- reading ------------------------------------------------------------

    def trials(self, run_id: str) -> list[Trial]:
        """Return the trials of a run in the order of their numbers; none for a run that is not there."""
        with self.reading() as connection:
            found = connection.execute(queries.trials_of_run(run_id)).mappings()
            return [records.trial_from_row(dict(row), json.loads(row["document"])) for row in found]

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        with self.reading() as connection:
            return [records.run_from_row(dict(row)) for row in connection.execute(queries.runs()).mappings()]

    def run(self, run_id: str) -> RunRecord | None:
        """Return one run, or None when it is not there."""
        with self.reading() as connection:
            row = connection.execute(queries.runs().where(schema.runs.c.run_id == run_id)).mappings().first()
            return None if row is None else records.run_from_row(dict(row))

    def tasks(self) -> pd.DataFrame:
        """Return the tasks: by ``fingerprint``, with the fields of `TaskRecord` as columns."""
        columns = [column for column in schema.tasks.c if column.name != "id"]
        with self.reading() as connection:
            found = connection.execute(select(*columns).order_by(schema.tasks.c.id)).all()
        frame = pd.DataFrame(list(map(tuple, found)), columns=[column.name for column in columns])
        return frame.astype({"n_classes": "Int64"}).set_index("fingerprint")

    def results(
        self, *, space: str, metric: str | None = None, exclude: Collection[str] = (), budget: float = 1.0
    ) -> pd.DataFrame:
        """Return what is known of a search space, one row a trial, in the order in which they were written.

        A trial counts when it ran at the full budget. One that crashed, diverged or ran out of time or memory counts
        with `WORST_ERROR`: that it fails is worth knowing. One that was pruned or infeasible says nothing of the error.

        Args:
            space: The search space; spaces never mix.
            metric: Only runs whose normalised error is of this metric.
            exclude: Fingerprints of tasks to leave out.
            budget: The lowest budget that counts.

        Returns:
            Columns ``fingerprint``, ``configuration_id``, ``error``, ``seconds``, ``budget``.
        """
        chosen = Selection(space=space, metric=metric, budget=budget)
        return self.read_results(chosen, exclude=exclude).to_frame()

    def read_results(self, chosen: Selection, *, exclude: Collection[str] = (), after: int = 0) -> Results:
        """Return results as arrays, and only those of trials written after the trial ``after`` (see `Results.last`)."""
        with self.reading() as connection:
            return read_results(connection, chosen, exclude=exclude, after=after)

    def configurations(
        self, ids: Collection[str] | None = None, *, space: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return configurations by id: those asked for (unknown ones are missing), or those of a space, or all."""
        table = schema.configurations
        statement = select(table.c.hash, table.c.configuration).order_by(table.c.id)
        if space is not None:
            statement = statement.where(table.c.space == space)
        parts = [statement] if ids is None else [statement.where(table.c.hash.in_(b)) for b in rows.batches(ids)]
        with self.reading() as connection:
            return {digest: json.loads(text) for part in parts for digest, text in connection.execute(part)}

    def metafeatures(self, version: str) -> pd.DataFrame:
        """Return the metafeatures of one version: tasks (by fingerprint) × features, nan where undefined."""
        table = schema.metafeatures
        statement = select(schema.tasks.c.fingerprint, table.c["values"]).join_from(table, schema.tasks)
        with self.reading() as connection:
            found = connection.execute(statement.where(table.c.version == version).order_by(table.c.task)).all()
        frame = records.load_table([text for _, text in found])
        return frame.set_axis(pd.Index([name for name, _ in found], dtype="str", name="fingerprint"))

    def metafeatures_of(self, fingerprint: str) -> dict[str, pd.Series[float]]:
        """Return all that is kept of one task: version -> named numbers; nothing for a task that is not there."""
        table = schema.metafeatures
        statement = select(table.c.version, table.c["values"]).join_from(table, schema.tasks)
        with self.reading() as connection:
            found = connection.execute(statement.where(schema.tasks.c.fingerprint == fingerprint)).all()
        return {version: pd.Series(records.load_numbers(text), dtype=float) for version, text in found}

    def devices(self) -> dict[str, DeviceRecord]:
        """Return the devices by name."""
        columns = [column for column in schema.devices.c if column.name != "id"]
        with self.reading() as connection:
            found = connection.execute(select(*columns).order_by(schema.devices.c.id)).mappings().all()
        return {row["name"]: DeviceRecord(**{**row, "details": json.loads(row["details"])}) for row in found}

    def latencies(self, device: str | None = None) -> list[LatencyRecord]:
        """Return the latencies of one device, or of all, in the order of writing."""
        statement = queries.latencies()
        statement = statement if device is None else statement.where(schema.devices.c.name == device)
        with self.reading() as connection:
            return [LatencyRecord(**row) for row in connection.execute(statement).mappings()]

    def info(self) -> dict[str, Any]:
        """Return counts by table, schema version, size in bytes, place and time of the last writing (UTC)."""
        with self.reading() as connection:
            tables = [table for table in schema.metadata.sorted_tables if table is not schema.schema_version]
            counts = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
            }
            state = queries.state(connection, self.location)
        return {"url": self.url, "schema_version": schema.SCHEMA_VERSION, **state, "counts": counts}

    def verify(self) -> list[str]:
        """Return what is wrong with the store, a sentence each; nothing when it is sound."""
        with self.reading() as connection:
            return checks.problems(connection)


def _in_memory() -> Engine:
    engine = sqlite.connect(None)
    with engine.begin() as connection:
        sqlite.fill(connection)
    return engine


def _existing(path: Path, *, create: bool) -> int:
    """Return the schema version of the store at a path, which is created when it is missing and that is allowed."""
    try:
        return sqlite.examine(path)
    except StoreMissingError:
        if not create:
            raise
    sqlite.create_file(path)
    return sqlite.examine(path)
