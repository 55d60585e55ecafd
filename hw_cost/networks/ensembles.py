"""Random ensembles: many deep trees, many perceptrons that share their weights, several networks averaged."""

from __future__ import annotations

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, add_tail, log_uniform
from hw_cost.networks.tabular import ACTIVATIONS, OUTPUTS, add_features, n_numbers

MOST_LEAVES = 100_000
"""Of all trees together; more take seconds to write and say nothing new."""


def extra_trees(graph: OpGraph, random: np.random.Generator) -> None:
    """Append deep trees whose leaves vote for every class (Geurts et al. 2006) behind their preprocessing."""
    x, _ = add_features(graph, random, embed=False)
    outputs = int(random.choice(OUTPUTS))
    n_trees = log_uniform(random, 8, 500)
    leaves = log_uniform(random, 32, max(64, MOST_LEAVES // n_trees))
    sizes = {"n_trees": n_trees, "n_leaves": n_trees * leaves, "n_votes": outputs, "depth": 4 * leaves.bit_length()}
    sizes["n_features"] = n_numbers(graph)
    scores = graph.add("TreeEnsembleRegressor", x, output=(BATCH, outputs), **sizes)
    if outputs == 1:
        add_tail(graph, scores, outputs)


def tabm(graph: OpGraph, random: np.random.Generator) -> None:
    """Append perceptrons that share their weights but for scales of their own (Gorishniy et al. 2024, section 3)."""
    x, width = add_features(graph, random, embed=True)
    members, d = int(random.choice([8, 16, 32])), log_uniform(random, 16, 512)
    activation, outputs = str(random.choice(ACTIVATIONS)), int(random.choice(OUTPUTS))
    apart = graph.add("Unsqueeze", x, Parameter("members", (1,)), output=(BATCH, 1, width), at=1)
    x = graph.add("Mul", apart, Parameter("first", (members, width)), output=(BATCH, members, width))
    for layer in range(int(random.integers(1, 5))):
        shape = (BATCH, members, d)
        h = graph.add("MatMul", x, Parameter(f"{layer}.weight", (width, d)), output=shape)
        h = graph.add("Mul", h, Parameter(f"{layer}.scale", (members, d)), output=shape)
        h = graph.add("Add", h, Parameter(f"{layer}.bias", (members, d)), output=shape)
        x, width = graph.add(activation, h, output=shape), d
    x = _heads(graph, x, members, width, outputs)
    if outputs > 1:
        x = graph.add("Softmax", x, output=(BATCH, members, outputs), axis=-1)
    graph.add("ReduceMean", x, Parameter("axes", (1,)), output=(BATCH, outputs), keepdims=0)


def _heads(graph: OpGraph, x: str, members: int, width: int, outputs: int) -> str:
    """Append a head of its own for each member: a product with a stack of weights."""
    each = graph.add("Unsqueeze", x, Parameter("rows", (1,)), output=(BATCH, members, 1, width))
    scores = graph.add(
        "MatMul", each, Parameter("heads", (members, width, outputs)), output=(BATCH, members, 1, outputs)
    )
    scores = graph.add("Squeeze", scores, Parameter("single", (1,)), output=(BATCH, members, outputs))
    return graph.add("Add", scores, Parameter("heads.bias", (members, outputs)), output=(BATCH, members, outputs))


def averaged(graph: OpGraph, random: np.random.Generator) -> None:
    """Append several perceptrons on the same features and the mean of their probabilities."""
    x, n_in = add_features(graph, random, embed=True)
    outputs, parts = int(random.choice(OUTPUTS[1:])), list[str]()
    for member in range(int(random.integers(2, 7))):
        h, width = x, n_in
        for layer in range(int(random.integers(1, 4))):
            n_out = log_uniform(random, 16, 512)
            h, width = add_dense(graph, h, f"{member}.{layer}", width, n_out), n_out
            h = graph.add("Relu", h, output=(BATCH, n_out))
        scores = add_dense(graph, h, f"{member}.head", width, outputs)
        parts.append(graph.add("Softmax", scores, output=(BATCH, outputs), axis=-1))
    total = graph.add("Sum", *parts, output=(BATCH, outputs))
    graph.add("Mul", total, Parameter("share", ()), output=(BATCH, outputs))
