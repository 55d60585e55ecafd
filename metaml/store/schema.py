"""The tables of the store, written down once for SQLite and PostgreSQL.

Rows are joined by small integers (``id``); what the outside knows are the text keys beside them: the ``fingerprint``
of a task, the ``hash`` of a configuration, the ``run_id`` of a run, the ``name`` of a device. Dictionaries are JSON
text. Raw data never enter.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

SCHEMA_VERSION = 2
"""Number of the schema below. A change of the schema is a new number, a migration and a golden file among the tests."""

APPLICATION_ID = 0x4D4D4C31
"""``PRAGMA application_id`` of an SQLite store ("MML1", bytes 68 to 71 of the file): tells ours from others."""

metadata = MetaData()


def _id() -> Column[int]:
    """Return a fresh primary key; 64 bits on PostgreSQL, the rowid on SQLite."""
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _reference(name: str, target: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    """Return a column that points to the ``id`` of another table and goes when that row goes."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column(name, kind, ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=nullable, index=index)


def _table(name: str, *items: SchemaItem) -> Table:
    """Return a table whose ids are never given out twice, even after rows were removed."""
    return Table(name, metadata, *items, sqlite_autoincrement=any(getattr(i, "name", "") == "id" for i in items))


tasks = _table(
    "tasks",
    _id(),
    Column("fingerprint", String, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("type", String, nullable=False),
    Column("modality", String, nullable=False),
    Column("n_rows", BigInteger, nullable=False),
    Column("n_features", BigInteger, nullable=False),
    Column("n_classes", BigInteger),
    Column("group", Text),
    Column("source", Text, nullable=False),
)

metafeatures = _table(
    "metafeatures",
    _reference("task", "tasks"),
    Column("version", String, nullable=False),
    Column("values", Text, nullable=False),
    PrimaryKeyConstraint("task", "version"),
)

configurations = _table(
    "configurations",
    _id(),
    Column("space", String, nullable=False),
    Column("hash", String(16), nullable=False, index=True),
    Column("family", String),
    Column("configuration", Text, nullable=False),
    UniqueConstraint("space", "hash"),
)

devices = _table(
    "devices",
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("runtime", String),
    Column("threads", Integer),
    Column("precision", String),
    Column("batch", Integer),
    Column("details", Text, nullable=False),
)

runs = _table(
    "runs",
    _id(),
    Column("run_id", String, nullable=False, unique=True),
    _reference("task", "tasks", index=True),
    _reference("device", "devices", nullable=True),
    Column("space", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("options", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("started", String, nullable=False),
)

trials = _table(
    "trials",
    _id(),
    _reference("run", "runs"),
    _reference("configuration", "configurations"),
    Column("number", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("status", String, nullable=False),
    Column("error", Float(53)),
    Column("budget", Float(53), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("cpu_seconds", Float(53), nullable=False),
    Column("latency_ms", Float(53)),
    Column("n_parameters", BigInteger),
    Column("flops", BigInteger),
    Column("model_bytes", BigInteger),
    Column("message", Text, nullable=False),
    Column("started", String, nullable=False),
    Column("epochs", Integer),
    Column("curve", Text),
    UniqueConstraint("run", "number"),
)

latencies = _table(
    "latencies",
    _id(),
    _reference("device", "devices"),
    _reference("configuration", "configurations", index=True),
    _reference("run", "runs"),
    Column("batch", Integer, nullable=False),
    Column("predicted_ms", Float(53)),
    Column("measured_ms", Float(53)),
    Column("low_ms", Float(53)),
    Column("high_ms", Float(53)),
    Column("measured_at", String, nullable=False),
    UniqueConstraint("run", "device", "configuration", "batch"),
)

schema_version = Table("schema_version", metadata, Column("version_num", String(32), primary_key=True))
"""One row: the number of the schema (the name of the column is the one that alembic looks for)."""
