"""Random networks of the kinds that are deployed: to correct and to validate latency tables with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hw_cost.graph import OpGraph
from hw_cost.networks.base import Network
from hw_cost.networks.embeddings import embedded_mlp
from hw_cost.networks.ensembles import averaged, extra_trees, tabm
from hw_cost.networks.images import cell, conv_resnet, convnet, mbconv
from hw_cost.networks.neighbours import knn
from hw_cost.networks.tabular import mlp, resnet, trees
from hw_cost.networks.tokens import ft_transformer, saint
from hw_cost.ops import flops

KINDS: dict[str, Callable[[OpGraph, np.random.Generator], None]] = {
    "mlp": mlp,
    "resnet": resnet,
    "trees": trees,
    "ft_transformer": ft_transformer,
    "mbconv": mbconv,
    "conv_resnet": conv_resnet,
    "convnet": convnet,
    "cell": cell,
    "saint": saint,
    "tabm": tabm,
    "embedded_mlp": embedded_mlp,
    "extra_trees": extra_trees,
    "knn": knn,
    "averaged": averaged,
}
"""Name -> appends a random network of the kind to a graph."""
ON_TABLES = ("mlp", "resnet", "trees")
"""Kinds that the search space holds."""
MOST_FLOPS = 6e8
"""Work of one call: larger networks are drawn again, because they take long to measure and say nothing new."""

__all__ = ["KINDS", "ON_TABLES", "Network", "random_networks"]


def random_networks(
    n: int, *, seed: int = 0, kinds: Sequence[str] = ON_TABLES, batches: Sequence[int] = (1,)
) -> list[Network]:
    """Return `n` networks of log-uniform sizes: each kind in turn, with each batch in turn."""
    networks = []
    for k in range(n):
        kind, batch = kinds[k % len(kinds)], batches[k // len(kinds) % len(batches)]
        graph = _drawn(kind, batch, np.random.default_rng([seed, k]))
        networks.append(Network(f"{kind}-{seed}-{k}", kind, graph, batch))
    return networks


def _drawn(kind: str, batch: int, random: np.random.Generator) -> OpGraph:
    while True:
        graph = OpGraph()
        KINDS[kind](graph, random)
        if flops(graph, batch) <= MOST_FLOPS:
            return graph
