"""Dataset2Vec: a network that reads a table of any size and places it among tables, Jomaa et al. (2021).

φ(D) = h(mean over features m and targets t of g(mean over rows n of f(x_nm, y_nt))): the means make it blind to
the order of rows, features and classes. How it is trained: `metafeatures.similarity.dataset2vec_training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from metafeatures.similarity.base import Similarity, TaskView
from metafeatures.table import Table

WEIGHTS = Path(__file__).parents[1] / "weights" / "dataset2vec.safetensors"
WIDTH = 32
DIMENSIONS = 32
PATCHES = 12
ROWS, FEATURES, TARGETS = 64, 8, 3
"""Largest patch: what the network sees of a table at once, in training and after it."""

Patch = tuple[Tensor, Tensor]
"""Features ``(n, m)`` and targets ``(n, t)`` of the same rows."""


class Residual(nn.Module):
    """x + a stack of dense layers with rectifiers."""

    def __init__(self, width: int, depth: int = 3) -> None:
        super().__init__()
        layers = [layer for _ in range(depth) for layer in (nn.ReLU(), nn.Linear(width, width))]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` -> ``(..., width)``."""
        return torch.as_tensor(x + self.layers(x))


class Dataset2Vec(nn.Module):
    """The network: f on cells, g on means over rows, h on means over features and targets."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(2, WIDTH), *(Residual(WIDTH) for _ in range(blocks)), nn.ReLU())
        self.g = nn.Sequential(nn.Linear(WIDTH, WIDTH), Residual(WIDTH), nn.ReLU())
        self.h = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), *(Residual(WIDTH) for _ in range(blocks)), nn.ReLU(), nn.Linear(WIDTH, DIMENSIONS)
        )

    def forward(self, patches: list[Patch]) -> Tensor:
        """Embed b patches of any shapes: ``(b, DIMENSIONS)``."""
        return torch.as_tensor(self.h(torch.stack([self._mean(x, y) for x, y in patches])))

    def _mean(self, x: Tensor, y: Tensor) -> Tensor:
        n, m, t = len(x), x.shape[1], y.shape[1]
        cells = torch.stack([x[:, :, None].expand(n, m, t), y[:, None, :].expand(n, m, t)], dim=-1)
        return torch.as_tensor(self.g(self.f(cells).mean(dim=0)).mean(dim=(0, 1)))


def matrices(table: Table) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The sample as the network reads it: features ``(n, d)`` and targets ``(n, t)``.

    Features are those of `Table.encoded`, clipped; targets one indicator a class, in regression the standardised
    number.
    """
    X = np.clip(table.encoded, -5, 5).astype(np.float32)
    if table.is_classification:
        return X, (table.classes[:, None] == np.unique(table.classes)).astype(np.float32)
    centred = table.values - table.values.mean() if table.m else table.values
    spread = centred.std() if table.m else 0.0
    return X, np.clip(centred / (spread if spread > 0 else 1.0), -5, 5).astype(np.float32)[:, None]


def draw_patch(X: NDArray[np.float32], Y: NDArray[np.float32], *, rng: np.random.Generator) -> Patch:
    """Random rows, features and targets of a table, at most `ROWS`, `FEATURES` and `TARGETS` of them."""
    rows = rng.permutation(len(X))[:ROWS]
    features = rng.permutation(X.shape[1])[:FEATURES]
    targets = rng.permutation(Y.shape[1])[:TARGETS]
    return torch.from_numpy(X[np.ix_(rows, features)]), torch.from_numpy(Y[np.ix_(rows, targets)])


@cache
def trained() -> Dataset2Vec:
    """The network with the weights that ship."""
    network = Dataset2Vec()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval().requires_grad_(requires_grad=False)


def embed(table: Table, *, seed: int = 0, network: Dataset2Vec | None = None) -> pd.Series[float]:
    """Where a table lies: the mean embedding of `PATCHES` patches, nan for a table without cells.

    Rows, columns and classes of a `Table` are in an order of their content, so that the vector does not depend on
    theirs.
    """
    X, Y = matrices(table)
    vector = np.full(DIMENSIONS, np.nan)
    if X.size:
        rng = np.random.default_rng(seed)
        network = network or trained()
        with torch.inference_mode():
            patches = [draw_patch(X, Y, rng=rng) for _ in range(PATCHES)]
            vector = network(patches).mean(dim=0).double().numpy()
    return pd.Series(vector, [f"d2v.{i}" for i in range(DIMENSIONS)])


class Dataset2VecDistance(Similarity):
    """Euclidean distance of the embeddings of `embed`."""

    name = "dataset2vec"
    version = "1"

    def supports(self, view: TaskView) -> bool:
        """Whether the task was embedded."""
        return self.name in view.vectors and bool(np.isfinite(view.vectors[self.name].to_numpy()).all())

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        self._vectors = pd.DataFrame({name: view.vectors[self.name] for name, view in tasks.items()}).T

    def _distances(self, target: TaskView) -> pd.Series[float]:
        differences = self._vectors - target.vectors[self.name]
        return pd.Series(np.linalg.norm(differences.to_numpy(), axis=1), self._vectors.index)
