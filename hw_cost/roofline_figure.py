"""The roofline of a device and the latency of its kernels over their FLOPs, drawn with matplotlib (extra ``plots``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw_cost.roofline import CLASSES, Placed, Roofs

COLORS = {"compute": "#c44e52", "memory": "#4c72b0", "overhead": "#8c8c8c"}
INK, PALE = "#333333", "#d9d9d9"


def draw(placed: Sequence[Placed], roofs: Roofs, title: str, path: str | Path) -> None:
    """Write a picture; the suffix tells the format (PNG, SVG, PDF).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is nothing to draw, or no such format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    working = [kernel for kernel in placed if kernel.flops]
    if not working:
        raise ValueError("no kernel has FLOPs that are known")
    _roofline(left, working, roofs)
    _latencies(right, working, roofs)
    figure.suptitle(title, fontsize=13, color=INK)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK)
    figure.savefig(path, dpi=150)


def _roofline(axes: Any, kernels: Sequence[Placed], roofs: Roofs) -> None:
    """Draw performance over intensity, under the roofs of the fastest cache and of memory."""
    intensities = [kernel.intensity for kernel in kernels]
    span = np.geomspace(min([0.05, *intensities]) / 2, max([100.0, *intensities]) * 2, 200)
    speeds = [speed for _, speed in roofs.bandwidths]
    peak = 1e-9 * roofs.peak_flops
    for speed, name, style, shift in ((max(speeds), "cache", "--", (-2, 14)), (speeds[-1], "memory", "-", (10, -12))):
        axes.plot(span, np.minimum(peak, 1e-9 * speed * span), style, color=INK, linewidth=1.4, zorder=1)
        place = span[0] * 1.5
        text = f"{name} {1e-9 * speed:.0f} GB/s"
        axes.annotate(text, (place, 1e-9 * speed * place), shift, textcoords="offset points", fontsize=9, color=INK)
    axes.annotate(
        f"peak {peak:.0f} GFLOP/s", (span[-1], peak), (-4, 5), textcoords="offset points", ha="right", color=INK
    )
    _points(axes, kernels, intensities, [1e-3 * kernel.flops / kernel.row.latency_us for kernel in kernels])
    _dress(axes, "intensity, FLOP / byte", "performance, GFLOP / s", "Roofline")


def _latencies(axes: Any, kernels: Sequence[Placed], roofs: Roofs) -> None:
    """Draw latency over FLOPs: were FLOPs all that counts, the points would lie on the line of the peak."""
    flops = np.array([kernel.flops for kernel in kernels])
    span = np.geomspace(flops.min() / 2, flops.max() * 2, 100)
    axes.plot(span, 1e6 * span / roofs.peak_flops, color=INK, linewidth=1.4, zorder=1)
    axes.axhline(roofs.start_us, color=INK, linewidth=1.0, linestyle=":", zorder=1)
    axes.annotate(
        f"start of a kernel {roofs.start_us:.2f} µs", (span[-1], roofs.start_us), (-4, 5), ha="right", color=INK,
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    latencies = [kernel.row.latency_us for kernel in kernels]
    _points(axes, kernels, flops, latencies)
    axes.set_ylim(min(*latencies, roofs.start_us) / 2, 2 * max(latencies))
    _dress(axes, "FLOPs", "latency, µs", "FLOPs are not latency")


def _points(axes: Any, kernels: Sequence[Placed], x: Any, y: Any) -> None:
    x, y, bounds = np.array(x), np.array(y), np.array([kernel.bound for kernel in kernels])
    for bound in CLASSES:
        ours = bounds == bound
        style = {"s": 26, "alpha": 0.75, "linewidths": 0.4, "edgecolors": "white", "zorder": 3}
        axes.scatter(x[ours], y[ours], color=COLORS[bound], label=f"{bound} ({ours.sum()})", **style)


def _dress(axes: Any, x: str, y: str, title: str) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_axisbelow(True)
    axes.grid(color=PALE, linewidth=0.6)
    axes.tick_params(colors=INK, which="both", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
