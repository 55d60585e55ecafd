"""The rules against onnxruntime's own optimised model."""

from collections import Counter

import pytest

from hw_cost.fusion import EXPANSIONS, GEMM_ACTIVATIONS, executed
from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import Kernel, kernels_of
from hw_cost.networks import ON_TABLES, random_networks
from hw_cost.onnx_reader import read_onnx
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime


def dense(graph: OpGraph, x: str, n: int, name: str = "layer") -> str:
    return graph.add(
        "Gemm", x, Parameter(f"{name}.w", (n, n)), Parameter(f"{name}.b", (n,)), output=(BATCH, n), transB=1
    )


def assert_same_kernels(graph: OpGraph, batch: int = 1) -> None:
    by_rules = Counter(map(shown, kernels_of(graph, batch)))
    by_runtime = Counter(map(shown, OnnxRuntime().kernels(write_onnx(graph), batch)))
    assert by_rules == by_runtime


def shown(kernel: Kernel) -> str:
    """All but the working set: that of a network without a fused scale is some bytes smaller."""
    return str(Kernel(kernel.op, {name: size for name, size in kernel.sizes.items() if name != "working_set"}))


BY_RULES = (*ON_TABLES, "ft_transformer", "saint", "tabm", "embedded_mlp", "extra_trees", "knn", "averaged")


@pytest.mark.parametrize("network", random_networks(18, seed=5, kinds=BY_RULES), ids=lambda network: network.name)
def test_networks(network):
    assert_same_kernels(network.graph)
    assert_same_kernels(network.graph, batch=3)


@pytest.mark.parametrize("activation", sorted(GEMM_ACTIVATIONS) + sorted(EXPANSIONS) + ["Gelu", "Sqrt", "Clip", "Erf"])
def test_activations_after_a_dense_layer(activation):
    graph = OpGraph()
    h = graph.add(activation, dense(graph, graph.input("x", (BATCH, 8)), 8), output=(BATCH, 8))
    dense(graph, h, 8, "head")
    assert_same_kernels(graph)


def test_an_output_that_is_read_twice_is_not_fused():
    graph = OpGraph()
    h = dense(graph, graph.input("x", (BATCH, 8)), 8)
    activated = graph.add("Relu", h, output=(BATCH, 8))
    graph.add("Add", h, activated, output=(BATCH, 8))
    assert [operation.op for operation in executed(graph)] == ["Gemm", "Relu", "Add"]
    assert_same_kernels(graph)


@pytest.mark.parametrize("swapped", [False, True])
def test_swish_becomes_one_kernel(swapped):
    graph = OpGraph()
    h = dense(graph, graph.input("x", (BATCH, 8)), 8)
    gate = graph.add("Sigmoid", h, output=(BATCH, 8))
    graph.add("Mul", *((gate, h) if swapped else (h, gate)), output=(BATCH, 8))
    assert [operation.op for operation in executed(graph)] == ["Gemm", "QuickGelu"]
    assert_same_kernels(graph)


def test_an_identity_is_removed():
    graph = OpGraph()
    h = graph.add("Identity", dense(graph, graph.input("x", (BATCH, 8)), 8), output=(BATCH, 8))
    dense(graph, h, 8, "head")
    assert_same_kernels(graph)


def test_what_is_written_is_read_back():
    for network in random_networks(6, seed=9):
        again = read_onnx(write_onnx(network.graph))
        assert [(o.op, o.inputs, o.output) for o in again] == [(o.op, o.inputs, o.output) for o in network.graph]
