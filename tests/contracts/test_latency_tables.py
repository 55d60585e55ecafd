"""What every latency table that ships must do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hw_cost
from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks import Network, random_networks
from hw_cost.runtimes import RuntimeMissing
from hw_cost.table import LatencyTable

PATHS = sorted((Path(hw_cost.__file__).parent / "tables").glob("*.json"))
TABLES = {path.name: LatencyTable.load(path) for path in PATHS}
NETWORKS = random_networks(12, seed=77)


def ready(table: LatencyTable) -> bool:
    try:
        return bool(table.runtime.version())
    except RuntimeMissing:
        return False


def by_rules(table: LatencyTable) -> bool:
    """Whether the kernels of a graph are known without compiling it, and do not change their ways with its size."""
    device = table.device
    return device.threads == 1 and (device.runtime, device.precision) in {("onnxruntime", "fp32"), ("torch", "fp32")}


def parametrize(tables: dict[str, LatencyTable]) -> pytest.MarkDecorator:
    skip = pytest.mark.skip(reason="the runtime of the table is not installed")
    values = [pytest.param(t, id=name, marks=() if ready(t) else skip) for name, t in tables.items()]
    return pytest.mark.parametrize("table", values)


every_table = parametrize(TABLES)
every_table_by_rules = parametrize({name: table for name, table in TABLES.items() if by_rules(table)})


def supported(table: LatencyTable) -> list[Network]:
    return [network for network in NETWORKS if not table.runtime.unsupported(network.graph)]


def perceptron(width: int, depth: int, activation: str = "Relu") -> OpGraph:
    graph = OpGraph()
    x = graph.input("x", (BATCH, width))
    for k in range(depth):
        constants = Parameter(f"{k}.w", (width, width)), Parameter(f"{k}.b", (width,))
        x = graph.add("Gemm", x, *constants, output=(BATCH, width), transB=1)
        x = graph.add(activation, x, output=(BATCH, width))
    return graph


def test_there_is_a_table():
    assert TABLES


@every_table
def test_it_says_where_it_comes_from_and_how_good_it_is(table):
    assert table.device.cpu and table.device.runtime_version and table.device.threads >= 1
    assert table.provenance["measured_at"] and table.correction.networks >= 3
    assert table.certificate["n"] >= 10
    assert table.certificate["spearman"] > 0.95


@every_table
@pytest.mark.parametrize("batch", [1, 32])
def test_latency_is_positive_within_its_interval_and_grows_with_the_batch(table, batch):
    assert len(supported(table)) >= 2
    for network in supported(table):
        cost = table.predict(network.graph, batch)
        assert 0 < cost.low_ms < cost.latency_ms < cost.high_ms
        assert 0 <= cost.coverage <= 1
        assert all(kernel.latency_us > 0 for kernel in cost.kernels)
        assert cost.latency_ms <= table.predict(network.graph, 2 * batch).latency_ms


@every_table_by_rules
@given(width=st.integers(1, 2000), depth=st.integers(1, 8), more=st.integers(0, 200))
def test_latency_does_not_fall_when_a_network_grows(table, width, depth, more):
    small = table.predict(perceptron(width, depth)).latency_ms
    assert small <= table.predict(perceptron(width + more, depth)).latency_ms * (1 + 1e-9)
    assert small <= table.predict(perceptron(width, depth + 1)).latency_ms


@every_table
def test_operators_of_the_search_space_are_seen(table):
    for network in supported(table):
        assert table.predict(network.graph).unseen == []


@every_table_by_rules
def test_a_stranger_is_flagged_never_free(table):
    cost = table.predict(perceptron(64, 2, "Einsum"))
    assert cost.unseen == ["Einsum"]
    assert cost.coverage < 1
    assert all(kernel.latency_us > 0 for kernel in cost.kernels)
