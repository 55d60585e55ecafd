"""Probes of the kernels of networks on tables: dense layers, elementwise operations, norms, lookups, trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.ensembles import MOST_LEAVES
from hw_cost.probes.base import MAX_COPIES, Probe, Stream, call_probe, probe, spread

FEATURES = (3, 300)
"""Features of which trees choose."""
LARGER_SHARE = 0.25
"""Of probes that are followed by one of the same operation on more rows that are wider."""
LARGEST_WEIGHTS = 80_000_000
"""Bytes of the largest matrix: beyond the last cache of most processors."""


def dense(activation: str | None, n_in: int, n_out: int, rows: int, working_set: int) -> Probe:
    """Return a probe of ``Gemm``, alone or with an activation fused into it."""
    sets = max(1, working_set // (4 * n_in * n_out))

    def add(graph: OpGraph, x: str, k: int) -> str:
        constants = Parameter(f"w{k % sets}", (n_out, n_in)), Parameter(f"b{k % sets}", (n_out,))
        if activation is None:
            return graph.add("Gemm", x, *constants, output=(BATCH, n_out), transB=1)
        return graph.add("FusedGemm", x, *constants, output=(BATCH, n_out), transB=1, activation=activation)

    return probe(add, (BATCH, n_in), rows=rows, copies=MAX_COPIES)


def unary(op: str, width: int, rows: int, dtype: str | None = None) -> Probe:
    """Return a probe of an elementwise operation without constants, or of a softmax."""
    typed = {"dtype": dtype} if dtype else {}
    attributes: dict[str, dict[str, Any]] = {
        "Cast": {"to": 1},
        "Flatten": {"axis": 1},
        "Softmax": {"axis": -1},
        "QuickGelu": {"alpha": 1.0},
    }
    more = attributes.get(op, {})

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


def clip(width: int, rows: int, dtype: str = "float") -> Probe:
    """Return a probe of ``Clip``."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        bounds = Parameter(f"low{k}", ()), Parameter(f"high{k}", ())
        return graph.add("Clip", x, *bounds, output=(BATCH, width), dtype=dtype)

    return probe(add, (BATCH, width), rows=rows, dtype=dtype, copies=MAX_COPIES)


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


def top(kept: int, width: int, rows: int) -> Probe:
    """Return a probe of ``TopK``: few copies, for all of them take the same branches, which a processor learns."""

    def add(graph: OpGraph, x: str, k: int) -> str:
        return graph.add("TopK", x, Parameter(f"k{k}", (1,)), output=(BATCH, kept), axis=-1, num_outputs=2)

    return probe(add, (BATCH, width), rows=rows, copies=2)


def trees(n_trees: int, leaves: int, outputs: int, rows: int, n_features: int = 20, n_votes: int = 1) -> Probe:
    """Return a probe of a tree ensemble with `leaves` leaves a tree.

    Networks have one ensemble: copies of it would leave nothing in the caches, and teach the processor the way.
    """

    def add(graph: OpGraph, x: str, k: int) -> str:
        del k
        depth = 2 * leaves.bit_length()
        sizes = {"n_trees": n_trees, "n_leaves": n_trees * leaves, "n_votes": n_votes, "depth": depth}
        return graph.add("TreeEnsembleRegressor", x, output=(BATCH, outputs), **sizes)

    return probe(add, (BATCH, n_features), rows=rows, copies=1)


def tabular_streams(seed: int) -> list[Stream]:
    """Return the probes of networks on tables: what the search space can produce."""
    return [*dense_streams(seed), *shared_tabular_streams(seed)]


def dense_streams(seed: int) -> list[Stream]:
    """Return the probes of floating-point dense layers."""
    streams = []
    for k, activation in enumerate((None, "Relu")):
        name, make = activation or "Gemm", partial(dense, activation)
        streams.append(Stream(f"{name} of a row", 56, partial(dense_row, make, seed + k)))
        streams.append(Stream(f"{name} of rows", 64, partial(dense_rows, make, seed + 7 + k)))
        streams.append(Stream(f"{name} beyond the caches", 4, partial(dense_large, make, seed + 11 + k)))
    return [*streams, Stream("Gemm with stored rows", 24, partial(dense_stored, partial(dense, None), seed + 9))]


def shared_tabular_streams(seed: int) -> list[Stream]:
    """Return the probes of all other kernels: networks in int8 have them as well."""
    call = [call_probe(n_inputs) for n_inputs in (1, 2)]
    call += [call_probe(2, strings, rows) for strings, rows in ((1, 1), (4, 1), (16, 1), (64, 1), (8, 64), (16, 32))]
    joined = [concat(parts, width, 1) for parts, width in ((3, 16), (4, 64), (8, 8), (16, 4))]
    streams = [
        Stream("call", len(call), partial(iter, call)),
        Stream("trees for a row", 60, partial(_trees, (0.9, 1.1), seed + 3)),
        Stream("trees for rows", 70, partial(_trees, (2, 100), seed + 5)),
        Stream("boosted trees", 12, partial(_boosted, seed + 6)),
        Stream("deep trees", 100, partial(_deep_trees, seed + 8)),
        Stream("nearest rows", 30, partial(_nearest, seed + 9)),
        Stream("joints", len(joined), partial(iter, joined)),
        *(Stream(name, 10, partial(_lookups, make, seed + 4)) for name, make in LOOKUPS.items()),
    ]
    for k, (name, make) in enumerate(_small_probes().items()):
        streams.append(Stream(name, 24 if name in ERRATIC else 10, partial(small, make, seed + 10 + k)))
    return streams


