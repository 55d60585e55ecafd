"""Probes of the kernels of networks on tokens: products of activations, dense layers on many rows, moves of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.probes.base import MAX_COPIES, Probe, Stream, probe, spread

MOST_FLOPS = 4e8
MOST_BYTES = 1e7
PERMUTATIONS = ((0, 2, 1, 3), (0, 2, 3, 1), (2, 0, 3, 1), (0, 1, 3, 2), (0, 3, 1, 2), (2, 1, 0, 3), (2, 0, 1, 3))
"""How attention turns tokens, heads and features around."""


def token_dense(n_in: int, n_out: int, tokens: int, rows: int, working_set: int) -> Probe:
    """Return a probe of a dense layer that works on each token."""
    sets = max(1, working_set // (4 * n_in * n_out))

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add("MatMul", x, Parameter(f"w{k % sets}", (n_in, n_out)), output=(BATCH, tokens, n_out))

    return probe(add, (BATCH, tokens, n_in), rows=rows, copies=MAX_COPIES)


def product(heads: int, tokens: int, width: int, rows: int, *, scores: bool) -> Probe:
    """Return a probe of a product of activations: queries with keys when `scores`, else weights with values."""
    left = (BATCH, heads, tokens, width if scores else tokens)
    right = (BATCH, heads, width, tokens) if scores else (BATCH, heads, tokens, width)
    graph = OpGraph()
    a, b = graph.input("a", left), graph.input("b", right)
    output = (BATCH, heads, tokens, tokens if scores else width)
    flops = 2 * rows * heads * tokens**2 * width
    copies = int(np.clip(2e7 / flops, 1, MAX_COPIES))
    last = [graph.add("MatMul", a, b, output=output) for _ in range(copies)][-1]
    return Probe.of(graph, last, copies, rows)


def batched(matrices: int, n_in: int, n_out: int, rows: int) -> Probe:
    """Return a probe of a product with a stack of weights, a matrix for each member or feature."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        weights = Parameter(f"w{k}", (matrices, n_in, n_out))
        return graph.add("MatMul", x, weights, output=(BATCH, matrices, 1, n_out))

    return probe(add, (BATCH, matrices, 1, n_in), rows=rows, copies=MAX_COPIES)


def transpose(shape: tuple[int, ...], permutation: tuple[int, ...], rows: int) -> Probe:
    """Return a probe of a transposition; `shape` is that of the input without the batch."""
    lengths = (BATCH, *shape)
    output = tuple(lengths[axis] for axis in permutation)

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add("Transpose", x, output=output, perm=list(permutation))

    return probe(add, lengths, rows=rows, copies=MAX_COPIES)


