"""Probes: small graphs that show what one kernel costs.

A probe holds many copies of an operation, each with constants of its own, all reading the same input; only one output
is returned. The time of a probe minus that of a call that computes nothing, divided by the copies, is the time of one
kernel, free of the overhead of the call and of a profiler. The copies together fill the caches as the layers of a
network do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.kernels import Kernel, kernels_of

MAX_COPIES = 48
PRIMES = (2, 3, 5, 7)
INPUT = "x"

Add = Callable[[OpGraph, str, int], str]
"""Appends copy number k of an operation to a graph with an input; returns the node."""


@dataclass(frozen=True)
class Probe:
    """A graph to time, and the kernel that it shows."""

    kernel: Kernel
    graph: OpGraph
    output: str
    """The one node that is returned."""
    copies: int
    """0 for a probe of the call itself."""
    rows: int
    high: int = 2
    """Integer inputs are drawn below this number."""

    @property
    def baseline(self) -> str:
        """Probes with equal baselines have calls that cost the same."""
        shapes = [(data["dtype"], data["shape"]) for _, data in self.graph.network.nodes(data=True) if "dtype" in data]
        has_strings = any(dtype == "string" for dtype, _ in shapes)
        return f"{len(shapes)} {shapes} {self.rows}" if has_strings else f"{len(shapes)}"


def probe(
    add: Add, shape: tuple[int, ...], *, rows: int = 1, dtype: str | None = None, copies: int, high: int = 2
) -> Probe:
    """Return a probe of `copies` operations that read an input of the given shape."""
    graph = OpGraph()
    x = graph.input(INPUT, shape, dtype=dtype)
    outputs = [add(graph, x, k) for k in range(copies)]
    operations = [graph.network.nodes[outputs[-1]]["operation"]]
    kernel = kernels_of(graph, rows, operations=operations)[1]
    return Probe(kernel, graph, outputs[-1], copies, rows, high)


def call_probe(n_inputs: int = 1, n_strings: int = 0, rows: int = 1) -> Probe:
    """Return a probe of the call: inputs whose content is not looked at, one of them with strings if asked for."""
    graph = OpGraph()
    output = ""
    for k in range(n_inputs):
        strings = n_strings if k == 0 else 0
        x = graph.input(f"{INPUT}{k}", (BATCH, strings or 4), dtype="string" if strings else None)
        output = graph.add("Shape", x, output=(2,), dtype="string" if strings else "float")
    return Probe(kernels_of(graph, rows, operations=[])[0], graph, output, 0, rows)


def baseline_of(probed: Probe) -> Probe:
    """Return the probe of the call that a probe makes."""
    inputs = [data for _, data in probed.graph.network.nodes(data=True) if "operation" not in data]
    strings = [data["shape"][1] for data in inputs if data["dtype"] == "string"]
    return call_probe(len(inputs), sum(strings), probed.rows)


def dense(activation: str | None, n_in: int, n_out: int, rows: int, working_set: int) -> Probe:
    """Return a probe of ``Gemm``, alone or with an activation fused into it."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        constants = Parameter(f"w{k}", (n_out, n_in)), Parameter(f"b{k}", (n_out,))
        if activation is None:
            return graph.add("Gemm", x, *constants, output=(BATCH, n_out), transB=1)
        return graph.add("FusedGemm", x, *constants, output=(BATCH, n_out), transB=1, activation=activation)

    copies = int(np.clip(working_set // (4 * n_in * n_out), 1, MAX_COPIES))
    return probe(add, (BATCH, n_in), rows=rows, copies=copies)


def unary(op: str, width: int, rows: int, dtype: str | None = None) -> Probe:
    """Return a probe of an elementwise operation without constants, or of a softmax."""
    typed = {"dtype": dtype} if dtype else {}
    more = {"Cast": {"to": 1}, "Flatten": {"axis": 1}, "Softmax": {"axis": -1}}.get(op, {})

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add(op, x, output=(BATCH, width), **typed, **more)

    return probe(add, (BATCH, width), rows=rows, dtype=dtype, copies=MAX_COPIES)


def binary(op: str, width: int, rows: int, dtype: str | None = None, *, constant: bool = True) -> Probe:
    """Return a probe of an elementwise operation with a row of constants, or with its input a second time."""
    typed = {"dtype": dtype} if dtype else {}

    def add(graph: OpGraph, x: str, k: int) -> str:
        second = Parameter(f"c{k}", (width,)) if constant else x
        return graph.add(op, x, second, output=(BATCH, width), **typed)

    return probe(add, (BATCH, width), rows=rows, dtype=dtype, copies=MAX_COPIES)


def reduction(width: int, rows: int) -> Probe:
    """Return a probe of a sum over the middle axis, as of embedded categories."""
    parts = 1 + width // 4

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add("ReduceSum", x, Parameter(f"axes{k}", (1,)), output=(BATCH, 4), keepdims=0)

    return probe(add, (BATCH, parts, 4), rows=rows, copies=MAX_COPIES)


def clip(width: int, rows: int) -> Probe:
    """Return a probe of ``Clip`` on doubles."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        bounds = Parameter(f"low{k}", ()), Parameter(f"high{k}", ())
        return graph.add("Clip", x, *bounds, output=(BATCH, width), dtype="double")

    return probe(add, (BATCH, width), rows=rows, dtype="double", copies=MAX_COPIES)


def where(width: int, rows: int) -> Probe:
    """Return a probe of ``Where`` that fills the missing doubles; the one ``IsNaN`` it needs counts as noise."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        if k == 0:
            graph.add("IsNaN", x, output=(BATCH, width), dtype="double")
        return graph.add("Where", "isnan_0", Parameter(f"fill{k}", ()), x, output=(BATCH, width), dtype="double")

    return probe(add, (BATCH, width), rows=rows, dtype="double", copies=MAX_COPIES)


def normalisation(op: str, width: int, rows: int) -> Probe:
    """Return a probe of a layer or batch normalisation."""
    names = ("scale", "shift") if op == "LayerNormalization" else ("scale", "shift", "mean", "variance")
    more = {"axis": -1} if op == "LayerNormalization" else {}

    def add(graph: OpGraph, x: str, k: int) -> str:
        constants = [Parameter(f"{name}{k}", (width,)) for name in names]
        return graph.add(op, x, *constants, output=(BATCH, width), **more)

    return probe(add, (BATCH, width), rows=rows, copies=MAX_COPIES)


def gather(n_codes: int, columns: int, width: int, rows: int) -> Probe:
    """Return a probe of a lookup in a table; of numbers from a flat table when the width is 0."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        if not width:
            table = Parameter(f"t{k}", (n_codes,))
            return graph.add("Gather", table, x, output=(BATCH, columns), axis=0, dtype="int64")
        table = Parameter(f"t{k}", (n_codes, width))
        return graph.add("Gather", table, x, output=(BATCH, columns, width), axis=0)

    return probe(add, (BATCH, columns), rows=rows, dtype="int64", copies=MAX_COPIES // 2, high=n_codes)


def encoder(n_keys: int, columns: int, rows: int) -> Probe:
    """Return a probe of a dictionary from words to numbers."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add("LabelEncoder", x, output=(BATCH, columns), n_keys=n_keys)

    return probe(add, (BATCH, columns), rows=rows, dtype="string", copies=MAX_COPIES // 2)


def concat(parts: int, width: int, rows: int) -> Probe:
    """Return a probe of a concatenation of the input with itself."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add("Concat", *[x] * parts, output=(BATCH, width * parts), axis=1)

    return probe(add, (BATCH, width), rows=rows, copies=MAX_COPIES)


def trees(n_trees: int, leaves: int, outputs: int, rows: int, max_leaves: int = 20_000) -> Probe:
    """Return a probe of a tree ensemble with `leaves` leaves a tree."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        sizes = {"n_trees": n_trees, "n_leaves": n_trees * leaves, "depth": 2 * leaves.bit_length()}
        return graph.add("TreeEnsembleRegressor", x, output=(BATCH, outputs), **sizes)

    copies = int(np.clip(max_leaves // (n_trees * leaves), 1, 12))
    return probe(add, (BATCH, 20), rows=rows, copies=copies)


def _spread(n: int, *ranges: tuple[float, float], seed: int) -> Iterator[list[int]]:
    """Yield `n` points spread evenly over the logarithms of the ranges: a Halton (1960) sequence, shifted at random."""
    shift = np.random.default_rng(seed).random(len(ranges))
    low, high = np.log(np.array(ranges)).T
    for k in range(1, n + 1):
        point = (np.array([_radical_inverse(k, base) for base in PRIMES[: len(ranges)]]) + shift) % 1
        yield [int(round(value)) for value in np.exp(low + point * (high - low))]


def _radical_inverse(k: int, base: int) -> float:
    """Mirror the digits of k at the point.

    >>> [_radical_inverse(k, 2) for k in (1, 2, 3)]
    [0.5, 0.25, 0.75]
    """
    value, digit = 0.0, 1.0
    while k:
        digit /= base
        value += digit * (k % base)
        k //= base
    return value


def all_probes(*, quick: bool = False, seed: int = 0) -> list[Probe]:
    """Return the probes of a table: what the search space can produce, spread evenly over the logarithms of sizes."""
    share = 3 if quick else 1
    probes: list[Probe] = []
    for activation, n in ((None, 64), ("Relu", 40)):
        many_rows = n // 4
        for i, (n_in, n_out, ws) in enumerate(_spread(n // share, (4, 1024), (1, 1024), (2e4, 1.6e7), seed=seed)):
            rows = 1 if i >= many_rows // share else (4, 16, 64, 256)[i % 4]
            probes.append(dense(activation, n_in, n_out, rows, ws if rows == 1 else min(ws, 500_000)))
        wide = _spread(max(3, n // 8 // share), (1024, 10_000), (8, 512), (2e5, 1.6e7), seed=seed + 1)
        probes += [dense(activation, n_in, n_out, 1, ws) for n_in, n_out, ws in wide]
    for position, make in enumerate(_small_probes()):
        sizes = _spread(max(3, 8 // share), (4, 1024), (0.6, 256), seed=seed + 10 + position)
        probes += [make(width, max(1, rows if i % 2 else 1)) for i, (width, rows) in enumerate(sizes)]
    probes += [make(4096, 1) for make in _small_probes()]
    probes += _lookups(share, seed)
    ensembles = _spread(48 // share, (1, 500), (4, 64), (0.6, 20), (0.1, 40), seed=seed + 3)
    probes += [trees(n, leaves, max(1, outputs), max(1, rows)) for n, leaves, outputs, rows in ensembles]
    boosted = ((1000, 16, 3), (2000, 8, 10), (1500, 32, 3), (5000, 16, 10))  # rounds times classes
    probes += [trees(n, leaves, outputs, 1) for n, leaves, outputs in boosted]
    probes += [call_probe(n_inputs) for n_inputs in (1, 2)]
    probes += [call_probe(2, strings, rows) for strings, rows in ((1, 1), (4, 1), (16, 1), (64, 1), (8, 64))]
    order = np.random.default_rng(seed).permutation(len(probes))  # a busy phase must not take all of one operator
    return [probes[position] for position in order]


def _small_probes() -> list[Callable[[int, int], Probe]]:
    """One function of width and rows for each elementwise, normalising and joining operator."""
    floats = ("Sqrt", "Relu", "Gelu", "QuickGelu", "Sigmoid", "Tanh", "Flatten", "Softmax")
    return [
        *(partial(unary, op, dtype="double") for op in ("IsNaN", "Cast")),
        *(partial(unary, op) for op in floats),
        *(partial(binary, op, dtype="double") for op in ("Sub", "Mul")),
        *(partial(binary, op, constant=False) for op in ("Add", "Mul", "Div")),
        *(partial(binary, "Add", dtype=dtype) for dtype in ("int64", None)),
        *(partial(normalisation, op) for op in ("LayerNormalization", "BatchNormalization")),
        *(clip, where, partial(concat, 2), reduction),
    ]


def _lookups(share: int, seed: int) -> list[Probe]:
    tables = list(_spread(10 // share, (4, 4000), (1, 64), (1, 16), (0.6, 64), seed=seed + 4))
    probes = [gather(codes, columns, width, max(1, rows)) for codes, columns, width, rows in tables]
    probes += [gather(codes, columns, 0, max(1, rows)) for codes, columns, _, rows in tables]
    probes += [encoder(codes, columns, max(1, rows)) for codes, columns, _, rows in tables]
    probes += [concat(parts, width, 1) for parts, width in ((3, 16), (4, 64), (8, 8), (16, 4))]
    return probes
