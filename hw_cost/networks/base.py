"""What random networks are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter


@dataclass(frozen=True)
class Network:
    """A random network, and the batch that it is run with."""

    name: str
    kind: str
    graph: OpGraph
    batch: int = 1


def log_uniform(random: np.random.Generator, low: float, high: float) -> int:
    """Return a whole number of which all magnitudes are equally likely."""
    return int(round(float(np.exp(random.uniform(np.log(low), np.log(high))))))


def add_dense(graph: OpGraph, x: str, name: str, n_in: int, n_out: int) -> str:
    """Append a dense layer with a bias."""
    constants = Parameter(f"{name}.weight", (n_out, n_in)), Parameter(f"{name}.bias", (n_out,))
    return graph.add("Gemm", x, *constants, output=(BATCH, n_out), transB=1)


def add_norm(graph: OpGraph, x: str, name: str, op: str = "LayerNormalization") -> str:
    """Append a layer or batch normalisation of the last axis."""
    shape = graph.network.nodes[x]["shape"]
    names = ("scale", "shift") if op == "LayerNormalization" else ("scale", "shift", "mean", "variance")
    constants = [Parameter(f"{name}.{constant}", (shape[-1],)) for constant in names]
    more = {"axis": -1} if op == "LayerNormalization" else {}
    return graph.add(op, x, *constants, output=shape, **more)


def add_tail(graph: OpGraph, scores: str, outputs: int) -> None:
    """Append what makes predictions of scores: probabilities, or a number on the target's scale."""
    shape = (BATCH, outputs)
    if outputs > 1:
        graph.add("Softmax", scores, output=shape, axis=-1)
        return
    scaled = graph.add("Mul", scores, Parameter("target_scale", ()), output=shape)
    graph.add("Add", scaled, Parameter("target_center", ()), output=shape)
