"""``metaml suggest``."""

from __future__ import annotations

from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json, settings


@click.command()
@options.task_options
@options.latency_options
@options.warm_start_option
@options.store_options
@click.option("-n", "n", type=click.IntRange(min=1), default=5, show_default=True, help="How many configurations.")
@options.seed_option
@options.json_option
def suggest(
    *,
    task: str,
    target: str | None,
    task_type: Any,
    store_url: str | None,
    no_store: bool,
    n: int,
    as_json: bool,
    **rest: Any,
) -> None:
    """Say what to try first on a task, without any evaluation, and why."""
    from metaml.automl import store_location
    from metaml.data import load_task
    from metaml.request import SearchRequest
    from metaml.suggest import suggest as run_suggest

    store = store_location(options.store_argument(store_url, no_store))
    answer = run_suggest(SearchRequest(store=store, **rest), load_task(task, target, type=task_type), n=n)
    if as_json:
        print_json(answer)
        return
    for i, suggestion in enumerate(answer["suggestions"], start=1):
        error, latency = suggestion["error"], suggestion["latency_ms"]
        foreseen = "never tried yet"
        if error["tasks"]:
            spread = f"{error['p10']:.3f}–{error['p90']:.3f} on {error['tasks']} tasks"
            foreseen = f"error {error['median']:.3f} ({spread})"
        costs = f"{latency:.4f} ms" if latency is not None else "latency unknown"
        click.echo(f"{i}. {settings(suggestion['configuration'])}")
        click.echo(f"   {suggestion['source']}: {foreseen}, {costs}")
    click.echo(f"why: {answer['why']}")
    if not answer["is_here"]:
        click.echo(f"latencies are foretold for {answer['device']}, which is not this machine")
