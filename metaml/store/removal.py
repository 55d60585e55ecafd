"""Taking things out of a store again."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, Index, func, select

from metaml.store.rows import batches
from metaml.store.schema import configurations, metafeatures, runs, tasks, trials
from metaml.store.store import Store

_COUNTED = {
    "runs": runs,
    "trials": trials,
    "tasks": tasks,
    "metafeatures": metafeatures,
    "configurations": configurations,
}


def remove(
    store: Store, *, run_ids: Collection[str] = (), fingerprints: Collection[str] = (), spaces: Collection[str] = ()
) -> dict[str, int]:
    """Remove runs, tasks with all their runs, or spaces with all their runs; what is not there is no error.

    Trials, latencies and metafeatures go with what they belong to, configurations when no trial of them is left.
    Tasks stay unless they are named, devices always stay.

    Returns:
        How many rows went, by table.
    """
    with store.writing() as connection:
        before = _counts(connection)
        for some in batches(run_ids):
            connection.execute(runs.delete().where(runs.c.run_id.in_(some)))
        for some in batches(fingerprints):
            connection.execute(tasks.delete().where(tasks.c.fingerprint.in_(some)))
        for some in batches(spaces):
            connection.execute(runs.delete().where(runs.c.space.in_(some)))
        _remove_unused_configurations(connection)
        after = _counts(connection)
    return {name: before[name] - after[name] for name in before}


def _counts(connection: Connection) -> dict[str, int]:
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in _COUNTED.items()
    }


def _remove_unused_configurations(connection: Connection) -> None:
    """Remove configurations without trials; an index for the time of it, or each would cost a look at all trials."""
    index = Index("ix_trials_configuration_for_removal", trials.c.configuration)
    index.create(connection)
    used = select(trials.c.configuration)
    connection.execute(configurations.delete().where(configurations.c.id.not_in(used)))
    index.drop(connection)
    trials.indexes.discard(index)
