"""PostgreSQL: for teams that share a store. The driver, psycopg, is an extra and imported here only."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.engine import URL

from metaml.errors import StoreError
from metaml.store import schema
from metaml.store.errors import StoreMissingError

CONNECT_SECONDS = 10
SILENT_SECONDS = 30
"""After how long without an answer a connection counts as lost."""
LOCK = 0x4D4D4C31
"""Key of the advisory lock under which a schema is created or changed."""


def connect(url: URL, *, read_only: bool = False) -> Engine:
    """Return the engine of a PostgreSQL database.

    Raises:
        StoreError: psycopg is not installed.
    """
    options = "-c default_transaction_read_only=on" if read_only else ""
    arguments = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * SILENT_SECONDS, "options": options}
    try:
        return create_engine(url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
    except ModuleNotFoundError as error:
        msg = "a store on PostgreSQL needs psycopg: install it with `pip install 'metaml[postgres]'`"
        raise StoreError(msg) from error


def prepare(engine: Engine, *, create: bool, place: str) -> int:
    """Create the tables where there are none and it is allowed; return the number of the schema.

    Raises:
        StoreMissingError: There are no tables, and none are to be created.
    """
    with engine.begin() as connection:
        if not inspect(connection).has_table("schema_version"):
            if not create:
                msg = f"there is no store in {place}"
                raise StoreMissingError(msg)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            if not inspect(connection).has_table("schema_version"):
                schema.metadata.create_all(connection)
                connection.execute(schema.schema_version.insert().values(version_num=f"{schema.SCHEMA_VERSION:04d}"))
        return int(connection.execute(schema.schema_version.select()).scalar_one())
