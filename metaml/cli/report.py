"""``metaml report``."""

from __future__ import annotations

from pathlib import Path

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.cli.search import print_answer
from metaml.errors import UsageError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@options.json_option
def report(run: Path, as_json: bool) -> None:
    """Show the answer of a finished search; RUN is its folder."""
    from metaml.run_folder import RunFolder

    result = RunFolder.open(run).result
    if result is None:
        raise UsageError(f"{run} has no answer yet: metaml resume {run}")
    if as_json:
        print_json(result)
    else:
        print_answer(result)
