"""``metaml latency import``."""

from __future__ import annotations

from pathlib import Path

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import UsageError

file_type = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=file_type)
@click.option("--name", help="What to call the device of a published table.")
@click.option("--others", multiple=True, type=file_type, help="Published tables of other devices, to find copies.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file of the latency table.")
@options.json_option
def import_(files: tuple[Path, ...], name: str | None, others: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make a latency table of published ones: OFA, ProxylessNAS, Single-Path, FasterSeg and TinyNAS.

    FILES are of one device, such as one for each resolution. What was dropped is told with the reason.
    """
    from hw_cost import TableError
    from hw_cost.importers import import_tables

    if not name:
        raise UsageError("Published tables do not name their device; please give --name.")
    try:
        imported = import_tables(files, name, others=others)
    except TableError as error:
        raise UsageError(str(error)) from error
    imported.table.save(out)
    kept = len(imported.table.rows)
    if as_json:
        print_json(
            {
                "table": str(out),
                "read": imported.read,
                "kernels": kept,
                "merged": imported.merged,
                "dropped": imported.dropped,
            }
        )
        return
    click.echo(f"{kept} kernels of {name} written to {out}, from {imported.read} entries")
    if imported.merged:
        click.echo(f"  {imported.merged} entries have operator, FLOPs and bytes of another one: their mean is kept")
    for reason, keys in imported.dropped.items():
        click.echo(f"  {len(keys)} dropped: {reason} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
