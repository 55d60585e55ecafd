import json
import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hw_cost.correction import GROUPS, Correction
from hw_cost.graph import BATCH, OpGraph
from hw_cost.random_onnx import write_onnx
from hw_cost.table import LatencyTable
from hw_cost.table_format import TableError

from .conftest import make_table, perceptron, row


def test_a_network_costs_the_sum_of_its_kernels(table):
    cost = table.predict(perceptron(64, 2, "Erf"))
    dense = 2 * (0.5 + 1e-5 * 64 * 64)
    by_op = {k.kernel.op: k.latency_us for k in cost.kernels}
    assert 2 * by_op["Gemm"] == pytest.approx(dense, rel=0.05)
    assert by_op["Call"] == pytest.approx(5, rel=0.02)
    assert 1e3 * cost.latency_ms == pytest.approx(sum(k.latency_us for k in cost.kernels))


def test_a_correction_scales_groups_and_adds_a_base():
    scales = {"dense": 2.0, "trees": 1.0, "small": 1.5}
    cost = make_table(Correction(1.0, scales, 0.1, 10)).predict(perceptron())
    dense = sum(k.latency_us for k in cost.kernels if k.kernel.kind == "dense")
    other = sum(k.latency_us for k in cost.kernels) - dense
    assert 1e3 * cost.latency_ms == pytest.approx(1 + 2 * dense + 1.5 * other)


def test_a_negative_base_never_makes_a_negative_latency():
    cost = make_table(Correction(-100.0, dict.fromkeys(GROUPS, 1.0), 0.1, 10)).predict(perceptron(layers=1))
    assert cost.latency_ms == pytest.approx(0.5e-3 * sum(k.latency_us for k in cost.kernels))


def test_an_unseen_operator_is_flagged_and_widens_the_interval(table):
    known = table.predict(perceptron(64, 2, "Erf"))
    assert known.unseen == ["Erf"], "estimated from its kind"
    graph = perceptron(64, 2)
    strange = graph.add("Einsum", "gelu_3", output=(BATCH, 64))
    cost = table.predict(graph)
    assert strange == "einsum_4" and cost.unseen == ["Einsum", "Gelu"]
    assert 0 < cost.coverage < 1
    assert cost.low_ms < cost.latency_ms < cost.high_ms
    covered = table.predict(graph_of_gemms())
    assert covered.unseen == [] and covered.coverage == 1
    assert (
        cost.high_ms / cost.latency_ms > covered.high_ms / covered.latency_ms == pytest.approx(math.exp(1.645 * 0.05))
    )


def graph_of_gemms() -> OpGraph:
    graph = perceptron(64, 3)
    kept = OpGraph()
    x = kept.input("x", (BATCH, 64))
    for _, data in graph.network.nodes(data=True):
        if "operation" in data and data["operation"].op == "Gemm":
            x = kept.add("Gemm", x, *data["sources"][1:], output=(BATCH, 64), transB=1)
    return kept


def test_sizes_beyond_the_measured_ones_are_extrapolated(table):
    cost = table.predict(perceptron(8192, 1))
    assert cost.kernels[1].known == "extrapolated"
    assert cost.coverage < 0.2


def test_a_graph_and_its_file_cost_the_same(table):
    graph = perceptron(96, 3)
    by_rules, by_file = table.predict(graph, batch=2), table.predict(write_onnx(graph), batch=2)
    assert by_file.latency_ms == pytest.approx(by_rules.latency_ms)
    assert [k.kernel.op for k in by_file.kernels] == [k.kernel.op for k in by_rules.kernels]


def test_an_empty_network_costs_a_call(table):
    graph = OpGraph()
    graph.input("x", (BATCH, 4))
    assert table.predict(graph).latency_ms == pytest.approx(5e-3, rel=0.02)


def test_a_batch_that_no_correction_saw_widens_the_interval(table):
    one, two = table.predict(graph_of_gemms()), table.predict(graph_of_gemms(), batch=2)
    assert two.high_ms / two.latency_ms > 1.2 > one.high_ms / one.latency_ms


def test_a_batch_must_be_positive(table):
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        table.predict(perceptron(), batch=0)


