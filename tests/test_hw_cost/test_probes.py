"""What probes cover, and what the random models that are measured are like."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from hw_cost.graph import BATCH, OpGraph
from hw_cost.networks import random_networks
from hw_cost.probes import probe_streams
from hw_cost.random_onnx import random_trees, write_onnx
from hw_cost.runtimes import OnnxRuntime
from hw_cost.runtimes.feeds import random_feeds


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_windows_and_strides_are_probed_on_small_images_and_on_large_ones(precision):
    """None of them only at some sizes: a law would never see the others."""
    for stream in probe_streams(precision):
        if "convolution" not in stream.name or "grouped" in stream.name:
            continue
        sizes = [probed.kernel.sizes for probed in islice(stream.draw(), 2 * stream.first)]
        for window, stride in ((9, 1), (9, 2), (25, 1)):
            sides = [s["height"] for s in sizes if (s["window"], s["stride"]) == (window, stride)]
            if any(s["window"] == window for s in sizes):
                assert min(sides) < 12 < 24 < max(sides), (stream.name, window, stride)


def test_a_single_row_is_probed_at_all_widths_and_so_are_several():
    (stream,) = (stream for stream in probe_streams("fp32") if stream.name == "LayerNormalization")
    sizes = [probed.kernel.sizes for probed in islice(stream.draw(), 30)]
    for several in (False, True):
        widths = [s["width"] for s in sizes[2:] if (s["rows"] > 1) is several]
        assert min(widths) < 32 and max(widths) > 256


@pytest.mark.parametrize("n_features", [2, 9, 100])
def test_rows_reach_all_leaves_of_random_trees_equally_often(n_features):
    """As in trees that were grown on such rows, however often a feature is split on the way."""
    graph, leaves = OpGraph(), 200
    x = graph.input("x", (BATCH, n_features))
    graph.add("TreeEnsembleRegressor", x, output=(BATCH, 1), n_trees=1, n_leaves=leaves)
    (operation,) = graph
    trees = random_trees(operation, np.random.default_rng(0))
    feature, value, true = (np.array(trees[f"nodes_{name}"]) for name in ("featureids", "values", "truenodeids"))
    rows = np.random.default_rng(1).normal(size=(20_000, n_features))
    at = np.zeros(len(rows), dtype=int)
    while (true[at] > 0).any():
        to_left = rows[np.arange(len(rows)), feature[at]] <= value[at]
        at = np.where(true[at] > 0, true[at] + ~to_left, at)
    counts = np.array(list(Counter(at.tolist()).values()))
    assert len(counts) == leaves
    assert np.quantile(counts, 0.05) > 70 and np.quantile(counts, 0.95) < 130  # 100 each, with a deviation of 10


def test_trees_of_a_network_split_its_numbers_only():
    found = random_networks(60, seed=0, kinds=("trees", "extra_trees"))
    with_texts = [network for network in found if "categorical" in network.graph.network]
    assert with_texts
    for network in with_texts[:5]:
        n_numeric = network.graph.network.nodes["numeric"]["shape"][1]
        (operation,) = (operation for operation in network.graph if operation.op == "TreeEnsembleRegressor")
        assert max(random_trees(operation, np.random.default_rng(0))["nodes_featureids"]) < n_numeric


def test_different_rows_have_different_neighbours():
    """Where all rows have the same ones a processor learns the way to them, and the search is quicker than it is."""
    network = random_networks(3, seed=0, kinds=("knn",))[0]
    nodes = network.graph.network.nodes(data=True)
    (nearness,) = (data["sources"][0] for _, data in nodes if "operation" in data and data["operation"].op == "TopK")
    model = OnnxRuntime().open(write_onnx(network.graph, outputs=[nearness]), batch=64)
    (scores,) = model.run(random_feeds(model.inputs, 64, strings=["category 0", "category 1", "category 2"]))
    assert len(np.unique(scores.argmax(axis=1))) > 16
