"""Random perceptrons on embedded numbers (Gorishniy et al. 2022)."""

from __future__ import annotations

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, add_tail, log_uniform
from hw_cost.networks.tabular import OUTPUTS, add_features


def embedded_mlp(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a perceptron on periodic or piecewise linear embeddings of its features."""
    x, n = add_features(graph, random, embed=False, most=100)
    columns = graph.add("Unsqueeze", x, Parameter("apart", (1,)), output=(BATCH, n, 1))
    d = log_uniform(random, 4, 32)
    parts, inner = (_periodic if random.random() < 0.5 else _piecewise)(graph, columns, n, random)
    if random.random() < 0.7:
        parts, inner = _linear_by_feature(graph, parts, n, inner, d), d
    width, outputs = n * inner, int(random.choice(OUTPUTS))
    x = graph.add("Flatten", parts, output=(BATCH, width), axis=1)
    for layer in range(int(random.integers(1, 5))):
        n_out = log_uniform(random, 16, 512)
        h = add_dense(graph, x, f"layer{layer}", width, n_out)
        x, width = graph.add("Relu", h, output=(BATCH, n_out)), n_out
    add_tail(graph, add_dense(graph, x, "head", width, outputs), outputs)


def _periodic(graph: OpGraph, columns: str, n: int, random: np.random.Generator) -> tuple[str, int]:
    """Append sines and cosines of each feature; return the node and its width."""
    frequencies = log_uniform(random, 4, 64)
    shape = (BATCH, n, frequencies)
    angles = graph.add("Mul", columns, Parameter("frequencies", (n, frequencies)), output=shape)
    waves = [graph.add(op, angles, output=shape) for op in ("Cos", "Sin")]
    return graph.add("Concat", *waves, output=(BATCH, n, 2 * frequencies), axis=2), 2 * frequencies


def _piecewise(graph: OpGraph, columns: str, n: int, random: np.random.Generator) -> tuple[str, int]:
    """Append how far each feature has come in each of its bins, 0 … 1; return the node and the bins."""
    bins = log_uniform(random, 4, 64)
    shape = (BATCH, n, bins)
    above = graph.add("Sub", columns, Parameter("edges", (n, bins)), output=shape)
    share = graph.add("Mul", above, Parameter("widths", (n, bins)), output=shape)
    return graph.add("Clip", share, Parameter("zero", ()), Parameter("one", ()), output=shape), bins


def _linear_by_feature(graph: OpGraph, x: str, n: int, n_in: int, d: int) -> str:
    """Append a dense layer of its own for each feature, and a ReLU."""
    apart = graph.add("Unsqueeze", x, Parameter("row", (1,)), output=(BATCH, n, 1, n_in))
    h = graph.add("MatMul", apart, Parameter("by_feature", (n, n_in, d)), output=(BATCH, n, 1, d))
    h = graph.add("Squeeze", h, Parameter("joined", (1,)), output=(BATCH, n, d))
    h = graph.add("Add", h, Parameter("by_feature.bias", (n, d)), output=(BATCH, n, d))
    return graph.add("Relu", h, output=(BATCH, n, d))
