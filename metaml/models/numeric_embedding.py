"""Embeddings of numeric features (Gorishniy et al. 2022, "On embeddings for numerical features")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ConfigSpace import CategoricalHyperparameter, EqualsCondition, Float, Integer
from ConfigSpace.hyperparameters import Hyperparameter
from torch import Tensor, nn

from hw_cost.graph import BATCH, OpGraph, Parameter, constant, number
from metaml.models.base import emit_squash
from metaml.models.layers import Prepared, Projection, emit_projection

MOST_ROWS = 20_000
"""Rows that the edges of the bins are quantiles of."""


def numeric_embedding_space(default: str = "none") -> list[Any]:
    """Return the choice of the embedding and, under it, the sizes of each."""
    choice = CategoricalHyperparameter(
        "numeric_embedding", ["none", "piecewise_linear", "periodic"], default_value=default
    )
    bins = Integer("n_bins", (4, 32), default=12, log=True)
    periodic: list[Hyperparameter[Any, Any]] = [
        Integer("n_frequencies", (4, 32), default=16, log=True),
        Float("frequency_scale", (0.01, 2.0), default=0.1, log=True),
        Integer("periodic_width", (4, 16), default=8, log=True),
    ]
    conditions = [EqualsCondition(size, choice, "periodic") for size in periodic]
    return [choice, bins, *periodic, EqualsCondition(bins, choice, "piecewise_linear"), *conditions]


def embedding_width(config: Mapping[str, Any]) -> int:
    """Numbers that stand for one numeric feature."""
    widths = {"none": 1, "piecewise_linear": config.get("n_bins"), "periodic": config.get("periodic_width")}
    return int(widths[config["numeric_embedding"]] or 1)


class NumericEmbedding(nn.Module):
    """Squashes numeric features, and embeds each of them by itself.

    **Shape**
    - Input: ``(batch, n)``
    - Output: ``(batch, n, width)``
    """

    def __init__(self, config: Mapping[str, Any], n: int) -> None:
        super().__init__()
        kind = config["numeric_embedding"]
        self.embed: nn.Module | None = None
        if kind == "piecewise_linear":
            self.embed = PiecewiseLinear(n, int(config["n_bins"]))
        elif kind == "periodic":
            sizes = int(config["n_frequencies"]), int(config["periodic_width"])
            self.embed = Periodic(n, *sizes, scale=float(config["frequency_scale"]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedded features."""
        x = squashed(x)
        embedded: Tensor = x.unsqueeze(-1) if self.embed is None else self.embed(x)
        return embedded


def squashed(x: Tensor) -> Tensor:
    """Return x / sqrt(1 + (x/3)^2), as `metaml.models.base.squash` does."""
    return x / torch.sqrt(x * x * (1 / 9) + 1)


class PiecewiseLinear(Prepared):
    """How far a feature has come in each of its bins, from 0 to 1 (ibid. eq. 1); bins are quantiles (section 3.2.1).

    Beyond the outermost edges nothing changes any more. A feature with few values has fewer bins; the rest stay 0.

    **Shape**
    - Input: ``(batch, n)``
    - Output: ``(batch, n, n_bins)``
    """

    left: Tensor
    steepness: Tensor

    def __init__(self, n: int, n_bins: int) -> None:
        super().__init__()
        self.register_buffer("left", torch.zeros(n, n_bins))
        self.register_buffer("steepness", torch.zeros(n, n_bins))

    def prepare(self, *inputs: Tensor) -> None:
        """Put the edges of the bins at quantiles of the training rows."""
        numeric = inputs[0][:: max(1, len(inputs[0]) // MOST_ROWS)]
        columns = squashed(numeric).cpu().numpy().astype(np.float64)
        n_bins = self.left.shape[1]
        for j, quantiles in enumerate(np.quantile(columns, np.linspace(0, 1, n_bins + 1), axis=0).T):
            edges = np.unique(quantiles.astype(np.float32))
            widths = torch.from_numpy(np.diff(edges))
            self.left[j, : len(widths)] = torch.from_numpy(edges[:-1])
            self.steepness[j, : len(widths)] = 1 / widths

    def forward(self, x: Tensor) -> Tensor:
        """Return the share of each bin that lies below the feature."""
        return ((x.unsqueeze(-1) - self.left) * self.steepness).clamp(0, 1)


class Periodic(nn.Module):
    """Sines and cosines of trained frequencies, a dense layer that all features share, and a ReLU.

    It is PLR with the shared layer of PLR(lite), ibid. section 3.3.

    **Shape**
    - Input: ``(batch, n)``
    - Output: ``(batch, n, width)``
    """

    def __init__(self, n: int, n_frequencies: int, width: int, *, scale: float) -> None:
        super().__init__()
        self.frequency = nn.Parameter(2 * math.pi * scale * torch.randn(n, n_frequencies))
        self.dense = Projection(2 * n_frequencies, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedded features."""
        angle = x.unsqueeze(-1) * self.frequency
        embedded: Tensor = self.dense(torch.cat([angle.cos(), angle.sin()], dim=-1)).relu()
        return embedded


def emit_numeric_embedding(graph: OpGraph, numeric: str, name: str, config: Mapping[str, Any], n: int) -> str:
    """Append a `NumericEmbedding`; node of ``(batch, n)`` when its width is 1, else of ``(batch, n, width)``."""
    squash = emit_squash(graph, numeric, n)
    if config["numeric_embedding"] == "none":
        return squash
    columns = graph.add("Unsqueeze", squash, constant(2), output=(BATCH, n, 1), at=2)
    emit = {"piecewise_linear": _emit_piecewise_linear, "periodic": _emit_periodic}[config["numeric_embedding"]]
    return emit(graph, columns, f"{name}.embed", config, n)


def _emit_piecewise_linear(graph: OpGraph, columns: str, name: str, config: Mapping[str, Any], n: int) -> str:
    shape = (n, int(config["n_bins"]))
    left, steepness = (Parameter(f"{name}.{part}", shape, is_trained=False) for part in ("left", "steepness"))
    above = graph.add("Sub", columns, left, output=(BATCH, *shape))
    share = graph.add("Mul", above, steepness, output=(BATCH, *shape))
    return graph.add("Clip", share, number(0.0), number(1.0), output=(BATCH, *shape))


def _emit_periodic(graph: OpGraph, columns: str, name: str, config: Mapping[str, Any], n: int) -> str:
    n_frequencies, width = int(config["n_frequencies"]), int(config["periodic_width"])
    shape = (BATCH, n, n_frequencies)
    angle = graph.add("Mul", columns, Parameter(f"{name}.frequency", shape[1:]), output=shape)
    waves = [graph.add(op, angle, output=shape) for op in ("Cos", "Sin")]
    joined = graph.add("Concat", *waves, output=(BATCH, n, 2 * n_frequencies), axis=2)
    dense = emit_projection(graph, joined, f"{name}.dense", width)
    return graph.add("Relu", dense, output=(BATCH, n, width))
