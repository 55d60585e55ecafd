import pytest

from hw_cost.graph import BATCH, Operation, OpGraph, Parameter
from hw_cost.ops import bytes_moved, flops, operation_bytes, operation_flops, parameter_bytes, size, uncounted


def test_a_dense_layer_is_two_flops_a_weight_and_row():
    gemm = Operation("Gemm", ((BATCH, 5),), (BATCH, 3), {"w": (3, 5), "b": (3,)}, {"transB": 1})
    assert operation_flops(gemm, 7) == 2 * 7 * 5 * 3
    assert operation_bytes(gemm, 7) == 4 * (7 * 5 + 7 * 3 + 15 + 3)


def test_a_convolution_counts_its_kernel_for_each_output():
    conv = Operation("Conv", ((BATCH, 8, 10, 10),), (BATCH, 16, 10, 10), {"w": (16, 4, 3, 3), "b": (16,)}, {"group": 2})
    assert operation_flops(conv, 2) == 2 * 2 * 8 * 16 * 9 * 100 // 2


def test_trees_compare_once_a_level():
    trees = Operation("TreeEnsembleRegressor", ((BATCH, 9),), (BATCH, 2), {}, {"n_trees": 10, "n_leaves": 160})
    assert operation_flops(trees, 3) == 3 * 10 * (4 + 1)


def test_a_lookup_reads_only_its_rows():
    lookup = Operation("Gather", ((BATCH, 4),), (BATCH, 4, 8), {"table": (100_000, 8)}, {"axis": 0})
    assert operation_flops(lookup) == 0
    assert operation_bytes(lookup, 2) == 2 * 4 * (2 * 4 * 8) + 8 * 2 * 4


def test_pooling_looks_at_its_window_and_resizing_interpolates():
    image, half = (BATCH, 3, 8, 8), (BATCH, 3, 4, 4)
    assert operation_flops(Operation("AveragePool", (image,), half, {}, {"kernel_shape": [2, 2]}), 2) == 2 * 3 * 16 * 4
    assert operation_flops(Operation("GlobalAveragePool", (image,), (BATCH, 3, 1, 1)), 2) == 2 * 3 * 64
    assert operation_flops(Operation("Resize", (image,), half, {}, {"mode": "linear"}), 2) == 7 * 2 * 3 * 16
    assert operation_flops(Operation("Resize", (image,), half, {}, {"mode": "nearest"}), 2) == 0


def test_a_product_with_a_stack_of_weights_is_two_flops_for_each_of_them():
    members = Operation("MatMul", ((BATCH, 4, 1, 6),), (BATCH, 4, 1, 5), {"w": (4, 6, 5)})
    assert operation_flops(members, 3) == 2 * 3 * 4 * 6 * 5


def test_a_leaf_of_several_votes_takes_room_for_each():
    graph = OpGraph()
    x = graph.input("x", (BATCH, 9))
    graph.add("TreeEnsembleRegressor", x, output=(BATCH, 3), n_trees=2, n_leaves=20, n_votes=3)
    assert parameter_bytes(graph) == 32 * 40 + 16 * 20 * 3


def test_a_sum_adds_all_that_comes_in():
    total = Operation("ReduceSum", ((BATCH, 6, 4),), (BATCH, 4), {"axes": (1,)}, {"keepdims": 0})
    assert operation_flops(total, 2) == 48


def test_doubles_move_twice_the_bytes():
    single = Operation("Mul", ((BATCH, 6),), (BATCH, 6), {"scale": (6,)})
    double = Operation("Mul", ((BATCH, 6),), (BATCH, 6), {"scale": (6,)}, {"dtype": "double"})
    assert operation_bytes(double) == 2 * operation_bytes(single) == 2 * 4 * 18


def test_an_unknown_operator_is_listed_and_moves_bytes():
    graph = OpGraph()
    x = graph.input("x", (BATCH, 5))
    graph.add("Einstein", x, output=(BATCH, 5))
    assert (flops(graph, 3), uncounted(graph), bytes_moved(graph, 3)) == (0, ["Einstein"], 4 * 30)


@pytest.mark.parametrize("batch", [1, 32])
def test_flops_of_a_network_grow_with_its_batch(batch: int):
    graph = OpGraph()
    x = graph.input("x", (BATCH, 8))
    h = graph.add("Gemm", x, Parameter("w", (4, 8)), Parameter("b", (4,)), output=(BATCH, 4), transB=1)
    graph.add("Relu", h, output=(BATCH, 4))
    assert flops(graph, batch) == batch * (64 + 4)


def test_shared_constants_count_once():
    graph = OpGraph()
    x = graph.input("x", (BATCH, 8))
    for _ in range(2):
        x = graph.add("Add", x, Parameter("one", (8,)), output=(BATCH, 8))
    assert parameter_bytes(graph) == 32
    assert size((BATCH, 2, 3), batch=5) == 30
