"""``metaml latency kit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import SearchError, UsageError

if TYPE_CHECKING:
    from hw_cost import LatencyTable
    from hw_cost.kit import Kit


@click.command()
@click.option("--out", type=options.OutFile(), required=True, help="The zip; with --ssh, the table's JSON file.")
@click.option("--full", is_flag=True, help="All kernels: about five minutes on the device instead of two.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a prediction.")
@click.option("--ssh", "host", metavar="USER@HOST", help="Copy, run and fetch in one step; needs a key, no password.")
@click.option("--ssh-option", "ssh_options", multiple=True, metavar="NAME=VALUE", help="Such as Port=2222.")
@click.option("--python", default="python3", show_default=True, help="Python on the device, for --ssh.")
@click.option("--time", "time_limit", type=options.Duration(), default="5m", show_default=True, help="For --ssh.")
@options.json_option
def kit(
    out: Path,
    full: bool,
    threads: int,
    host: str | None,
    ssh_options: tuple[str, ...],
    python: str,
    time_limit: float,
    as_json: bool,
) -> None:
    """Pack what measures a small device that cannot run metaml itself.

    The device needs Python 3.9, numpy and onnxruntime. Copy the zip there, unpack it (python3 -m zipfile -e kit.zip .),
    run python3 run.py, which can be stopped and goes on, and bring result.json back to metaml latency import.
    """
    from hw_cost.kit import Kit

    made = Kit.make(quick=not full, threads=threads)
    if host is None:
        made.write(out)
        answer = {"kit": str(out), "models": len(made.probes), "bytes": out.stat().st_size}
        text = f"{out}, {out.stat().st_size / 2**20:.1f} MiB: unpack it on the device and run python3 run.py there"
    else:
        table = _over_ssh(made, (host, ssh_options, python), time_limit)
        table.save(out)
        answer = {"table": str(out), "device": table.device.to_json(), **(table.certificate or {})}
        text = f"{len(table.rows)} kernels of {table.device.chip} written to {out}"
    if as_json:
        print_json(answer)
    else:
        click.echo(text)


def _over_ssh(made: Kit, where: tuple[str, tuple[str, ...], str], time_limit: float) -> LatencyTable:
    from hw_cost import TableError, TooNoisy
    from hw_cost.remote import Remote, RemoteError

    try:
        return made.table(Remote(*where).measure(made, time_limit))
    except RemoteError as error:
        raise UsageError(str(error)) from error
    except (TableError, TooNoisy) as error:
        raise SearchError(f"{error} What was measured is kept on the device: run the same command again.") from error
