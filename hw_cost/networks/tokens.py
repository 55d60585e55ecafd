"""Random transformers: on the columns of a table, or on tokens."""

from __future__ import annotations

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, add_norm, add_tail, log_uniform


def ft_transformer(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a transformer whose tokens are the columns of a table (Gorishniy et al. 2021, section 3.3)."""
    heads = int(random.choice([2, 4, 8]))
    d, n = heads * int(random.integers(4, 25)), log_uniform(random, 4, 100)
    x = graph.input("x", (BATCH, n))
    columns = graph.add("Unsqueeze", x, Parameter("axis", (1,)), output=(BATCH, n, 1))
    tokens = graph.add("Mul", columns, Parameter("tokens.weight", (n, d)), output=(BATCH, n, d))
    x = graph.add("Add", tokens, Parameter("tokens.bias", (n, d)), output=(BATCH, n, d))
    factor, gated = random.uniform(1, 4), random.random() < 0.5
    for block in range(int(random.integers(1, 5))):
        x = _attention(graph, x, f"attention{block}", heads)
        x = _feed_forward(graph, x, f"forward{block}", int(d * factor), gated=gated)
    pooled = (
        graph.add("Gather", x, Parameter("first", ()), output=(BATCH, d), axis=1)
        if random.random() < 0.5
        else graph.add("ReduceMean", x, Parameter("tokens.axis", (1,)), output=(BATCH, d), keepdims=0)
    )
    outputs = int(random.choice([1, 2, 10]))
    h = graph.add("Relu", add_norm(graph, pooled, "norm"), output=(BATCH, d))
    add_tail(graph, add_dense(graph, h, "head", d, outputs), outputs)


def saint(graph: OpGraph, random: np.random.Generator) -> None:
    """Append a transformer that attends over columns and over the rows of a call in turn (Somepalli et al. 2021)."""
    heads, n = int(random.choice([2, 4, 8])), log_uniform(random, 4, 40)
    d = heads * int(random.integers(2, 9))
    x = graph.input("x", (BATCH, n))
    columns = graph.add("Unsqueeze", x, Parameter("axis", (1,)), output=(BATCH, n, 1))
    tokens = graph.add("Mul", columns, Parameter("tokens.weight", (n, d)), output=(BATCH, n, d))
    x = graph.add("Add", tokens, Parameter("tokens.bias", (n, d)), output=(BATCH, n, d))
    for block in range(int(random.integers(1, 4))):
        x = _attention(graph, x, f"columns{block}", heads)
        x = _feed_forward(graph, x, f"forward{block}", 4 * d, gated=False)
        x = _row_attention(graph, x, f"rows{block}")
    first = graph.add("Gather", x, Parameter("first", ()), output=(BATCH, d), axis=1)
    outputs = int(random.choice([1, 2, 10]))
    h = graph.add("Relu", add_dense(graph, first, "hidden", d, 4 * d), output=(BATCH, 4 * d))
    add_tail(graph, add_dense(graph, h, "head", 4 * d, outputs), outputs)


def _row_attention(graph: OpGraph, x: str, name: str) -> str:
    """Append attention of one head between the rows of a call, each with all of its tokens."""
    _, n, d = graph.network.nodes[x]["shape"]
    width = n * d
    h = graph.add("Flatten", add_norm(graph, x, f"{name}.norm"), output=(BATCH, width), axis=1)
    queries, keys, values = (add_dense(graph, h, f"{name}.{part}", width, d) for part in "qkv")
    turned = graph.add("Transpose", keys, output=(d, BATCH), perm=[1, 0])
    scores = graph.add("MatMul", queries, turned, output=(BATCH, BATCH))
    weights = graph.add("Softmax", scores, output=(BATCH, BATCH), axis=-1)
    mixed = graph.add("MatMul", weights, values, output=(BATCH, d))
    flat = add_dense(graph, mixed, f"{name}.out", d, width)
    back = graph.add("Reshape", flat, Parameter(f"{name}.shape", (3,)), output=(BATCH, n, d))
    return graph.add("Add", x, back, output=(BATCH, n, d))


def _linear(graph: OpGraph, x: str, name: str, n_out: int) -> str:
    """Append a dense layer on each token."""
    _, n, d = graph.network.nodes[x]["shape"]
    h = graph.add("MatMul", x, Parameter(f"{name}.weight", (d, n_out)), output=(BATCH, n, n_out))
    return graph.add("Add", h, Parameter(f"{name}.bias", (n_out,)), output=(BATCH, n, n_out))


def _attention(graph: OpGraph, x: str, name: str, heads: int) -> str:
    """Append attention with `heads` heads (Vaswani et al. 2017, section 3.2), normalised before."""
    _, n, d = graph.network.nodes[x]["shape"]
    width, h = d // heads, add_norm(graph, x, f"{name}.norm")

    def split(part: str, order: list[int], shape: tuple[int, ...]) -> str:
        flat = _linear(graph, h, f"{name}.{part}", d)
        parts = graph.add("Reshape", flat, Parameter(f"{name}.heads", (4,)), output=(BATCH, n, heads, width))
        return graph.add("Transpose", parts, output=(BATCH, *shape), perm=order)

    queries = split("q", [0, 2, 1, 3], (heads, n, width))
    keys = split("k", [0, 2, 3, 1], (heads, width, n))
    values = split("v", [0, 2, 1, 3], (heads, n, width))
    scores = graph.add("MatMul", queries, keys, output=(BATCH, heads, n, n))
    scaled = graph.add("Mul", scores, Parameter(f"{name}.scale", ()), output=(BATCH, heads, n, n))
    weights = graph.add("Softmax", scaled, output=(BATCH, heads, n, n), axis=-1)
    mixed = graph.add("MatMul", weights, values, output=(BATCH, heads, n, width))
    turned = graph.add("Transpose", mixed, output=(BATCH, n, heads, width), perm=[0, 2, 1, 3])
    flat = graph.add("Reshape", turned, Parameter(f"{name}.flat", (3,)), output=(BATCH, n, d))
    return graph.add("Add", x, _linear(graph, flat, f"{name}.out", d), output=(BATCH, n, d))


def _feed_forward(graph: OpGraph, x: str, name: str, hidden: int, *, gated: bool) -> str:
    """Append a perceptron on each token, gated by a ReLU (Shazeer 2020) or with GELU, normalised before."""
    _, n, d = graph.network.nodes[x]["shape"]
    h, shape = add_norm(graph, x, f"{name}.norm"), (BATCH, n, hidden)
    if gated:
        gate = graph.add("Relu", _linear(graph, h, f"{name}.gate", hidden), output=shape)
        h = graph.add("Mul", _linear(graph, h, f"{name}.value", hidden), gate, output=shape)
    else:
        h = graph.add("Gelu", _linear(graph, h, f"{name}.expand", hidden), output=shape)
    return graph.add("Add", x, _linear(graph, h, f"{name}.project", d), output=(BATCH, n, d))
