"""Sizes of executed operations against what can be counted by hand."""

import numpy as np
import pytest

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import work_of
from hw_cost.kinds import moves_one_axis
from hw_cost.networks import KINDS, random_networks
from hw_cost.networks.images import Image, Layers
from hw_cost.ops import flops
from hw_cost.random_onnx import write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.sizes import spans


def kernels(graph: OpGraph, batch: int = 1):
    return {kernel.op: dict(kernel.sizes) for kernel in OnnxRuntime().kernels(graph, batch)}


def image(channels: int, size: int) -> tuple[OpGraph, Layers, Image]:
    graph = OpGraph()
    return graph, Layers(graph), Image(graph.input("x", (BATCH, channels, size, size)), channels, size)


def test_a_convolution_between_two_others_stays_in_blocks_of_channels():
    graph, layers, x = image(16, 8)
    layers.conv(layers.activate(layers.conv(x, 32, 3, 2), "Relu"), 48, 3)
    found = [kernel for kernel in OnnxRuntime().kernels(graph, 5) if kernel.kind == "conv"]
    assert [kernel.op for kernel in found] == ["NchwcConv", "NchwcConv"]
    first, second = (kernel.sizes for kernel in found)
    assert (first["images"], first["height"], first["n_in"], first["n_out"], first["stride"]) == (5, 4, 16, 32, 2)
    assert (first["activation"], second["activation"]) == (1, 0)
    # of 4 outputs with stride 2 and margin 1 only the first reads outside of the 8 pixels: 11 of 12 positions an axis
    assert first["taps"] == 11**2
    # of 4 outputs with stride 1 both ends do
    assert second["taps"] == 10**2


def test_depthwise_pointwise_and_first_convolutions_are_told_apart():
    graph, layers, x = image(3, 8)
    layers.conv(layers.conv(layers.conv(x, 16, 3), 16, 3, groups=16), 32)
    assert {"NchwcStem", "NchwcDepthwise", "NchwcPointwise"} <= set(kernels(graph))


def test_odd_numbers_of_channels_are_convolved_as_they_are():
    graph, layers, x = image(17, 6)
    layers.conv(layers.conv(x, 19, 3), 22, groups=1)
    assert "Conv" in kernels(graph)


def test_a_kernel_of_a_convolution_has_the_operations_of_its_operator():
    graph, layers, x = image(16, 9)
    layers.conv(x, 32)
    (conv,) = [kernel for kernel in OnnxRuntime().kernels(graph, 2) if kernel.kind == "conv"]
    assert work_of(conv)["flops"] == flops(graph, 2)


def test_attention_shows_its_products_with_heads_and_tokens():
    (network,) = random_networks(1, seed=2, kinds=("ft_transformer",))
    n = next(op.output[1] for op in network.graph if op.op == "Unsqueeze")
    products = [k.sizes for k in OnnxRuntime().kernels(network.graph, 3) if k.op == "Product"]
    assert {sizes["rows"] for sizes in products} == {n}
    assert all(sizes["matrices"] % 3 == 0 for sizes in products), "heads times batch"


def test_members_and_features_with_weights_of_their_own_are_products_of_their_own():
    graph = OpGraph()
    x = graph.input("x", (BATCH, 4, 1, 6))
    graph.add("MatMul", x, Parameter("w", (4, 6, 5)), output=(BATCH, 4, 1, 5))
    sizes = kernels(graph, 3)["BatchedMatMul"]
    assert sizes == {"matrices": 12, "rows": 1, "n_in": 6, "n_out": 5, "working_set": 4 * 120}


def test_the_largest_of_a_row_are_read_with_their_positions():
    (network,) = random_networks(1, seed=3, kinds=("knn",))
    found = kernels(network.graph, 7)
    stored = next(op.output[-1] for op in reversed(list(network.graph)) if op.op == "Gemm")
    assert found["TopK"]["rows"] == 7 and found["TopK"]["width"] == stored
    assert found["Gather"]["lookups"] == 7 * found["TopK"]["kept"]


def test_rows_that_look_at_each_other_make_products_as_large_as_the_batch():
    (network,) = random_networks(1, seed=3, kinds=("saint",))
    products = [k.sizes for k in OnnxRuntime().kernels(network.graph, 11) if k.op == "Product"]
    assert any(sizes["rows"] == sizes["n_out"] == 11 for sizes in products)
    assert any(sizes["rows"] == sizes["n_in"] == 11 for sizes in products)


@pytest.mark.parametrize(
    ("a", "b", "pieces"),
    [((2, 3, 4, 5), (3, 1, 1), 6), ((2, 3, 4), (4,), 6), ((2, 3), (2, 3), 1), ((2, 3), (), 1), ((7, 1), (1, 9), 7)],
)
def test_pieces_of_a_broadcast(a, b, pieces):
    assert spans(a, b) == spans(b, a) == pieces


def test_taking_out_one_axis_and_putting_it_in_elsewhere():
    array = np.zeros((2, 3, 4, 5))
    for source in range(4):
        for target in range(4):
            shape = np.moveaxis(array, source, target).shape
            assert moves_one_axis([array.shape.index(length) for length in shape])
    assert not moves_one_axis((3, 2, 1, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_random_networks_of_every_kind_run_and_are_the_same_each_time(kind):
    (network,) = random_networks(1, seed=4, kinds=(kind,), batches=(2,))
    (again,) = random_networks(1, seed=4, kinds=(kind,), batches=(2,))
    assert write_onnx(network.graph) == write_onnx(again.graph) and network.kind == kind and network.batch == 2
    assert len(OnnxRuntime().kernels(write_onnx(network.graph), 2)) > 3
