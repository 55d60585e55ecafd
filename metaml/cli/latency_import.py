"""``metaml latency import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import UsageError

file_type = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=file_type)
@click.option("--name", help="What to call the device of a published table.")
@click.option("--others", multiple=True, type=file_type, help="Published tables of other devices, to find copies.")
@click.option("--out", type=options.OutFile(), required=True, help="JSON file of the latency table.")
@options.json_option
def import_(files: tuple[Path, ...], name: str | None, others: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make a latency table of a kit's result.json, or of published tables.

    The published formats are those of OFA, ProxylessNAS, Single-Path, FasterSeg and TinyNAS; such FILES are of one
    device, one for each resolution for instance. What was dropped is told with the reason.
    """
    from hw_cost import TableError, TooNoisy
    from hw_cost.importers import import_tables

    try:
        if result := _kit_result(files):
            _import_kit(result, out, as_json)
            return
        if not name:
            raise UsageError("Published tables do not name their device; please give --name.")
        imported = import_tables(files, name, others=others)
    except (TableError, TooNoisy) as error:
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


def _kit_result(files: tuple[Path, ...]) -> dict[str, Any] | None:
    """Return the result of a kit's runner, or None when the only file is not one."""
    from hw_cost.kit import RESULT

    if len(files) != 1:
        return None
    try:
        content = json.loads(files[0].read_text(encoding="utf-8"))
    except ValueError as error:
        if files[0].suffix == ".json":
            raise UsageError(f"{files[0]} is not a complete JSON file ({error}); please copy it again.") from error
        return None  # of a published format, perhaps
    return content if isinstance(content, dict) and content.get("format") == RESULT else None


def _import_kit(result: dict[str, Any], out: Path, as_json: bool) -> None:
    from hw_cost.kit import table_of

    table = table_of(result)
    table.save(out)
    certificate = dict(table.certificate or {})
    if as_json:
        print_json({"table": str(out), "device": table.device.to_json(), "kernels": len(table.rows), **certificate})
        return
    click.echo(f"{len(table.rows)} kernels of {table.device.chip} written to {out}")
    click.echo(
        f"on {certificate['n']:.0f} networks that were used for nothing else: MAPE {certificate['mape']:.1f} %, "
        f"within ±10 %: {100 * certificate['within_10pct']:.0f} %, Spearman {certificate['spearman']:.4f}"
    )
