"""``metaml latency roofline``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metaml.cli import options
from metaml.cli.output import print_json
from metaml.errors import SearchError, UsageError

FORMATS = (".png", ".svg", ".pdf")


@click.command()
@click.option("--table", default="cpu", show_default=True, help="File of a latency table of this machine; cpu or gpu.")
@click.option("--out", type=options.OutFile(), help="Picture: .png, .svg or .pdf; needs the extra plots.")
@click.option("--time", "time_limit", type=options.Duration(), default="20s", show_default=True, help="For measuring.")
@options.json_option
def roofline(table: str, out: Path | None, time_limit: float, as_json: bool) -> None:
    """Say what bounds each kernel of this machine: compute, memory, or the start of a kernel.

    Peak and bandwidth are measured now; the kernels are those of the latency table.
    """
    from hw_cost import TooNoisy
    from hw_cost.roofline import measure_roofs, place
    from metaml.latency import open_device

    if out is not None and out.suffix not in FORMATS:
        raise UsageError(f"{out} must end in {', '.join(FORMATS)}.")
    opened = open_device(table, uncertified=True)
    if not opened.is_here:
        raise UsageError(
            f"The latency table is of another machine ({opened.table.device.chip}), whose roofs are unknown."
        )
    if opened.table.provenance.get("kind") == "adapted":
        raise UsageError("The kernels must have been measured on this machine; please run metaml latency build first.")
    try:
        roofs = measure_roofs(opened.table.rows, opened.table.runtime, time_limit_s=time_limit)
    except TooNoisy as error:
        raise SearchError(str(error)) from error
    placed = place(opened.table.rows, roofs)
    if out is not None:
        _draw(placed, roofs, opened.table.device.chip, out)
    if as_json:
        kernels = [
            {"kernel": str(k.row.kernel), "latency_us": k.row.latency_us, "bound": k.bound, "efficiency": k.efficiency}
            for k in placed
        ]
        bandwidths = [{"bytes": size, "bytes_per_s": speed} for size, speed in roofs.bandwidths]
        answer = {"peak_flops": roofs.peak_flops, "bandwidths": bandwidths, "start_us": roofs.start_us}
        print_json({**answer, "kernels": kernels, "figure": str(out) if out else None})
        return
    click.echo(f"peak {1e-9 * roofs.peak_flops:.1f} GFLOP/s; a kernel takes {roofs.start_us:.2f} µs to start")
    for size, speed in roofs.bandwidths:
        click.echo(f"  {1e-9 * speed:7.1f} GB/s for {size / 2**10:8.0f} KiB moved")
    for bound in ("compute", "memory", "overhead"):
        ours = sorted((kernel for kernel in placed if kernel.bound == bound), key=lambda kernel: -kernel.row.latency_us)
        click.echo(f"{len(ours)} kernels bound by {bound}, the longest:")
        for kernel in ours[:3]:
            share = f"{100 * kernel.efficiency:.0f} % of the roof"
            click.echo(f"  {kernel.row.latency_us:9.2f} µs  {share:18s} {kernel.row.kernel}")


def _draw(placed: Any, roofs: Any, title: str, out: Path) -> None:
    from hw_cost.roofline_figure import draw

    try:
        draw(placed, roofs, title, out)
    except ImportError as error:
        raise UsageError("A figure needs matplotlib; please install metaml[plots], or leave --out away.") from error
    except ValueError as error:
        raise UsageError(f"{out}: {error}") from error
    click.echo(f"figure: {out}", err=True)
