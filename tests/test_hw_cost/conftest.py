"""A table whose kernels follow a law that the tests know."""

import pytest

from hw_cost.correction import GROUPS, Correction
from hw_cost.devices import Device
from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import Kernel
from hw_cost.table import LatencyTable
from hw_cost.table_format import Row


def row(op: str, latency: float, **sizes: int) -> Row:
    return Row(Kernel(op, sizes), latency, 0.98 * latency, 1.02 * latency, 8)


def make_table(correction: Correction | None = None) -> LatencyTable:
    rows = [row("Call", 4.0 + n, inputs=n, strings=0) for n in (1, 2, 3)]
    rows += [
        row("Gemm", 0.5 + 1e-5 * i * o, rows=1, n_in=i, n_out=o, working_set=4 * i * o)
        for i in (16, 64, 256, 1024)
        for o in (16, 64, 256, 1024)
    ]
    rows += [row("Relu", 0.3 + 1e-4 * n, bytes=n, spans=1, inner=0) for n in (64, 512, 4096)]
    fitted = correction or Correction(0.0, dict.fromkeys(GROUPS, 1.0), 0.05, 10)
    return LatencyTable(Device.here(), tuple(rows), fitted, 9.0, None, {"measured_at": "2026-01-01", "kind": "test"})


@pytest.fixture
def table() -> LatencyTable:
    return make_table()


def perceptron(width: int = 64, layers: int = 2, activation: str = "Gelu") -> OpGraph:
    graph = OpGraph()
    x = graph.input("x", (BATCH, width))
    for k in range(layers):
        constants = Parameter(f"{k}.w", (width, width)), Parameter(f"{k}.b", (width,))
        x = graph.add("Gemm", x, *constants, output=(BATCH, width), transB=1)
        x = graph.add(activation, x, output=(BATCH, width))
    return graph
