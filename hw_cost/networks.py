"""Random networks of the kinds that are deployed on tables: to correct and to validate latency tables with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter

ACTIVATIONS = ("Relu", "Gelu")


@dataclass(frozen=True)
class Network:
    """A random network."""

    name: str
    graph: OpGraph


def random_networks(n: int, *, seed: int = 0) -> list[Network]:
    """Return `n` networks of log-uniform sizes: in turn a multilayer perceptron, a residual one and a tree ensemble."""
    random = np.random.default_rng(seed)
    bodies = (_mlp, _resnet, _trees)
    networks = []
    for k in range(n):
        body = bodies[k % len(bodies)]
        graph = OpGraph()
        x, width = _inputs(graph, random, embed=body is not _trees)
        outputs = int(random.choice([1, 2, 3, 10, 30]))
        scores = body(graph, x, width, outputs, random)
        _tail(graph, scores, outputs)
        networks.append(Network(f"{body.__name__[1:]}-{seed}-{k}", graph))
    return networks


def _log_uniform(random: np.random.Generator, low: float, high: float) -> int:
    return int(round(float(np.exp(random.uniform(np.log(low), np.log(high))))))


def _inputs(graph: OpGraph, random: np.random.Generator, *, embed: bool) -> tuple[str, int]:
    """Append preprocessing of raw numbers and, in half of the networks, of raw texts; return its node and width."""
    n_numeric = _log_uniform(random, 3, 300)
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


def _codes(graph: OpGraph, random: np.random.Generator) -> tuple[str, int, int]:
    n_columns, n_words = _log_uniform(random, 2, 60), _log_uniform(random, 4, 500)
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


def _dense(graph: OpGraph, x: str, name: str, n_in: int, n_out: int) -> str:
    constants = Parameter(f"{name}.weight", (n_out, n_in)), Parameter(f"{name}.bias", (n_out,))
    return graph.add("Gemm", x, *constants, output=(BATCH, n_out), transB=1)


def _normalise(graph: OpGraph, x: str, name: str, width: int, op: str = "LayerNormalization") -> str:
    names = ("scale", "shift") if op == "LayerNormalization" else ("scale", "shift", "mean", "variance")
    constants = [Parameter(f"{name}.{constant}", (width,)) for constant in names]
    more = {"axis": -1} if op == "LayerNormalization" else {}
    return graph.add(op, x, *constants, output=(BATCH, width), **more)


def _mlp(graph: OpGraph, x: str, width: int, outputs: int, random: np.random.Generator) -> str:
    activation = str(random.choice(ACTIVATIONS))
    norm = str(random.choice(["", "", "LayerNormalization", "BatchNormalization"]))
    for layer in range(int(random.integers(1, 8))):
        n_out = _log_uniform(random, 8, 1024)
        x = _dense(graph, x, f"layer{layer}", width, n_out)
        x = _normalise(graph, x, f"norm{layer}", n_out, norm) if norm else x
        x, width = graph.add(activation, x, output=(BATCH, n_out)), n_out
    return _dense(graph, x, "head", width, outputs)


def _resnet(graph: OpGraph, x: str, width: int, outputs: int, random: np.random.Generator) -> str:
    activation, d = str(random.choice(ACTIVATIONS)), _log_uniform(random, 16, 512)
    hidden = int(d * random.uniform(1, 4))
    x = _dense(graph, x, "stem", width, d)
    for block in range(int(random.integers(1, 9))):
        h = _normalise(graph, x, f"norm{block}", d)
        h = graph.add(activation, _dense(graph, h, f"expand{block}", d, hidden), output=(BATCH, hidden))
        x = graph.add("Add", x, _dense(graph, h, f"project{block}", hidden, d), output=(BATCH, d))
    x = graph.add(activation, _normalise(graph, x, "norm", d), output=(BATCH, d))
    return _dense(graph, x, "head", d, outputs)


def _trees(graph: OpGraph, x: str, width: int, outputs: int, random: np.random.Generator) -> str:
    del width
    n_trees = outputs * max(1, _log_uniform(random, 8, 500) // outputs)
    n_leaves = n_trees * _log_uniform(random, 4, 64)
    return graph.add("TreeEnsembleRegressor", x, output=(BATCH, outputs), n_trees=n_trees, n_leaves=n_leaves, depth=12)


def _tail(graph: OpGraph, scores: str, outputs: int) -> None:
    shape = (BATCH, outputs)
    if outputs > 1:
        graph.add("Softmax", scores, output=shape, axis=-1)
        return
    scaled = graph.add("Mul", scores, Parameter("target_scale", ()), output=shape)
    graph.add("Add", scaled, Parameter("target_center", ()), output=shape)
