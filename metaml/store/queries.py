"""The longer questions that the store is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.engine import URL

from metaml.store import sqlite
from metaml.store.schema import configurations, devices, tasks, trials
from metaml.store.schema import latencies as latencies_table
from metaml.store.schema import runs as runs_table


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


def latencies() -> Select[Any]:
    """Return the latencies with the names of what they belong to, as the fields of `LatencyRecord`."""
    own = [column for column in latencies_table.c if column.name != "id" and not column.foreign_keys]
    joined = latencies_table.join(runs_table, latencies_table.c.run == runs_table.c.id)
    joined = joined.join(devices, latencies_table.c.device == devices.c.id)
    joined = joined.join(configurations, latencies_table.c.configuration == configurations.c.id)
    named = (runs_table.c.run_id, configurations.c.hash.label("configuration_id"), devices.c.name.label("device"))
    return select(*named, *own).select_from(joined).order_by(latencies_table.c.id)


def state(connection: Connection, location: Path | URL | None) -> dict[str, Any]:
    """Return the path, the size in bytes and the time of the last writing (UTC, None when unknown)."""
    if isinstance(location, Path):
        files = [file for file in (location, location.with_name(location.name + "-wal")) if file.exists()]
        times = [file.stat().st_mtime for file in files if file.stat().st_size]  # opening a store makes an empty -wal
        written = datetime.fromtimestamp(max(times, default=location.stat().st_mtime), UTC).isoformat(
            timespec="seconds"
        )
        return {"path": str(location), "bytes": sqlite.size_in_bytes(location), "last_write": written}
    started = connection.execute(select(func.max(trials.c.started))).scalar()
    is_postgres = connection.dialect.name == "postgresql"
    size = connection.execute(select(func.pg_database_size(func.current_database()))).scalar() if is_postgres else 0
    return {"path": None, "bytes": size, "last_write": started}
