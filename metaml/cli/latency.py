"""``metaml latency``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metaml.cli import options
from metaml.cli.latency_adapt import adapt
from metaml.cli.latency_checks import require_here, require_settings
from metaml.cli.latency_import import import_
from metaml.cli.latency_kit import kit
from metaml.cli.latency_profile import profile
from metaml.cli.latency_roofline import roofline
from metaml.cli.output import print_json
from metaml.errors import SearchError, UsageError

if TYPE_CHECKING:
    from metaml.latency import DeviceTable

table_option = click.option("--table", default="cpu", show_default=True, help="File of a latency table; cpu or gpu.")
any_device_option = click.option(
    "--any-device", is_flag=True, help="Use the table although it is of another device, version or setting."
)
batch_option = click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Rows of a call.")


@click.group()
def latency() -> None:
    """Build and use the latency table of a device."""


@latency.command()
@click.option("--out", type=options.OutFile(), help="JSON file; default: where searches on this machine look.")
@click.option(
    "--time",
    "time_limit",
    type=options.Duration(),
    help="Default: 10 minutes, or 90 s for a quick build; a longer build measures more kernels.",
)
@click.option("--quick", is_flag=True, help="Measure fewer kernels.")
@options.runtime_options
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 32),
    show_default=True,
    help="Rows of a call; several times for several.",
)
@options.seed_option
@options.json_option
def build(out: Path | None, time_limit: float | None, quick: bool, seed: int, as_json: bool, **settings: Any) -> None:
    """Measure the kernels that a runtime executes on this machine and write its latency table.

    A build that was stopped goes on where it was. Keep the machine quiet: a measurement that is too noisy is refused.
    """
    from hw_cost import LatencyTable, TableError, TooNoisy, build_table
    from metaml.latency import device_here, latency_cache

    device = device_here(**settings)
    path = out or latency_cache() / f"{device.slug}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial.json")
    try:
        table = build_table(
            device, quick=quick, time_limit_s=time_limit, progress=_progress(), resume=unfinished, seed=seed
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TooNoisy as error:
        raise SearchError(f"{error} What was measured is kept: run the same command again.") from error
    table.save(path)
    try:
        LatencyTable.load(path)
    except TableError as error:
        raise SearchError(f"The table cannot be read back: {error} The measurements are in {unfinished}.") from error
    unfinished.unlink(missing_ok=True)
    answer = {"table": str(path), "device": device.to_json(), "kernels": len(table.rows), **(table.certificate or {})}
    if as_json:
        print_json(answer)
        return
    click.echo(f"{len(table.rows)} kernels of {device.chip} written to {path}")
    if table.certificate:
        n = table.certificate["n"]
        click.echo(f"on {n:.0f} networks that were used for nothing else: {_verdict(table.certificate)}")


@latency.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@table_option
@batch_option
@options.runtime_options
@any_device_option
@options.json_option
def predict(model: Path, table: str, batch: int, any_device: bool, as_json: bool, **settings: Any) -> None:
    """Predict the latency of an ONNX file."""
    opened = _open(table, settings)
    if not any_device:
        require_settings(opened, **settings)
    try:
        cost = opened.table.predict(model, batch=batch)
    except ValueError as error:
        raise UsageError(f"{model}: {error}") from error
    answer: dict[str, Any] = {
        "latency_ms": cost.latency_ms,
        "interval_ms": [cost.low_ms, cost.high_ms],
        "coverage": cost.coverage,
        "unseen": list(cost.unseen),
        "kernels": [kernel.to_json() for kernel in cost.kernels],
    }
    if as_json:
        print_json(answer)
        return
    click.echo(f"{cost.latency_ms:.4f} ms, between {cost.low_ms:.4f} and {cost.high_ms:.4f} ms with 90 % confidence")
    click.echo(f"{100 * cost.coverage:.0f} % of it from kernels measured at such sizes")
    for kernel in sorted(cost.kernels, key=lambda kernel: -kernel.latency_us)[:10]:
        sizes = " ".join(f"{name}={value}" for name, value in dict(kernel.kernel.sizes).items())
        click.echo(f"  {kernel.latency_us:8.2f} us  {kernel.kernel.op:24s} {sizes}  ({kernel.known})")


@latency.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@table_option
@click.option("--batch", "batches", type=click.IntRange(min=1), multiple=True, help="Default: 1; networks also 32.")
@click.option("--time", "time_limit", type=options.Duration(), default="60s", show_default=True, help="For measuring.")
@click.option(
    "--data",
    type=click.Path(exists=True),
    help="Rows to measure MODELS with, which a search must have written: how long trees take depends on them.",
)
@click.option("--certify", is_flag=True, help="Write what was found into the table's file as its certificate.")
@options.runtime_options
@any_device_option
@options.seed_option
@options.json_option
def validate(
    models: tuple[Path, ...],
    table: str,
    batches: tuple[int, ...],
    data: str | None,
    any_device: bool,
    certify: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Measure networks and compare with what the table predicts.

    MODELS are ONNX files, measured on the rows of --data or on random ones; without any, random networks of every kind
    that no build has seen.
    """
    from hw_cost import TooNoisy
    from metaml.cli.latency_validation import rows_for, run_validation

    limits = {name: rest.pop(name) for name in ("time_limit", "seed")}
    opened = _open(table, rest)
    if not any_device:
        require_settings(opened, **rest)
    if certify or not any_device:  # a certificate is of the device itself
        require_here(opened)
    if certify and (models or not Path(table).is_file()):
        raise UsageError(
            "--certify needs the file of a table, and networks that nobody chose: give --table, no MODELS."
        )
    if data is not None and not models:
        raise UsageError("--data are rows for MODELS: say which.")
    try:
        feeds = None if data is None else rows_for(models, data)
        validated = run_validation(opened.table, models, batches, feeds=feeds, **limits)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TooNoisy as error:
        raise SearchError(str(error)) from error
    verdicts = validated.verdicts
    if certify:
        replace(opened.table, certificate=verdicts["all"]).save(table)
    if as_json:
        batches_told = {name: part for name, part in verdicts.items() if name != "all"}
        print_json({**verdicts["all"], "batches": batches_told, "models": validated.models})
        return
    for told in validated.models:
        low, high = told["interval_ms"]
        foretold = f"{told['predicted_ms']:.4f} ms predicted (between {low:.4f} and {high:.4f})"
        click.echo(f"{told['model']}, batch {told['batch']}: {told['measured_ms']:.4f} ms measured, {foretold}")
    for name, part in verdicts.items():
        click.echo(f"{name}: {part['n']:.0f} network{'s' if part['n'] > 1 else ''}: {_verdict(part)}")


