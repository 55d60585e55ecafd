"""Networks whose kernels follow a law that the tests know."""

import pytest

from hw_cost.apportion import apportion
from hw_cost.bench import Measurement
from hw_cost.devices import Device
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.networks import random_networks
from hw_cost.table import LatencyTable


def latency_us(kernel: Kernel) -> float:
    sizes = kernel.sizes
    if kernel.kind == "dense":
        return 2.0 + 1e-4 * sizes["rows"] * sizes["n_in"] * 16 * -(-sizes["n_out"] // 16)
    return 5.0 if kernel.op == "Call" else 1.0


def figure(us: float) -> Measurement:
    return Measurement(1e-3 * us, 1e-3 * us, 0.9e-3 * us, 1.1e-3 * us, 0.01, 10, 100, 0, 9.0)


@pytest.fixture(scope="module")
def measured():
    networks = [kernels_of(network.graph) for network in random_networks(180, seed=8) if "trees" not in network.name]
    return [(kernels, figure(sum(map(latency_us, kernels)))) for kernels in networks]


def test_networks_are_foretold_from_the_rows_alone(measured):
    table = LatencyTable(Device.here(), apportion(measured))
    sums = [sum(table.kernel_cost(kernel).latency_us for kernel in kernels) for kernels, _ in measured]
    errors = [abs(total / (1e3 * figure.median_ms) - 1) for total, (_, figure) in zip(sums, measured, strict=True)]
    assert sorted(errors)[int(0.9 * len(errors))] < 0.1, "nine tenths within ±10 %"


def test_of_many_kernels_some_are_kept_with_the_extremes():
    kernels = [Kernel("Relu", {"bytes": 4 * n, "spans": 1, "inner": 0}) for n in range(1, 1001)]
    rows = apportion([([kernel], figure(1.0 + n)) for n, kernel in enumerate(kernels)])
    assert len(rows) <= 100 and {kernels[0], kernels[-1]} <= {row.kernel for row in rows}


def test_a_law_of_the_kernels_is_found_in_networks_alone(measured):
    rows = {row.kernel: row for row in apportion(measured)}
    heavy = [row for kernel, row in rows.items() if latency_us(kernel) > 5]
    errors = [abs(row.latency_us / latency_us(row.kernel) - 1) for row in heavy]
    assert len(heavy) > 20 and sorted(errors)[int(0.9 * len(errors))] < 0.1, "nine tenths within ±10 %"


def test_every_kernel_takes_some_time_and_keeps_its_interval(measured):
    rows = apportion(measured)
    assert {row.kernel.op for row in rows} == {kernel.op for kernels, _ in measured for kernel in kernels}
    assert all(0 < row.low_us <= row.latency_us <= row.high_us for row in rows)


def test_a_view_is_not_blamed_for_what_stands_beside_it():
    views = [Kernel("Flatten", {"bytes": 4 * n, "spans": 1, "inner": 0}) for n in range(1000, 100_000, 1000)]
    rows = apportion([([view], figure(1.0 + view.sizes["bytes"] / 500)) for view in views])
    assert len({row.latency_us for row in rows}) == 1


def test_a_table_of_apportioned_rows_can_be_read_back(tmp_path):
    kernels = [Kernel("Relu", {"bytes": 4 * n, "spans": 1, "inner": 0}) for n in range(10_000, 10_100)]
    strange = Kernel("Relu", {"bytes": 40_200, "spans": 50, "inner": 1})
    told = [([kernel], figure(1.0)) for kernel in kernels] + [([strange], figure(1e5))]
    LatencyTable(Device.here(), apportion(told)).save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").rows
