"""Probes: small graphs that show what one kernel costs.

A probe holds many copies of an operation, each with constants of its own, all reading the same input; only the shape of
one output is returned, so that nothing large is handed over. The time of a probe minus that of a call that computes
nothing, divided by the copies, is the time of one kernel, free of the overhead of the call and of a profiler. The
copies together fill the caches as the layers of a network do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from hw_cost.graph import BATCH, OpGraph
from hw_cost.kernels import Kernel, kernels_of, work_of
from hw_cost.ops import size
from hw_cost.runtimes.feeds import MOST_BATCHES

MAX_COPIES = 48
MAX_FLOPS, MAX_BYTES = 5e7, 2e7
"""Work of all copies of a probe: more copies than one are made only below it."""
MOST_ELEMENTS = 300_000
"""Random numbers that the inputs of a probe are made of."""
CACHED_ELEMENTS = 300_000
"""Numbers that stay in a cache."""
PRIMES = (2, 3, 5, 7, 11, 13)
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

    @classmethod
    def of(cls, graph: OpGraph, output: str, copies: int, rows: int, high: int = 2) -> Probe:
        """Return a probe of the operation that makes `output`."""
        node = graph.network.nodes[output]
        kernel = kernels_of(graph, rows, operations=[node["operation"]])[1]
        shape = graph.add("Shape", output, output=(len(node["shape"]),))
        return cls(kernel, graph, shape, copies, rows, high)

    @property
    def inputs(self) -> list[tuple[str | None, tuple[int, ...]]]:
        """Element type and shape of each input."""
        nodes = self.graph.network.nodes.values()
        return [(data["dtype"], data["shape"]) for data in nodes if "operation" not in data]

    @property
    def baseline(self) -> str:
        """Probes with equal baselines have calls that cost the same."""
        has_strings = any(dtype == "string" for dtype, _ in self.inputs)
        return f"{len(self.inputs)} {self.inputs} {self.rows}" if has_strings else f"{len(self.inputs)}"

    @property
    def n_rows(self) -> int:
        """Rows to draw calls from: few where rows are large, because random numbers take time too.

        Trees get as many as fit in a cache, as in networks the features that they read were just computed there, but
        not fewer: of a few hundred rows a processor learns which way they go, and keeps the nodes that they pass.
        """
        elements = max(1, sum(size(shape[1:]) for _, shape in self.inputs))
        if self.kernel.kind == "trees":
            return min(MOST_BATCHES * self.rows, max(self.rows, CACHED_ELEMENTS // elements))
        return min(128 * self.rows, max(self.rows, MOST_ELEMENTS // elements))


def probe(
    add: Add,
    shape: tuple[int, ...],
    *,
    rows: int = 1,
    dtype: str | None = None,
    copies: int,
    least: int = 1,
    high: int = 2,
) -> Probe:
    """Return a probe of `least` to `copies` operations that read an input of the given shape."""
    alone = Probe.of(*_graph(add, shape, dtype, 1), 1, rows)
    work = work_of(alone.kernel) or {"flops": 0, "bytes": 0}
    affordable = min(MAX_FLOPS / max(1, work["flops"]), MAX_BYTES / max(1, work["bytes"]))
    copies = max(least, min(copies, int(affordable)))
    return Probe.of(*_graph(add, shape, dtype, copies), copies, rows, high)


def _graph(add: Add, shape: tuple[int, ...], dtype: str | None, copies: int) -> tuple[OpGraph, str]:
    graph = OpGraph()
    x = graph.input(INPUT, shape, dtype=dtype)
    return graph, [add(graph, x, k) for k in range(copies)][-1]


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
    strings = [shape[1] for dtype, shape in probed.inputs if dtype == "string"]
    return call_probe(len(probed.inputs), sum(strings), probed.rows)


@dataclass(frozen=True)
class Stream:
    """An endless sequence of probes of one sort; how many of them are measured is decided while building."""

    name: str
    first: int
    """Probes that every full build measures."""
    draw: Callable[[], Iterator[Probe]]
    """Starts the sequence: the same one each time."""


def spread(*ranges: tuple[float, float], seed: int) -> Iterator[list[int]]:
    """Yield points spread evenly over the logarithms of the ranges."""
    low, high = np.log(np.array(ranges)).T
    for point in unit_points(len(ranges), seed=seed):
        yield [int(round(value)) for value in np.exp(low + point * (high - low))]


def unit_points(dimensions: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yield points spread evenly over the unit cube: a Halton (1960) sequence, shifted at random.

    Every second point has its first number in the same half. So nothing is made of every second point: what a probe
    has beside sizes, such as a window, is drawn at random.
    """
    shift = np.random.default_rng(seed).random(dimensions)
    for k in count(1):
        yield (np.array([_radical_inverse(k, base) for base in PRIMES[:dimensions]]) + shift) % 1


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
