"""Whole stores: backed up, merged, exported as Parquet and JSON, imported again."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Float, Integer, Table

from metaml.errors import StoreError
from metaml.store import portable, schema, sqlite
from metaml.store.errors import StoreCorruptError, StoreVersionError
from metaml.store.faults import store_errors
from metaml.store.store import Store

FORMAT = 1
"""Number of the format of an export; a change of the files is a new number, and older ones stay readable."""
LATER = {"trials": ("epochs", "curve")}
"""Columns that exports of older schemas lack; their rows have nothing there."""
_MANIFEST = "store.json"


@dataclass(frozen=True)
class Added:
    """What a merge or an import did, by table."""

    new: dict[str, int]
    """Rows that were not there before."""
    present: dict[str, int]
    """Rows that were there already, and stayed as they were."""


def backup(store: Store, target: Path) -> int:
    """Copy a store of one file, as it is now and while others write to it; return the size in bytes.

    Raises:
        StoreError: Something is at the target, it cannot be written, or the store is on PostgreSQL.
    """
    if not isinstance(store.location, Path):
        msg = f"{store.url} is no file: use pg_dump, or `metaml store export`"
        raise StoreError(msg)
    if target.exists():
        msg = f"{target} exists: give the backup a new name"
        raise StoreError(msg)
    with store_errors(store.url):
        sqlite.copy(store.location, target)
    return target.stat().st_size


def merge(target: Store, source: Store) -> Added:
    """Add everything of one store to another, in one transaction; doing it again changes nothing.

    Raises:
        StoreError: Both are the same store, or a run of the same id is another one in each.
    """
    if target.url == source.url:
        msg = f"{target.url} cannot be merged with itself"
        raise StoreError(msg)
    with source.reading() as there, target.writing() as here:
        writer, new, total = portable.Writer(here), {}, {}
        for name, table in portable.TABLES.items():
            parts = _Counted(portable.read(there, table))
            new[name], total[name] = writer.write(table, parts), parts.rows
    return _added(new, total)


def export(store: Store, folder: Path) -> dict[str, int]:
    """Write a store as one Parquet file a table and ``store.json``; return the number of rows by table.

    The folder appears when it is complete.

    Raises:
        StoreError: The folder exists, or cannot be written.
    """
    if folder.exists():
        msg = f"{folder} exists: give the export a new name"
        raise StoreError(msg)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".metaml-export-", dir=folder.parent) as made:
            fresh = Path(made) / "export"
            fresh.mkdir()
            with store.reading() as connection:
                rows = {name: _write_table(connection, table, fresh) for name, table in portable.TABLES.items()}
            (fresh / _MANIFEST).write_text(json.dumps(_manifest(rows), indent=1) + "\n")
            fresh.rename(folder)
    except OSError as error:
        msg = f"the store cannot be exported to {folder} ({error.strerror or error}): give another folder"
        raise StoreError(msg) from error
    return rows


def import_folder(store: Store, folder: Path) -> Added:
    """Add what `export` wrote to a store, in one transaction; doing it again changes nothing.

    Raises:
        StoreVersionError: The export is of a newer format.
        StoreCorruptError: A file is missing, incomplete or damaged; nothing was written then.
        StoreError: A run of the same id is another one in the store.
    """
    total = _checked_manifest(folder)
    try:
        with store.writing() as connection:
            writer, new = portable.Writer(connection), {}
            for name, table in portable.TABLES.items():
                parts = _Counted(_read_table(folder, table))
                new[name] = writer.write(table, parts)
                if parts.rows != total[name]:
                    msg = f"{_file(folder, table)} has {parts.rows} rows instead of {total[name]}: export again"
                    raise StoreCorruptError(msg)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        msg = f"the export {folder} is damaged ({' '.join(str(error).split())}): export again"
        raise StoreCorruptError(msg) from error
    return _added(new, total)


class _Counted:
    """Parts of a table that remember how many rows went by."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts
        self.rows = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> list[portable.Row]:
        part: list[portable.Row] = next(self._parts)
        self.rows += len(part)
        return part


def _added(new: dict[str, int], total: dict[str, int]) -> Added:
    return Added(new, {name: total[name] - new[name] for name in new})


def _file(folder: Path, table: Table) -> Path:
    return folder / f"{table.name}.parquet"


def _manifest(rows: dict[str, int]) -> dict[str, Any]:
    written = datetime.now(UTC).isoformat(timespec="seconds")
    return {"format": FORMAT, "schema_version": schema.SCHEMA_VERSION, "written": written, "rows": rows}


def _checked_manifest(folder: Path) -> dict[str, int]:
    """Return the number of rows by table."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        number, rows = int(manifest["format"]), {name: int(manifest["rows"][name]) for name in portable.TABLES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{folder} is no export of a store: {_MANIFEST} is missing or damaged"
        raise StoreCorruptError(msg) from error
    if number > FORMAT:
        msg = f"the export {folder} has format {number}, this metaml knows {FORMAT}: update metaml"
        raise StoreVersionError(msg)
    return rows


def _arrow_schema(table: Table) -> pa.Schema:
    types = {column.name: _arrow_type(column.type) for column in table.c if not column.foreign_keys}
    return pa.schema([(name, types.get(name, pa.string())) for name in portable.columns(table)])


def _arrow_type(kind: Any) -> pa.DataType:
    if isinstance(kind, Float):
        return pa.float64()
    return pa.int64() if isinstance(kind, BigInteger | Integer) else pa.string()


def _write_table(connection: Any, table: Table, folder: Path) -> int:
    rows, shape = 0, _arrow_schema(table)
    with closing(pq.ParquetWriter(_file(folder, table), shape, compression="zstd")) as writer:
        for part in portable.read(connection, table):
            writer.write_table(pa.Table.from_pylist(part, schema=shape))
            rows += len(part)
    return rows


def _read_table(folder: Path, table: Table) -> Any:
    with closing(pq.ParquetFile(_file(folder, table))) as file:
        for part in file.iter_batches(batch_size=portable.CHUNK, columns=portable.columns(table)):
            absent = set(LATER.get(table.name, ())).difference(part.schema.names)
            shape = pa.schema([field for field in _arrow_schema(table) if field.name not in absent])
            yield part.cast(shape).to_pylist()