@latency.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@table_option
@options.json_option
def show(file: Path | None, table: str, as_json: bool) -> None:
    """Say what a latency table is of, how it was made and how good it is: that of FILE, or of --table."""
    from metaml.latency import HERE

    if file is None and table not in HERE:
        file = Path(table)
    opened = _open(table, {}) if file is None else _read(file)
    content: dict[str, Any] = {
        "device": opened.table.device.to_json(),
        "kernels": len(opened.table.rows),
        "certificate": dict(opened.table.certificate) if opened.table.certificate else None,
        "how": opened.how,
    }
    if as_json:
        print_json(content)
        return
    click.echo(opened.how)
    for name, value in content["device"].items():
        click.echo(f"{name:>18s}  {value}")
    click.echo(f"{'kernels':>18s}  {content['kernels']}")
    click.echo(f"{'certificate':>18s}  {_verdict(opened.table.certificate) if opened.table.certificate else 'none'}")


def _read(file: Path) -> DeviceTable:
    """Return the table of a file, whatever it may be used for."""
    from hw_cost import LatencyTable, TableError
    from metaml.latency import DeviceTable

    try:
        return DeviceTable(LatencyTable.load(file), f"latency table {file}")
    except TableError as error:
        raise UsageError(str(error)) from error


def _open(table: str, settings: dict[str, Any]) -> DeviceTable:
    from metaml.latency import HERE, device_here, open_device

    if table not in HERE:
        if not Path(table).is_file():
            raise UsageError(f"There is no latency table {table}; make one with metaml latency build --out {table}.")
        return open_device(table, uncertified=True)
    here = device_here(**{**settings, "runtime": settings.get("runtime") or HERE[table]})
    return open_device(table, here=here, uncertified=True)


def _verdict(certificate: Any) -> str:
    ranks = f"Spearman {certificate['spearman']:.4f}, " if certificate["n"] > 2 else ""  # two are always in some order
    return (
        f"MAPE {certificate['mape']:.1f} %, within ±10 %: {100 * certificate['within_10pct']:.0f} %, "
        f"{ranks}inside the interval: {100 * certificate['interval_coverage']:.0f} %"
    )


def _progress() -> Any:
    """Return a callback that keeps one progress bar on stderr for each stage."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    tasks: dict[str, Any] = {}
    bars.start()

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
            if not console.is_terminal:
                click.echo(f"{stage}: {total}", err=True)
        bars.update(tasks[stage], completed=done, total=total)
        if all(bars.tasks[i].finished for i in tasks.values()) and stage == "validation":
            bars.stop()

    return report


for command in (adapt, import_, kit, profile, roofline):
    latency.add_command(command)
