"""Random networks on tables."""

from __future__ import annotations

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, add_norm, add_tail, log_uniform

ACTIVATIONS = ("Relu", "Gelu")
OUTPUTS = (1, 2, 3, 10, 30)


def mlp(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a multilayer perceptron with its preprocessing."""
    x, width = add_features(graph, random, embed=True)
    outputs = int(random.choice(OUTPUTS))
    activation = str(random.choice(ACTIVATIONS))
    norm = str(random.choice(["", "", "LayerNormalization", "BatchNormalization"]))
    for layer in range(int(random.integers(1, 8))):
        n_out = log_uniform(random, 8, 1024)
        x = add_dense(graph, x, f"layer{layer}", width, n_out)
        x = add_norm(graph, x, f"norm{layer}", norm) if norm else x
        x, width = graph.add(activation, x, output=(BATCH, n_out)), n_out
    add_tail(graph, add_dense(graph, x, "head", width, outputs), outputs)


def resnet(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a residual perceptron (Gorishniy et al. 2021, section 3.2) with its preprocessing."""
    x, width = add_features(graph, random, embed=True)
    outputs = int(random.choice(OUTPUTS))
    activation, d = str(random.choice(ACTIVATIONS)), log_uniform(random, 16, 512)
    hidden = int(d * random.uniform(1, 4))
    x = add_dense(graph, x, "stem", width, d)
    for block in range(int(random.integers(1, 9))):
        h = add_norm(graph, x, f"norm{block}")
        h = graph.add(activation, add_dense(graph, h, f"expand{block}", d, hidden), output=(BATCH, hidden))
        x = graph.add("Add", x, add_dense(graph, h, f"project{block}", hidden, d), output=(BATCH, d))
    x = graph.add(activation, add_norm(graph, x, "norm"), output=(BATCH, d))
    add_tail(graph, add_dense(graph, x, "head", d, outputs), outputs)


def trees(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a tree ensemble with its preprocessing."""
    x, _ = add_features(graph, random, embed=False)
    outputs = int(random.choice(OUTPUTS))
    n_trees = outputs * max(1, log_uniform(random, 8, 500) // outputs)
    sizes = {"n_trees": n_trees, "n_leaves": n_trees * log_uniform(random, 4, 64), "depth": 12}
    sizes["n_features"] = n_numbers(graph)
    add_tail(graph, graph.add("TreeEnsembleRegressor", x, output=(BATCH, outputs), **sizes), outputs)


def add_features(graph: OpGraph, random: np.random.Generator, *, embed: bool, most: int = 300) -> tuple[str, int]:
    """Append preprocessing of raw numbers and, in half of the networks, of raw texts; return its node and width."""
    n_numeric = log_uniform(random, 3, most)
    shape = (BATCH, n_numeric)
    numeric = graph.input("numeric", shape, dtype="double")
    centered = graph.add("Sub", numeric, Parameter("center", (n_numeric,)), output=shape, dtype="double")
    scaled = graph.add("Mul", centered, Parameter("scale", (n_numeric,)), output=shape, dtype="double")
    missing = graph.add("IsNaN", numeric, output=shape, dtype="double")
    filled = graph.add("Where", missing, Parameter("fill", ()), scaled, output=shape, dtype="double")
    bounds = Parameter("low", ()), Parameter("high", ())
    clipped = graph.add("Clip", filled, *bounds, output=shape, dtype="double")
    x = graph.add("Cast", clipped, output=shape, dtype="double", to=1)
    if embed:
        x = _squash(graph, x, n_numeric)
    if random.random() < 0.5:
        return x, n_numeric
    codes, n_columns, n_codes = _codes(graph, random)
    if embed:
        width = int(random.integers(2, 17))
        n_embedded = n_columns * width
        rows = graph.add(
            "Gather", Parameter("embedding", (n_codes, width)), codes, output=(BATCH, n_columns, width), axis=0
        )
        part = graph.add("Flatten", rows, output=(BATCH, n_embedded), axis=1)
    else:
        n_embedded = n_columns
        part = graph.add("Cast", codes, output=(BATCH, n_columns), dtype="int64", to=1)
    total = n_numeric + n_embedded
    return graph.add("Concat", x, part, output=(BATCH, total), axis=1), total


def n_numbers(graph: OpGraph) -> int:
    """Return how many numbers `add_features` has: the first features of trees, and the only ones that they split."""
    n: int = graph.network.nodes["numeric"]["shape"][1]
    return n


def _codes(graph: OpGraph, random: np.random.Generator) -> tuple[str, int, int]:
    n_columns, n_words = log_uniform(random, 2, 60), log_uniform(random, 4, 500)
    shape, n_cells = (BATCH, n_columns), n_columns * (n_words + 1)
    text = graph.input("categorical", shape, dtype="string")
    entries = graph.add("LabelEncoder", text, output=shape, dtype="string", n_keys=n_words)
    cells = graph.add("Add", entries, Parameter("first_cells", (n_columns,)), output=shape, dtype="int64")
    table = Parameter("code_table", (n_cells,))
    return graph.add("Gather", table, cells, output=shape, axis=0, dtype="int64"), n_columns, n_cells


def _squash(graph: OpGraph, x: str, width: int) -> str:
    shape = (BATCH, width)
    square = graph.add("Mul", x, x, output=shape)
    ninth = graph.add("Mul", square, Parameter("ninth", ()), output=shape)
    above_one = graph.add("Add", ninth, Parameter("one", ()), output=shape)
    return graph.add("Div", x, graph.add("Sqrt", above_one, output=shape), output=shape)
