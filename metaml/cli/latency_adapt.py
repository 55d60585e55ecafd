"""``metaml latency adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import UsageError

if TYPE_CHECKING:
    from hw_cost import LatencyTable
    from hw_cost.adaptation import Sample

FEW = 10
"""Networks without which an adapted table is said to be a poor one."""
COLUMNS = ("model", "latency_ms")


@click.command()
@click.argument("measured", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", required=True, help="What to call the new device, such as its processor.")
@click.option(
    "--from",
    "known",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Latency table of a known device; several times for several. Default: those that come with metaml.",
)
@click.option("--out", type=options.OutFile(), required=True, help="JSON file of the adapted table.")
@options.json_option
def adapt(measured: Path, name: str, known: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make the latency table of a new device from 10 to 20 networks measured there.

    MEASURED is a CSV file with the columns model (ONNX file, beside the CSV file or absolute) and latency_ms, and
    perhaps batch. Known devices are the tables given by --from, or those that come with metaml. The error of each
    method on each network, foretold from the others, is printed beside those of the additive model and of the best
    single known device.
    """
    from dataclasses import replace
    from datetime import UTC, datetime

    from hw_cost.adaptation import adapt_tables

    samples = _read_samples(measured)
    try:
        table, agreements = adapt_tables(_known_tables(known), samples)
    except ValueError as error:
        raise UsageError(f"{measured}: {error}") from error
    made = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = {"kind": "adapted", "adapted_from": table.device.to_json(), "networks": len(samples), "seconds": 0.0}
    new = replace(table.device, cpu=name, cpu_signature="as told", governor=None, frequency_mhz=None, load=None)
    replace(table, device=new, provenance={**provenance, "measured_at": made}).save(out)
    if as_json:
        figures = {agreement.method: [agreement.median_ape, agreement.spearman] for agreement in agreements}
        answer = {method: {"median_ape": ape, "spearman": rank} for method, (ape, rank) in figures.items()}
        print_json({"table": str(out), "nearest": table.device.slug, "n": len(samples), "leave_one_out": answer})
        return
    click.echo(f"table of {name} written to {out}; nearest known device: {table.device.slug}")
    if len(samples) < FEW:
        click.echo(f"only {len(samples)} networks were measured: with 10 to 20 a table can be relied on", err=True)
    click.echo(f"each of the {len(samples)} networks foretold from the others:")
    for agreement in agreements:
        click.echo(
            f"  {agreement.method:11s} median error {agreement.median_ape:5.1f} %, Spearman {agreement.spearman:.3f}"
        )


def _read_samples(path: Path) -> list[Sample]:
    import pandas as pd

    from hw_cost.adaptation import Sample

    try:
        table = pd.read_csv(path)
    except ValueError as error:  # pandas has no other common base for what is empty, binary or no table
        raise UsageError(f"{path} is no CSV file with the columns {' and '.join(COLUMNS)} ({error}).") from error
    if missing := [column for column in COLUMNS if column not in table]:
        raise UsageError(f"{path} must have the columns {' and '.join(COLUMNS)}; missing are {', '.join(missing)}.")
    samples = []
    for row in table.to_dict("records"):
        model = path.parent / str(row["model"])
        if not model.is_file():
            raise UsageError(f"{path}: there is no ONNX file {model}.")
        try:
            latency, batch = float(row["latency_ms"]), int(row.get("batch", 1))
        except ValueError as error:
            raise UsageError(f"{path}, {row['model']}: latency_ms and batch must be numbers ({error}).") from error
        if not 0 < latency < float("inf") or batch < 1:
            raise UsageError(f"{path}, {row['model']}: latency_ms must be positive and batch at least 1.")
        samples.append(Sample(model, latency, batch))
    return samples


def _known_tables(paths: tuple[Path, ...]) -> list[LatencyTable]:
    from hw_cost import LatencyTable, TableError
    from hw_cost.shipped import SHIPPED

    try:
        return [LatencyTable.load(path) for path in paths or sorted(SHIPPED.glob("*.json"))]
    except TableError as error:
        raise UsageError(str(error)) from error