def test_a_table_survives_its_file(table, tmp_path):
    table.save(tmp_path / "t.json")
    again = LatencyTable.load(tmp_path / "t.json")
    assert (again.device, again.correction, again.provenance) == (table.device, table.correction, table.provenance)
    assert [row.kernel for row in again.rows] == [row.kernel for row in table.rows]
    assert again.predict(perceptron()).latency_ms == pytest.approx(table.predict(perceptron()).latency_ms, rel=1e-4)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "t.json").read_bytes()
    json.loads((tmp_path / "t.json").read_text())


DAMAGES = [
    (lambda d: d["kernels"][4].update(latency=-1.0), r"kernel 5, Gemm\(rows=1, n_in=16.*latency must be a positive"),
    (lambda d: d["kernels"][4].update(latency=0), "kernel 5.*latency must be a positive.*got 0"),
    (lambda d: d["kernels"][4].update(low=math.nan), "kernel 5.*low must be a positive.*got nan"),
    (lambda d: d["kernels"][4].update(high=math.inf), "kernel 5.*high must be a positive.*got inf"),
    (lambda d: d["kernels"][4].update(latency="1"), "kernel 5.*latency must be a positive.*got '1'"),
    (lambda d: d["kernels"][4].update(latency=99.0), "kernel 5.*must lie between low and high"),
    (
        lambda d: d["kernels"].append(d["kernels"][0]),
        r"kernel \d+: Call\(inputs=1, strings=0\) is there already as kernel 1",
    ),
    (
        lambda d: d["kernels"][4]["sizes"].pop("n_in"),
        r"kernel 5.*sizes must be \['rows', 'n_in', 'n_out', 'working_set'\]",
    ),
    (lambda d: d["kernels"][4]["sizes"].update(n_in=1.5), "kernel 5.*sizes must be whole numbers"),
    (lambda d: d["kernels"][4].pop("op"), "kernel 5: must have op, sizes"),
    (lambda d: d["kernels"].clear(), "at least one row"),
    (lambda d: d["units"].update(latency="ms"), "must have units.*'us'"),
    (lambda d: d.update(schema_version=4), "schema version 4, this program reads 1 to 3"),
    (lambda d: d.update(format="other"), "is not a latency table"),
    (lambda d: d.pop("device"), "lacks the field 'device'"),
    (lambda d: d["device"].pop("threads"), "device is not described completely.*threads"),
    (lambda d: d["correction"].update(spread=0), "positive scales and spread"),
    (lambda d: d["correction"]["scales"].update(dense=math.nan), "correction must be finite"),
    (lambda d: d["correction"].pop("scales"), None),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_table_names_what_is_wrong(table, tmp_path, damage, message):
    path = tmp_path / "t.json"
    table.save(path)
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    if message is None:  # an optional field
        LatencyTable.load(path)
        return
    with pytest.raises(ValueError, match=message):
        LatencyTable.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", pickle.dumps({"a": 1}), b"\xff\xfe"])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"t\.json"):
        LatencyTable.load(path)


def test_a_truncated_table_is_refused(table, tmp_path):
    path = tmp_path / "t.json"
    table.save(path)
    path.write_text(path.read_text()[:-200])
    with pytest.raises(TableError, match="not a complete JSON file"):
        LatencyTable.load(path)


def places(value, path=()):
    """Every place in a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_told_in_one_line_or_does_no_harm(table, tmp_path, data):
    path = tmp_path / "t.json"
    table.save(path)
    document = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from(places(document)[1:]))
    target = document
    for key in way:
        target = target[key]
    target[last] = data.draw(VALUES)
    path.write_text(json.dumps(document))
    try:
        damaged = LatencyTable.load(path)
    except TableError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        return
    cost = damaged.compose([damaged.kernel_cost(row.kernel) for row in table.rows])
    assert 0 < cost.low_ms <= cost.latency_ms <= cost.high_ms < math.inf


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_row_in_another_unit_is_named(table, tmp_path, factor):
    rows = [*table.rows]
    rows[9] = row("Gemm", factor * rows[9].latency_us, **rows[9].kernel.sizes)
    replace(table, rows=tuple(rows)).save(tmp_path / "t.json")
    with pytest.raises(TableError, match=r"kernel 10, Gemm\(.*another unit"):
        LatencyTable.load(tmp_path / "t.json")
