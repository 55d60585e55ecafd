"""From an older schema to the present one: backed up first, and in one transaction, so that it may be interrupted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from metaml.store import postgres, schema, sqlite
from metaml.store.errors import StoreCorruptError, StoreVersionError
from metaml.store.faults import store_errors
from metaml.store.location import parse_location, shown

SCRIPTS = Path(__file__).parent / "migrations"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade did; nothing when both versions are the same."""

    old: int
    new: int
    backup: Path | None
    """Where the store as it was is now; None when nothing was done, and on PostgreSQL."""


def upgrade(url: str | Path | None = None) -> Upgraded:
    """Bring a store to the present schema; a file is backed up beside itself before.

    Raises:
        StoreVersionError: The store is newer than this metaml.
        StoreError: There is no store, it is damaged, or it cannot be written.
    """
    location = parse_location(url)
    place = shown(location)
    with store_errors(place):
        if isinstance(location, URL):
            return _upgrade_server(location, place)
        if location is None:
            return Upgraded(schema.SCHEMA_VERSION, schema.SCHEMA_VERSION, None)
        old = sqlite.examine(location)
        if old >= schema.SCHEMA_VERSION:
            refuse(old, place)
            return Upgraded(old, old, None)
        return _upgrade_file(location, old)


def upgrade_file(path: Path, old: int) -> int:
    """Upgrade a file from an older schema, which is a known one; return the number of the schema it has now."""
    return _upgrade_file(path, old).new if old < schema.SCHEMA_VERSION else old


def refuse(version: int, place: str) -> None:
    """Say what to do about a store whose schema is not the present one.

    Raises:
        StoreVersionError: Always, unless it is the present one.
    """
    if version > schema.SCHEMA_VERSION:
        msg = f"the store {place} has schema {version}, this metaml knows {schema.SCHEMA_VERSION}: update metaml"
        raise StoreVersionError(msg)
    if version < schema.SCHEMA_VERSION:
        msg = f"the store {place} has schema {version}, older than {schema.SCHEMA_VERSION}: run `metaml store upgrade`"
        raise StoreVersionError(msg)


def _upgrade_file(path: Path, old: int) -> Upgraded:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    kept = path.with_name(f"{path.name}.schema{old}.{now}.backup")
    sqlite.copy(path, kept)
    new = schema.SCHEMA_VERSION
    logger.warning("the store %s is upgraded from schema %d to %d; a backup is in %s", path, old, new, kept)
    engine = sqlite.connect(path, foreign_keys=False)  # a table that is rebuilt must not take its children along
    try:
        with engine.execution_options(writes=True).begin() as connection:
            _migrate(connection)
            _check_references(connection, path)
            connection.exec_driver_sql(f"PRAGMA user_version={new}")
    finally:
        engine.dispose()
    return Upgraded(old, new, kept)


def _upgrade_server(url: URL, place: str) -> Upgraded:
    engine: Engine = postgres.connect(url)
    try:
        old = postgres.prepare(engine, create=False, place=place)
        if old >= schema.SCHEMA_VERSION:
            refuse(old, place)
            return Upgraded(old, old, None)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": postgres.LOCK})
            _migrate(connection)
    finally:
        engine.dispose()
    return Upgraded(old, schema.SCHEMA_VERSION, None)


def _migrate(connection: Connection) -> None:
    """Run the steps that are missing, inside the transaction of the caller."""
    from alembic.config import Config  # half a second that only an upgrade pays
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(SCRIPTS))
    goal = f"{schema.SCHEMA_VERSION:04d}"

    def steps(revision: Any, _context: Any) -> Any:
        return scripts._upgrade_revs(goal, revision)

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev=goal) as environment:
        environment.configure(connection=connection, version_table="schema_version", render_as_batch=True)
        environment.run_migrations()


def _check_references(connection: Connection, path: Path) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        msg = f"the store {path} has rows that point to nothing, it was not upgraded: `metaml store verify` names them"
        raise StoreCorruptError(msg)
