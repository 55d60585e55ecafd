"""Where a store lies: a path or a URL, and what of it may be shown."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from metaml.errors import StoreError

MEMORY = ":memory:"
_SQLITE, _POSTGRES = "sqlite:///", "postgresql"


def default_store_url() -> str:
    """Return where results go when nobody says otherwise: ``METAML_STORE``, or a file in the user's data folder."""
    return os.environ.get("METAML_STORE") or str(platformdirs.user_data_path("metaml") / "store.sqlite")


def parse_location(location: str | Path | None) -> Path | URL | None:
    """Return the path of an SQLite store, the URL of a PostgreSQL one, or None for one in memory.

    The path behind ``sqlite:///`` is taken as it stands: nothing in it is decoded, so any file name works.

    >>> parse_location("sqlite:///results/50%.sqlite").name
    '50%.sqlite'

    Raises:
        StoreError: The URL is of another kind of database, or is no URL at all.
    """
    text = str(default_store_url() if location is None else location)
    if text in (MEMORY, "sqlite://"):
        return None
    if isinstance(location, Path) or "://" not in text:
        return _path(text)
    if text.startswith(_SQLITE):
        return _path(text.removeprefix(_SQLITE))
    return _postgres_url(text)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        msg = f"{text!r} is no path of a store; give a file such as store.sqlite"
        raise StoreError(msg)
    return Path(os.path.realpath(Path(text).expanduser()))  # SQLite keeps its log beside the file, not beside a link


def _postgres_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() != _POSTGRES:
        scheme = text.partition("://")[0]
        msg = f"a store is a file or postgresql+psycopg://user@host/database, but the URL begins with {scheme}://"
        raise StoreError(msg)
    password = url.query.get("password")
    if isinstance(password, str):  # where SQLAlchemy would show it
        url = url.difference_update_query(["password"]).set(password=password)
    return url.set(drivername="postgresql+psycopg")


def shown(location: Path | URL | None) -> str:
    """Return a location as people may see it: without a password."""
    if location is None:
        return "sqlite://"
    if isinstance(location, Path):
        return f"{_SQLITE}{location}"
    return location.render_as_string(hide_password=True)
