"""Random nearest neighbours (Cover & Hart 1967)."""

from __future__ import annotations

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from hw_cost.networks.base import add_dense, log_uniform
from hw_cost.networks.tabular import OUTPUTS, add_features


def knn(graph: OpGraph, random: np.random.Generator) -> None:
    """Append the mean of the targets of the nearest of stored rows, found by one product with all of them."""
    x, width = add_features(graph, random, embed=True, most=100)
    stored, kept = log_uniform(random, 100, 10_000), log_uniform(random, 1, 50)
    outputs = int(random.choice(OUTPUTS))
    nearness = add_dense(graph, x, "stored", width, stored)  # 2 x s - s s: what differs of the distances
    nearest = graph.add("TopK", nearness, Parameter("kept", (1,)), output=(BATCH, kept), axis=-1, num_outputs=2)
    positions = graph.part(nearest, 1, (BATCH, kept), dtype="int64")
    targets = Parameter("targets", (stored, outputs))
    found = graph.add("Gather", targets, positions, output=(BATCH, kept, outputs), axis=0)
    graph.add("ReduceMean", found, Parameter("axes", (1,)), output=(BATCH, outputs), keepdims=0)
