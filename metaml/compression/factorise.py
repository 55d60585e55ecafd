"""Factorisation: a dense layer becomes two thin ones by singular value decomposition, where two cost less than one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hw_cost.graph import Operation, OpGraph, Parameter
from metaml.compression.base import Compression, Price, copy_graph, parameters_of, used_tensors
from metaml.models import Exported, Tensors

STEP = 4
"""Ranks are multiples of this."""


def rank_for(singular: np.ndarray, energy: float) -> int:
    """Return the smallest rank whose squared singular values have a share of the sum of all.

    >>> rank_for(np.array([3.0, 1.0, 0.0]), 0.9), rank_for(np.array([3.0, 1.0, 0.0]), 0.91)
    (1, 2)
    """
    shares = np.cumsum(singular**2) / (singular**2).sum()
    return int(np.searchsorted(shares, energy - 1e-12) + 1)


def factors(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return A ``(n_out, rank)`` and B ``(rank, n_in)`` with A B nearest to the weight (Eckart & Young 1936)."""
    u, singular, v = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    root = np.sqrt(singular[:rank])
    return (u[:, :rank] * root).astype(np.float32), (root[:, None] * v[:rank]).astype(np.float32)


class Factorise(Compression):
    """Keeps a share of the energy of each dense layer's weights; a layer that would not become faster stays."""

    name = "svd"
    amounts = (0.99, 0.95, 0.9, 0.8)
    identity = 1.0

    def shrink(self, network: Exported, amount: float, price: Price) -> Exported:
        """Return the network with those layers factorised that the latency table says are faster so."""
        if amount >= self.identity:
            return network
        current, best = network, price(network.graph)
        dense = [name for name, data in network.graph.network.nodes(data=True) if _is_dense(data)]
        weights = [parameters_of(network.graph.network.nodes[name])[0].name for name in dense]
        for weight in weights:
            rank = self._rank(network.tensors[weight], amount)
            if rank is None:
                continue
            candidate = factorise_layer(current, weight, rank)
            cost = price(candidate.graph)
            if cost < best:
                current, best = candidate, cost
        return current

    def _rank(self, weight: np.ndarray, energy: float) -> int | None:
        """Rank of a layer, or None where two factors have no fewer parameters."""
        rank = rank_for(np.linalg.svd(weight, compute_uv=False), energy)
        rank = STEP * -(-rank // STEP)
        n_out, n_in = weight.shape
        return rank if rank * (n_out + n_in) < n_out * n_in else None


def factorise_layer(network: Exported, weight: str, rank: int) -> Exported:
    """Return the network in which the dense layer of a weight has become two."""
    tensors: Tensors = dict(network.tensors)
    left, right = factors(tensors[weight], rank)
    names = {f"{weight}.left": left, f"{weight}.right": right}
    tensors |= names
    graph = network.graph
    (node,) = [
        name
        for name, data in graph.network.nodes(data=True)
        if _is_dense(data) and parameters_of(data)[0].name == weight
    ]

    def write(copy: OpGraph, sources: list[str | Parameter], data: Mapping[str, Any]) -> str:
        operation = data["operation"]
        source, _, *bias = sources
        thin = copy.add(
            "Gemm", source, Parameter(f"{weight}.right", right.shape), output=(operation.output[0], rank), transB=1
        )
        wide = Parameter(f"{weight}.left", left.shape)
        return copy.add("Gemm", thin, wide, *bias, output=operation.output, **operation.attributes)

    copy = copy_graph(graph, {node: write})
    return Exported(copy, used_tensors(copy, tensors), network.attributes)


def _is_dense(data: Mapping[str, Any]) -> bool:
    if "operation" not in data:
        return False
    operation: Operation = data["operation"]
    return operation.op == "Gemm" and operation.attributes.get("transB") == 1 and len(operation.inputs) == 1
