"""One sentence for each thing that a database can complain about, with a way out of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from metaml.errors import StoreError
from metaml.store.errors import (
    StoreCorruptError,
    StoreFullError,
    StoreMissingError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

_BACKUP = "the file was left as it is; restore a backup of it, or move it away and start a new store"
_KNOWN: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (("not a database",), StoreCorruptError, f"is no SQLite file, or one whose beginning is damaged: {_BACKUP}"),
    (("malformed", "corrupt"), StoreCorruptError, f"is damaged or truncated: {_BACKUP}"),
    (
        ("database is locked", "table is locked"),
        StoreUnavailableError,
        "is locked by another process: wait for it to end, or give another store",
    ),
    (
        ("disk is full", "no space left", "disk full", "disk quota"),
        StoreFullError,
        "cannot grow, the disk is full: free some space there, or give a store elsewhere",
    ),
    (
        ("readonly database", "read-only", "permission denied", "insufficient privilege"),
        StoreReadOnlyError,
        "cannot be written: open it read-only, change its permissions, or give another store",
    ),
    (
        ("unable to open database file",),
        StoreUnavailableError,
        "cannot be opened: look at the permissions of the file and its folder",
    ),
    (
        ("password authentication failed", "no password supplied"),
        StoreUnavailableError,
        "refuses the user or the password: correct the URL, or set PGPASSWORD",
    ),
    (
        ('database "', 'role "'),
        StoreMissingError,
        "is not there: create the database (createdb) or the user first, or correct the URL",
    ),
    (
        ("connection", "server closed", "terminating", "could not connect", "timeout", "shutting down", "starting up"),
        StoreUnavailableError,
        "does not answer: start its server, or give another store",
    ),
    (("disk i/o error",), StoreUnavailableError, "cannot be read or written (input/output error): look at the disk"),
)


def as_store_error(error: Exception, place: str) -> StoreError:
    """Return the sentence for an error of the database driver."""
    text = str(getattr(error, "orig", None) or error)
    for signs, kind, sentence in _KNOWN:
        if any(sign in text.lower() for sign in signs):
            return kind(f"the store {place} {sentence}")
    return StoreError(f"the store {place} failed: {' '.join(text.split())}; `metaml store verify` says more")


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn errors of the database drivers into `StoreError`s that name the place."""
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        raise as_store_error(error, place) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"the store {place} is damaged (a text in it cannot be read: {error}): {_BACKUP}"
        raise StoreCorruptError(msg) from error
