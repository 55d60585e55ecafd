"""Version 1: tasks, metafeatures, configurations, devices, runs, trials, latencies."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _Number, primary_key=True)


def _reference(name: str, target: str, **options: Any) -> sa.Column[int]:
    options = {"nullable": False} | options
    return sa.Column(name, _Number, sa.ForeignKey(f"{target}.id", ondelete="CASCADE"), **options)


def upgrade() -> None:
    """Make the tables in an empty database."""
    _what_is_tried()
    _what_came_of_it()


def _what_is_tried() -> None:
    op.create_table(
        "tasks",
        _id(),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("modality", sa.String, nullable=False),
        sa.Column("n_rows", sa.BigInteger, nullable=False),
        sa.Column("n_features", sa.BigInteger, nullable=False),
        sa.Column("n_classes", sa.BigInteger),
        sa.Column("group", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "configurations",
        _id(),
        sa.Column("space", sa.String, nullable=False),
        sa.Column("hash", sa.String(16), nullable=False, index=True),
        sa.Column("family", sa.String),
        sa.Column("configuration", sa.Text, nullable=False),
        sa.UniqueConstraint("space", "hash"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "devices",
        _id(),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("runtime", sa.String),
        sa.Column("threads", sa.Integer),
        sa.Column("precision", sa.String),
        sa.Column("batch", sa.Integer),
        sa.Column("details", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "metafeatures",
        _reference("task", "tasks"),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("values", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task", "version"),
    )


def _what_came_of_it() -> None:
    op.create_table(
        "runs",
        _id(),
        sa.Column("run_id", sa.String, nullable=False, unique=True),
        _reference("task", "tasks", index=True),
        _reference("device", "devices", nullable=True),
        sa.Column("space", sa.String, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("started", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trials",
        _id(),
        _reference("run", "runs"),
        _reference("configuration", "configurations"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("error", sa.Float(53)),
        sa.Column("budget", sa.Float(53), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("cpu_seconds", sa.Float(53), nullable=False),
        sa.Column("latency_ms", sa.Float(53)),
        sa.Column("n_parameters", sa.BigInteger),
        sa.Column("flops", sa.BigInteger),
        sa.Column("model_bytes", sa.BigInteger),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("started", sa.String, nullable=False),
        sa.UniqueConstraint("run", "number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "latencies",
        _id(),
        _reference("device", "devices"),
        _reference("configuration", "configurations", index=True),
        _reference("run", "runs"),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("predicted_ms", sa.Float(53)),
        sa.Column("measured_ms", sa.Float(53)),
        sa.Column("low_ms", sa.Float(53)),
        sa.Column("high_ms", sa.Float(53)),
        sa.Column("measured_at", sa.String, nullable=False),
        sa.UniqueConstraint("run", "device", "configuration", "batch"),
        sqlite_autoincrement=True,
    )
