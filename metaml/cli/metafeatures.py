"""``metaml metafeatures``."""

from __future__ import annotations

import math
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json

MEASURES = ("statistical", "normals", "dataset2vec", "task2vec", "text", "performance")


@click.command()
@options.task_options
@click.option(
    "--similar-to",
    "store_url",
    metavar="STORE",
    help="A metadata store, path or URL: name its tasks that are most like this one, and why. The description of the "
    "task is kept there, so that a second call need not compute it.",
)
@click.option(
    "--by",
    type=click.Choice(MEASURES),
    show_default=MEASURES[0],
    help="What likeness means: metafeatures, each of the same weight; class distributions; "
    "Dataset2Vec; of images Task2Vec; words of names; "
    "or the results so far.",
)
@click.option("-n", "n", type=click.IntRange(min=1), default=5, show_default=True, help="How many similar tasks.")
@options.seed_option
@options.json_option
def metafeatures(
    *,
    task: str,
    target: str | None,
    task_type: Any,
    store_url: str | None,
    by: str | None,
    n: int,
    seed: int,
    as_json: bool,
) -> None:
    """Describe a task by numbers, and name the stored tasks that are most like it."""
    if by and not store_url:
        raise click.UsageError("--by says how to compare with --similar-to STORE, which is missing.")
    from metaml.data import load_task
    from metaml.similar import describe_and_compare

    loaded = load_task(task, target, type=task_type)
    vector, similar = describe_and_compare(loaded, store_url, by=by or MEASURES[0], n=n, seed=seed)
    if as_json:
        values = {str(name): float(value) if math.isfinite(value) else None for name, value in vector.items()}
        found = {} if similar is None else {"similar": similar}
        print_json({"task": loaded.name, "fingerprint": loaded.fingerprint, "metafeatures": values, **found})
        return
    click.echo(f"{loaded.name}: {loaded.type}, {loaded.extent}")
    for name, value in vector.items():
        click.echo(f"{name!s:>32s}  {value:.6g}")
    if similar is not None:
        _print_similar(similar)


def _print_similar(similar: dict[str, Any]) -> None:
    click.echo(f"\nnearest of {similar['compared']} tasks of {similar['store']} by {similar['by']} distance:")
    for place, task in enumerate(similar["tasks"], start=1):
        kind = f"{task['type']}, {task['rows']} rows, {task['tried']} configurations tried"
        click.echo(f"{place}. {task['name']} ({kind}): {task['distance']:.4g}")
        for word in ("alike", "unlike"):
            reasons = ", ".join(f"{r['feature']} {_short(r['this'])} / {_short(r['that'])}" for r in task[word])
            click.echo(f"   {word + ':':8s}{reasons or '–'}")


def _short(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"
