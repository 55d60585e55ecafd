"""What bounds a kernel, under roofs that the test makes up, and the roofs of this machine."""

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from hw_cost.bench import TooNoisy
from hw_cost.roofline import Roofs, measure_roofs, place
from hw_cost.roofline_figure import draw
from metaml.cli.latency import latency
from metaml.errors import SearchError, UsageError

from .conftest import make_table, row

ROOFS = Roofs(peak_flops=1e9, bandwidths=((1e3, 2e9), (1e6, 1e9)), start_us=1.0)


@pytest.mark.parametrize(
    ("measured", "bound", "efficiency"),
    [
        # 2·100·10·10 = 20,000 FLOPs: 20 µs at the peak; 4·(100 + 2000) = 8,400 bytes: 5 µs
        (row("Gemm", 40.0, rows=100, n_in=10, n_out=10, working_set=400), "compute", 0.5),
        # 2 MB at 1 GB/s
        (row("Relu", 4000.0, bytes=1_000_000, spans=1, inner=0), "memory", 0.5),
        (row("Relu", 2.0, bytes=40, spans=1, inner=0), "overhead", 0.5),
    ],
)
def test_what_takes_longest_at_best_bounds_a_kernel(measured, bound, efficiency):
    (placed,) = place([measured], ROOFS)
    assert placed.bound == bound
    assert placed.efficiency == pytest.approx(efficiency)


def test_weights_come_from_as_far_as_the_network_is_large():
    near = row("Gemm", 9.0, rows=1, n_in=100, n_out=100, working_set=1_000)
    far = row("Gemm", 9.0, rows=1, n_in=100, n_out=100, working_set=10_000_000)
    assert place([near], ROOFS)[0].efficiency < place([far], ROOFS)[0].efficiency


def test_bandwidth_is_interpolated_and_held_beyond():
    assert [ROOFS.bandwidth(size) for size in (1, 1e3, 1e6, 1e9)] == pytest.approx([2e9, 2e9, 1e9, 1e9])
    assert 1e9 < ROOFS.bandwidth(3e4) < 2e9


def test_kernels_of_unknown_work_have_no_place():
    assert place([row("Call", 4.0, inputs=1, strings=0)], ROOFS) == []


@contextmanager
def skipped_when_noisy():
    """A measurement that is refused because the machine is busy is no failure."""
    try:
        yield
    except (TooNoisy, SearchError) as error:
        pytest.skip(f"this machine is too busy to be measured: {error}")


def test_this_machine_has_roofs():
    with skipped_when_noisy():
        roofs = measure_roofs(make_table().rows, time_limit_s=5)
    assert roofs.peak_flops > 1e8
    assert all(speed > 1e7 for _, speed in roofs.bandwidths)
    assert list(roofs.bandwidths) == sorted(roofs.bandwidths)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_figure_is_drawn(tmp_path, suffix):
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    draw(place(make_table().rows, ROOFS), ROOFS, "A device", tmp_path / f"roof.{suffix}")
    assert (tmp_path / f"roof.{suffix}").stat().st_size > 10_000


def test_the_command_tells_and_draws(tmp_path):
    make_table().save(tmp_path / "table.json")
    arguments = ["roofline", "--table", str(tmp_path / "table.json"), "--time", "4s", "--json"]
    with skipped_when_noisy():
        answer = json.loads(CliRunner().invoke(latency, arguments, catch_exceptions=False).stdout)
    assert {kernel["bound"] for kernel in answer["kernels"]} <= {"compute", "memory", "overhead"}
    with skipped_when_noisy(), pytest.raises(UsageError, match=r"roof\.nonsense"):
        CliRunner().invoke(latency, [*arguments, "--out", str(tmp_path / "roof.nonsense")], catch_exceptions=False)
