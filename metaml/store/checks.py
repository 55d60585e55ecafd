"""What `metaml store verify` looks at: the database's own checks, then what only we can know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import get_args

from sqlalchemy import Connection, func, select

from metaml.store.records import load_numbers
from metaml.store.schema import configurations, metafeatures, runs, tasks, trials
from metaml.trial import Status, configuration_id


def problems(connection: Connection) -> list[str]:
    """Return every problem that is found, as sentences; the later checks only when the earlier ones found nothing."""
    damage = list(_damage(connection))
    return damage or [problem for check in _CHECKS for problem in check(connection)]


def _damage(connection: Connection) -> Iterator[str]:
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if line != "ok":
            yield f"the file is damaged: {line}"
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} points to a row of {parent} that is not there"


def _configurations(connection: Connection) -> Iterator[str]:
    """Each configuration hashes to its own id."""
    for digest, text in connection.execute(select(configurations.c.hash, configurations.c.configuration)):
        try:
            sound = configuration_id(json.loads(text)) == digest
        except ValueError:
            sound = False
        if not sound:
            yield f"the configuration {digest} is not the one that has this id"


def _metafeatures(connection: Connection) -> Iterator[str]:
    joined = select(tasks.c.fingerprint, metafeatures.c.version, metafeatures.c["values"]).join_from(
        metafeatures, tasks
    )
    for fingerprint, version, text in connection.execute(joined):
        try:
            load_numbers(text)
        except (ValueError, AttributeError, TypeError):
            yield f"the metafeatures {version} of task {fingerprint} cannot be read"


def _trials(connection: Connection) -> Iterator[str]:
    """Statuses are known, trials that are ok have an error, and nothing took less than no time."""
    conditions = {
        "have an unknown status": trials.c.status.not_in(get_args(Status)),
        "are ok but have no error": (trials.c.status == "ok") & trials.c.error.is_(None),
        "have a negative time or budget": (trials.c.seconds < 0) | (trials.c.cpu_seconds < 0) | (trials.c.budget <= 0),
    }
    for sentence, condition in conditions.items():
        statement = select(runs.c.run_id, func.count()).join_from(trials, runs).where(condition).group_by(runs.c.run_id)
        for run_id, count in connection.execute(statement):
            yield f"{count} trials of run {run_id} {sentence}"


_CHECKS: tuple[Callable[[Connection], Iterator[str]], ...] = (_configurations, _metafeatures, _trials)
