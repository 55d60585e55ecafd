"""SQLite files: how one is created, examined before it is touched, and connected to.

Write-ahead log with ``synchronous=FULL``: a commit that returned survives a power cut, and readers never wait for
writers. A store comes into being complete or not at all: it is made beside its place and linked there.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from metaml.errors import StoreError
from metaml.store import schema
from metaml.store.errors import StoreCorruptError, StoreMissingError, StoreReadOnlyError
from metaml.store.faults import store_errors

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn."""
CHECKED_BYTES = 32 * 2**20
"""A file up to this size (tens of milliseconds) is checked at every opening, a larger one only after an unclean end."""
_LOOKS = 10
_PAGE = 512
"""Bytes of the smallest page of SQLite, and so of the smallest file."""
_WAY_OUT = "the file was left as it is; restore a backup of it, or move it away and start a new store"
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "9p"}

logger = logging.getLogger(__name__)


def create_file(path: Path) -> None:
    """Create an empty store at ``path`` and the folders above it; another process may have been faster.

    Raises:
        StoreReadOnlyError: The folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".metaml-store-", dir=path.parent) as folder:
            fresh = Path(folder) / "store.sqlite"
            _initialise(fresh)
            _place(fresh, path)
    except OSError as error:
        msg = f"no store can be created at {path} ({error.strerror}): give a folder that can be written"
        raise StoreReadOnlyError(msg) from error


def _initialise(path: Path) -> None:
    path.touch()
    with store_errors(str(path)):
        engine = connect(path)
        try:
            with engine.begin() as connection:
                fill(connection)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def fill(connection: Connection) -> None:
    """Create the tables of the present schema and say so in the header of the file."""
    schema.metadata.create_all(connection)
    connection.execute(schema.schema_version.insert().values(version_num=f"{schema.SCHEMA_VERSION:04d}"))
    connection.exec_driver_sql(f"PRAGMA application_id={schema.APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={schema.SCHEMA_VERSION}")


def _place(fresh: Path, path: Path) -> None:
    """Move a finished file to its place unless something is there; the content is on the disk before the name."""
    _fsync(fresh)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            fresh.rename(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy(path: Path, target: Path) -> None:
    """Copy a store that may be in use; the copy appears complete, and never in the place of another file.

    Raises:
        StoreReadOnlyError: The folder of the target cannot be made or written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".metaml-store-", dir=target.parent) as folder:
            fresh = Path(folder) / "store.sqlite"
            fresh.touch()
            with (
                closing(_open(path, _mode(path, read_only=True))) as source,
                closing(_open(fresh, "mode=rw")) as copied,
            ):
                source.backup(copied)
            _place(fresh, target)
    except OSError as error:
        msg = f"no copy of the store can be made at {target} ({error.strerror}): give a folder that can be written"
        raise StoreReadOnlyError(msg) from error


def examine(path: Path) -> int:
    """Look at a store without changing a byte of it, and return the number of its schema.

    Raises:
        StoreMissingError: Nothing is there.
        StoreCorruptError: It is a directory, no SQLite file, not ours, truncated, or damaged inside.
    """
    for _ in range(_LOOKS):
        before = _state(path)
        try:
            return _examine(path)
        except StoreCorruptError:
            if _state(path) == before:
                raise
    return _examine(path)


def _state(path: Path) -> list[tuple[int, int]]:
    """Return what changes when another process writes: a file that changed under our eyes only looked damaged."""
    files = [file.stat() for file in (path, _beside(path, "-wal")) if file.exists()]
    return [(file.st_size, file.st_mtime_ns) for file in files]


def _examine(path: Path) -> int:
    """Look once.

    Only SQLite opens the file: a process that closes a file any other way gives up the locks that SQLite holds on it.
    """
    size = _size(path)
    unclean = _has_content(_beside(path, "-wal"))
    with store_errors(str(path)), closing(_open(path, "mode=ro" if unclean else "mode=ro&immutable=1")) as connection:
        application, version = (_pragma(connection, name) for name in ("application_id", "user_version"))
        problems = _check(connection) if unclean or size <= CHECKED_BYTES else []
    if application != schema.APPLICATION_ID:
        msg = f"{path} is an SQLite file of another program, not a store; give another file"
        raise StoreCorruptError(msg)
    if problems:
        msg = f"the store {path} is damaged ({problems[0]}): {_WAY_OUT}"
        raise StoreCorruptError(msg)
    return version


def _size(path: Path) -> int:
    """Return the size of a file in bytes; SQLite takes a file of almost none for a database without tables."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        msg = f"there is no store at {path}"
        raise StoreMissingError(msg) from error
    except OSError as error:
        msg = f"the store {path} cannot be read ({error.strerror}): look at its path and permissions"
        raise StoreError(msg) from error
    if path.is_dir():
        msg = f"{path} is a directory, not a store; give a file such as {path / 'store.sqlite'}"
        raise StoreCorruptError(msg)
    if size < _PAGE:
        msg = f"{path} has only {size} bytes, so it is not a store: {_WAY_OUT}"
        raise StoreCorruptError(msg)
    return size


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _check(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite's own check finds; empty when the file is sound."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check")]
    return [] if found == ["ok"] else [" ".join(line.split()) for line in found]


def connect(
    path: Path | None, *, read_only: bool = False, foreign_keys: bool = True, patience: float = BUSY_SECONDS
) -> Engine:
    """Return the engine of an SQLite file, or of a database in memory for None.

    `patience` is how many seconds a locked file is waited for.
    """
    if path is None:
        options: dict[str, Any] = {"poolclass": StaticPool}
        engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, **options)
    else:
        file = path
        engine = create_engine(
            "sqlite://", creator=lambda: _open(file, _mode(file, read_only), patience), poolclass=QueuePool
        )
    event.listen(engine, "connect", _configure)
    if foreign_keys:
        event.listen(engine, "connect", _watch_references)
    event.listen(engine, "begin", _begin)
    return engine


def _open(path: Path, mode: str, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open a file by URI, so that no character of its name means anything to SQLite."""
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)


def _mode(path: Path, read_only: bool) -> str:
    """Return how to open: readers need a file beside the store, which a folder that is read-only cannot get."""
    if not read_only:
        return "mode=rw"
    alone = not _has_content(_beside(path, "-wal")) and not os.access(path.parent, os.W_OK)
    return "mode=ro&immutable=1" if alone else "mode=ro"


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
    connection.execute("PRAGMA synchronous=FULL")


def _watch_references(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def size_in_bytes(path: Path) -> int:
    """Return the size of a store with its write-ahead log."""
    return sum(p.stat().st_size for p in (path, _beside(path, "-wal")) if p.exists())


def warn_if_remote(path: Path) -> None:
    """Say that SQLite's locks do not hold over a network."""
    kind = _file_system(path)
    if kind in _REMOTE:
        text = "the store %s is on a network file system (%s), where two writers can damage it: use a local file"
        logger.warning(text, path, kind)


def _file_system(path: Path) -> str:
    """Return the type of the file system of a path on Linux, or an empty text."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = [(Path(fields[1]), fields[2]) for fields in map(str.split, lines) if len(fields) > 2]
    above = [(len(place.parts), kind) for place, kind in mounts if path.is_relative_to(place)]
    return max(above, default=(0, ""))[1]
