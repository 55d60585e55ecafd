"""Probes of the kernels that a network quantised to int8 has in the place of its dense ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.probes import MAX_COPIES, Probe, probe


def quantised(probes: Iterable[Probe]) -> list[Probe]:
    """Return the probes of an int8 table from those of a floating-point one.

    A dense kernel gives way to its quantised form and to the conversions of its input and of its output; one with an
    activation has no quantised form of its own, because the activation becomes the lower end of the output's range.
    """
    kept: list[Probe] = []
    for probed in probes:
        if probed.kernel.op.split(":")[0] not in {"Gemm", "FusedGemm"}:
            kept.append(probed)
            continue
        sizes = probed.kernel.sizes
        rows, n_in, n_out = (sizes[name] for name in ("rows", "n_in", "n_out"))
        kept.append(dense(n_in, n_out, rows, sizes["working_set"]))
        if len(kept) % 4 == 0:
            kept += [conversion("QuantizeLinear", n_in, rows), conversion("DequantizeLinear", n_out, rows)]
    return kept


def dense(n_in: int, n_out: int, rows: int, working_set: int) -> Probe:
    """Return a probe of ``QGemm``; its weights take a quarter of the bytes of floating-point ones."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        shapes = {"x_scale": (), "x_zero": (), "w": (n_out, n_in), "w_scale": (), "w_zero": (), "b": (n_out,)}
        constants = [Parameter(f"{name}{k}", shape) for name, shape in {**shapes, "y_scale": (), "y_zero": ()}.items()]
        return graph.add("QGemm", x, *constants, output=(BATCH, n_out), transB=1, dtype="uint8")

    copies = int(np.clip(working_set // (n_in * n_out), 1, MAX_COPIES))
    return probe(add, (BATCH, n_in), rows=rows, dtype="uint8", copies=copies, high=256)


def conversion(op: str, width: int, rows: int) -> Probe:
    """Return a probe of ``QuantizeLinear`` or ``DequantizeLinear``."""
    dtype = "uint8" if op == "DequantizeLinear" else None

    def add(graph: OpGraph, x: str, k: int) -> str:
        constants = Parameter(f"scale{k}", ()), Parameter(f"zero{k}", ())
        return graph.add(op, x, *constants, output=(BATCH, width), **({"dtype": dtype} if dtype else {}))

    return probe(add, (BATCH, width), rows=rows, dtype=dtype, copies=MAX_COPIES, high=256)