def cut(tokens: int, width: int, rows: int) -> Probe:
    """Return a probe of ``Slice`` that takes half of the width of each token."""
    half = max(1, width // 2)

    def add(graph: OpGraph, x: str, k: int) -> str:
        bounds = [Parameter(f"{name}{k}", (1,)) for name in ("starts", "ends", "axes")]
        return graph.add("Slice", x, *bounds, output=(BATCH, tokens, half))

    return probe(add, (BATCH, tokens, 2 * half), rows=rows, copies=MAX_COPIES)


def divided(tokens: int, width: int, rows: int) -> Probe:
    """Return a probe of ``Split`` into three equal parts, as of queries, keys and values."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        return graph.add("Split", x, output=(BATCH, tokens, width), axis=-1, num_outputs=3)

    return probe(add, (BATCH, tokens, 3 * width), rows=rows, copies=MAX_COPIES)


def unary_of_tokens(op: str, tokens: int, width: int, rows: int) -> Probe:
    """Return a probe of an operation that changes the shape alone."""
    output = {"Reshape": (BATCH, tokens * width), "Squeeze": (BATCH, tokens, width)}
    before = (BATCH, tokens, 1, width) if op == "Squeeze" else (BATCH, tokens, width)

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add(op, x, Parameter(f"s{k}", (1,)), output=output.get(op, (BATCH, tokens, 1, width)))

    return probe(add, before, rows=rows, copies=MAX_COPIES)


def mean(tokens: int, width: int, rows: int) -> Probe:
    """Return a probe of a mean over tokens."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add("ReduceMean", x, Parameter(f"axes{k}", (1,)), output=(BATCH, width), keepdims=0)

    return probe(add, (BATCH, tokens, width), rows=rows, copies=MAX_COPIES)


def biased(op: str, tokens: int, width: int, rows: int) -> Probe:
    """Return a probe of an operation of each token with one row of constants."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add(op, x, Parameter(f"c{k}", (width,)), output=(BATCH, tokens, width))

    return probe(add, (BATCH, tokens, width), rows=rows, copies=MAX_COPIES)


def token_streams(seed: int) -> list[Stream]:
    """Return the probes of networks on tokens."""
    return [
        Stream("dense on tokens", 80, partial(dense_tokens, token_dense, seed + 70)),
        Stream("products", 64, partial(products, product, seed + 71)),
        Stream("stacked products", 40, partial(stacks, batched, seed + 90)),
        *shared_token_streams(seed),
    ]


def shared_token_streams(seed: int) -> list[Stream]:
    """Return the probes of all kernels but products: networks in int8 have them as well."""
    makers: dict[str, Callable[[int, int, int], Probe]] = {
        "Reshape": partial(unary_of_tokens, "Reshape"),
        "Unsqueeze": partial(unary_of_tokens, "Unsqueeze"),
        "Squeeze": partial(unary_of_tokens, "Squeeze"),
        "Slice": cut,
        "Split": divided,
        "BiasGelu": partial(biased, "BiasGelu"),
        "Add of a row": partial(biased, "Add"),
        "Mean of tokens": mean,
    }
    return [
        Stream("transpositions", 72, partial(_transpositions, seed + 72)),
        *(
            Stream(name, 24 if name in ERRATIC else 10, partial(_tokens, make, seed + 73 + k))
            for k, (name, make) in enumerate(makers.items())
        ),
    ]


ERRATIC = ("Split", "Mean of tokens", "Add of a row")
"""Probes whose time depends on more than their bytes."""


def dense_tokens(make: Callable[[int, int, int, int, int], Probe], seed: int) -> Iterator[Probe]:
    """Yield dense layers on each token, from inputs, outputs, tokens, rows and working set."""
    ranges = ((16, 1100), (16, 1100), (1, 200), (0.2, 40), (2e5, 1.6e7))
    for n_in, n_out, tokens, rows, working_set in spread(*ranges, seed=seed):
        if 2 * n_in * n_out * tokens * rows <= MOST_FLOPS:
            yield make(n_in, n_out, tokens, max(1, rows), working_set)


def products(make: Callable[..., Probe], seed: int) -> Iterator[Probe]:
    """Yield products of activations, of scores or of values."""
    random = np.random.default_rng(seed)
    for heads, tokens, width, rows in spread((1, 12), (4, 256), (2, 96), (0.2, 40), seed=seed):
        if heads * rows * tokens**2 * width <= MOST_FLOPS and heads * rows * tokens**2 <= MOST_BYTES / 4:
            yield make(heads, tokens, width, max(1, rows), scores=bool(random.random() < 0.5))


def stacks(make: Callable[[int, int, int, int], Probe], seed: int) -> Iterator[Probe]:
    """Yield products with stacks of weights, from matrices, inputs, outputs and rows."""
    for matrices, n_in, n_out, rows in spread((4, 128), (4, 512), (1, 128), (0.2, 40), seed=seed):
        if 4 * matrices * n_in * n_out <= MOST_BYTES / 2 and 2 * rows * matrices * n_in * n_out <= MOST_FLOPS:
            yield make(matrices, n_in, n_out, max(1, rows))


def _transpositions(seed: int) -> Iterator[Probe]:
    random = np.random.default_rng(seed)
    for heads, tokens, width, rows in spread((1, 12), (2, 256), (2, 96), (0.2, 40), seed=seed):
        if 4 * heads * tokens * width * rows <= MOST_BYTES:
            permutation = PERMUTATIONS[int(random.integers(len(PERMUTATIONS)))]
            yield transpose((tokens, heads, width), permutation, max(1, rows))


def _tokens(make: Callable[[int, int, int], Probe], seed: int) -> Iterator[Probe]:
    for tokens, width, rows in spread((1, 200), (4, 1024), (0.2, 40), seed=seed):
        if 4 * tokens * width * rows <= MOST_BYTES:
            yield make(tokens, width, max(1, rows))
