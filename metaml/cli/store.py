"""``metaml store``."""

from __future__ import annotations

import click

from metaml.cli import options
from metaml.cli.output import print_json


@click.group()
def store() -> None:
    """Look after the metadata store of past results."""


@store.command()
@click.option("--store", "store_url", help="Path or URL; by default the one in your user data folder.")
@options.json_option
def info(store_url: str | None, as_json: bool) -> None:
    """Say where the store is and what it holds."""
    from metaml.store import Store

    with Store.open(store_url, create=False, read_only=True) as opened:
        content = opened.info()
    if as_json:
        print_json(content)
        return
    for name, value in content.items():
        click.echo(f"{name:>16s}  {value}")