Dense = Callable[[int, int, int, int], Probe]
"""Inputs, outputs, rows and working set -> probe of a dense layer."""


def dense_row(make: Dense, seed: int) -> Iterator[Probe]:
    """Yield layers for one row."""
    wide = spread((1024, 10_000), (8, 512), (2e5, 1.6e7), seed=seed + 1)
    for k, (n_in, n_out, working_set) in enumerate(spread((4, 1024), (1, 1024), (2e4, 1.6e7), seed=seed)):
        yield make(n_in, n_out, 1, working_set)
        if k % 5 == 4:
            n_in, n_out, working_set = next(wide)
            yield make(n_in, n_out, 1, working_set)


def dense_rows(make: Dense, seed: int) -> Iterator[Probe]:
    """Yield layers for several rows."""
    for n_in, n_out, rows, working_set in spread((4, 1500), (1, 1024), (2, 300), (2e4, 1.6e7), seed=seed):
        yield make(n_in, n_out, rows, working_set)


def dense_large(make: Dense, seed: int) -> Iterator[Probe]:
    """Yield layers behind a whole image: one matrix of many megabytes."""
    for n_in, n_out, rows in spread((3000, 40_000), (64, 1024), (0.05, 40), seed=seed):
        if 4 * n_in * n_out <= LARGEST_WEIGHTS:
            yield make(n_in, n_out, max(1, rows), 4 * n_in * n_out)


def dense_stored(make: Dense, seed: int) -> Iterator[Probe]:
    """Yield products of a few rows with thousands of others, as of nearest neighbours."""
    for n_in, stored, rows in spread((4, 200), (1000, 10_000), (0.4, 48), seed=seed):
        yield make(n_in, stored, max(1, rows), 4 * n_in * stored)


def small(make: Callable[[int, int], Probe], seed: int) -> Iterator[Probe]:
    """Yield an operation on one wide row and on many of them, then on one row half of the time, else on several."""
    random = np.random.default_rng(seed)
    yield make(4096, 1)
    yield make(4096, 256)
    for width, rows in spread((4, 1024), (0.004, 256), seed=seed):
        yield make(width, max(1, rows))
        if random.random() < LARGER_SHARE:
            yield make(4 * width, 4 * rows + 1)


def _nearest(seed: int) -> Iterator[Probe]:
    for width, kept, rows in spread((100, 10_000), (1, 64), (0.4, 48), seed=seed):
        yield top(kept, width, max(1, rows))


def _trees(rows: tuple[float, float], seed: int) -> Iterator[Probe]:
    for n, leaves, outputs, n_rows, features in spread((1, 700), (4, 64), (0.4, 30), rows, FEATURES, seed=seed):
        yield trees(n, leaves, max(1, outputs), n_rows, features)


def _boosted(seed: int) -> Iterator[Probe]:
    """Yield as many trees as rounds times classes."""
    for n, leaves, outputs, rows, features in spread((700, 5000), (8, 32), (3, 30), (0.4, 40), FEATURES, seed=seed):
        yield trees(n, leaves, outputs, max(1, rows), features)


def _deep_trees(seed: int) -> Iterator[Probe]:
    """Yield trees whose leaves vote for every class."""
    ranges = ((4, 500), (32, 4000), (0.4, 30), (0.2, 48), FEATURES)
    for n, leaves, outputs, rows, features in spread(*ranges, seed=seed):
        if n * leaves <= MOST_LEAVES:
            yield trees(n, leaves, max(1, outputs), max(1, rows), features, max(1, outputs))


def _lookups(make: Callable[[int, int, int, int], Probe], seed: int) -> Iterator[Probe]:
    for n_codes, columns, width, rows in spread((4, 4000), (1, 64), (1, 16), (0.6, 64), seed=seed):
        yield make(n_codes, columns, width, max(1, rows))


LOOKUPS: dict[str, Callable[[int, int, int, int], Probe]] = {
    "embeddings": gather,
    "lookups of numbers": lambda n_codes, columns, _, rows: gather(n_codes, columns, 0, rows),
    "dictionaries": lambda n_codes, columns, _, rows: encoder(n_codes, columns, rows),
}
"""Name -> function of codes, columns, width and rows."""


ERRATIC = ("Clip", "ReduceSum", "Add by row", "Mul by row")
"""Probes whose time depends on more than their bytes."""


def _small_probes() -> dict[str, Callable[[int, int], Probe]]:
    """One function of width and rows for each elementwise, normalising and joining operator."""
    floats = ("Sqrt", "Relu", "Gelu", "QuickGelu", "Sigmoid", "HardSigmoid", "Tanh", "Erf", "Flatten", "Softmax")
    seldom = ("Sin", "Cos", "Exp", "Log", "Abs", "Neg", "Round")
    return {
        **{f"{op} of doubles": partial(unary, op, dtype="double") for op in ("IsNaN", "Cast")},
        **{op: partial(unary, op) for op in (*floats, *seldom)},
        **{f"{op} of doubles by row": partial(binary, op, dtype="double") for op in ("Sub", "Mul")},
        **{op: partial(binary, op, constant=False) for op in ("Add", "Mul", "Div", "Sum", "Max", "Min")},
        "Add of integers": partial(binary, "Add", dtype="int64"),
        **{f"{op} by row": partial(binary, op) for op in ("Add", "Mul", "Sub")},
        **{op: partial(normalisation, op) for op in ("LayerNormalization", "BatchNormalization")},
        "Clip": clip,
        "Clip of doubles": partial(clip, dtype="double"),
        "Cast of pixels": partial(unary, "Cast", dtype="uint8"),
        "Where": where,
        "Concat": partial(concat, 2),
        "ReduceSum": reduction,
    }
