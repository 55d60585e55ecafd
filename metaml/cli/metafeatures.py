"""``metaml metafeatures``."""

from __future__ import annotations

import math
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json


@click.command()
@options.task_options
@options.seed_option
@options.json_option
def metafeatures(task: str, target: str | None, task_type: Any, seed: int, as_json: bool) -> None:
    """Describe a task by numbers: the vector by which similar tasks are found."""
    from metaml.context import describe_task
    from metaml.data import load_task

    loaded = load_task(task, target, type=task_type)
    values = describe_task(loaded, seed=seed)
    if as_json:
        vector = {str(name): float(value) if math.isfinite(value) else None for name, value in values.items()}
        print_json({"task": loaded.name, "fingerprint": loaded.fingerprint, "metafeatures": vector})
        return
    click.echo(f"{loaded.name}: {loaded.type}, {len(loaded.y)} rows, {len(loaded.columns)} columns")
    for name, value in values.items():
        click.echo(f"{name!s:>32s}  {value:.6g}")
