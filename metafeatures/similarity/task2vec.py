"""Task2Vec: what a fixed network would have to change for a task of images, Achille et al. (2019).

A probe network, trained once on other images, gets a new last layer for the task. The diagonal of the Fisher
information of its filters, F = E_x E_{y ~ p(y|x)} (∂ log p(y|x) / ∂w)², says which of them matter: tasks that lean on
the same filters are alike. How the probe is trained: `metafeatures.similarity.task2vec_training`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from metafeatures.similarity.base import Similarity, TaskView

WEIGHTS = Path(__file__).parents[1] / "weights" / "task2vec.safetensors"
SIDE = 32
CHANNELS = (16, 32, 32, 64)
MAX_IMAGES = 400
DRAWS = 8
"""Labels drawn for each image; the expectation over the labels is exact where there are no more classes than this."""
DECAY = 1e-3
"""Strength of the L2 penalty of the new last layer."""
BATCH = 100

Parameters = dict[str, Tensor]
Logits = Callable[[Parameters, Tensor], Tensor]
"""(parameters, one input) -> logits ``(k,)``."""


class Probe(nn.Module):
    """Four strided convolutions and a mean over the image; the last layer belongs to a task."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, CHANNELS, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        """``(b, 3, SIDE, SIDE)`` -> ``(b, CHANNELS[-1])``."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            images = torch.relu(norm(convolution(images)))
        return images.mean(dim=(2, 3))


def as_tensor(images: NDArray[Any]) -> Tensor:
    """Images ``(n, h, w)`` or ``(n, h, w, 1 or 3)`` of any size and range -> ``(n, 3, SIDE, SIDE)``, standardised.

    Raises:
        ValueError: The array has another shape.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, 1 or 3), however: {images.shape}")
    x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).permute(0, 3, 1, 2)
    x = nn.functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    x = x.expand(-1, 3, -1, -1)
    return (x - x.mean()) / x.std().clamp_min(1e-6)


@cache
def trained() -> Probe:
    """The probe with the weights that ship."""
    probe = Probe()
    probe.load_state_dict(load_file(WEIGHTS))
    return probe.eval().requires_grad_(requires_grad=False)


def embed(images: NDArray[Any], labels: NDArray[Any], *, seed: int = 0, probe: Probe | None = None) -> pd.Series[float]:
    """The Fisher information of each filter of the probe: where a task of images lies, ``(sum(CHANNELS),)``.

    Neither the order of the images nor the names of the classes matter: a hash of the images decides which
    `MAX_IMAGES` are used.

    Args:
        images: ``(n, h, w)`` or ``(n, h, w, 1 or 3)``.
        labels: the class of each, ``(n,)``.
        seed: of the choice of images and of the labels drawn.
        probe: None: the one that ships.

    Raises:
        ValueError: Images and labels differ in length, or have one class only.
    """
    if len(images) != len(labels):
        raise ValueError(f"there must be one label an image, however: {len(images)} images, {len(labels)} labels")
    probe = probe or trained()
    order = _order(images, seed)
    codes, classes = pd.factorize(np.asarray(labels)[order])
    if len(classes) < 2:
        raise ValueError("a task of images must have two classes or more, however: one, or no image")
    x, y = as_tensor(np.asarray(images)[order]), torch.from_numpy(codes)
    with torch.no_grad():
        head = fit_head(probe(x), y, len(classes))

    def logits(parameters: Parameters, image: Tensor) -> Tensor:
        return torch.as_tensor(head(torch.func.functional_call(probe, parameters, (image[None],)))[0])

    filters = {name: p.detach() for name, p in probe.named_parameters() if name.startswith("conv") and p.ndim == 4}
    fisher = fisher_diagonal(logits, filters, x, seed=seed)
    values = torch.cat([f.mean(dim=(1, 2, 3)) for f in fisher.values()]).double().numpy()
    return pd.Series(values, [f"filter.{i}" for i in range(len(values))])


def _order(images: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """The images to use, sorted by a hash of their content."""
    key = str(seed).encode()
    hashes = [
        hashlib.blake2b(np.ascontiguousarray(image).tobytes(), key=key, digest_size=8).digest() for image in images
    ]
    return np.argsort(np.array(hashes, dtype="S8"), kind="stable")[:MAX_IMAGES]


def fit_head(features: Tensor, labels: Tensor, k: int) -> nn.Linear:
    """A last layer for k classes: penalised multinomial logistic regression, which has one optimum.

    Args:
        features: ``(n, d)``
        labels: ``(n,)``, codes below ``k``.
        k: number of classes.
    """
    head = nn.Linear(features.shape[1], k)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(head(features), labels) + DECAY / 2 * head.weight.square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return head.requires_grad_(requires_grad=False)


@torch.no_grad()
def fisher_diagonal(
    logits: Logits, parameters: Parameters, inputs: Tensor, *, draws: int = DRAWS, seed: int = 0
) -> Parameters:
    """E_x E_{y ~ p(y|x)} (∂ log p(y|x) / ∂w)² of every parameter, true gradients of single inputs.

    Args:
        logits: the model.
        parameters: what is differentiated.
        inputs: ``(n, …)``
        draws: labels drawn for each input from the model's own distribution; with as many classes or fewer the
            expectation is computed.
        seed: of the labels.
    """

    def log_likelihood(values: Parameters, x: Tensor, label: Tensor) -> Tensor:
        return torch.log_softmax(logits(values, x), dim=-1).gather(-1, label[None])[0]

    gradients = torch.func.vmap(torch.func.grad(log_likelihood), in_dims=(None, 0, 0))
    generator = torch.Generator().manual_seed(seed)
    total = {name: torch.zeros_like(values) for name, values in parameters.items()}
    for x in torch.split(inputs, BATCH):
        p = torch.softmax(torch.func.vmap(logits, in_dims=(None, 0))(parameters, x), dim=-1)
        for labels, weights in _labels(p, draws, generator):
            for name, gradient in gradients(parameters, x, labels).items():
                total[name] += torch.tensordot(weights, gradient.square(), dims=1)
    return {name: values / len(inputs) for name, values in total.items()}


def _labels(p: Tensor, draws: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Labels for n inputs and the weight of each, both ``(n,)``: all of them by probability, or some at random."""
    n, k = p.shape
    if k <= draws:
        return [(torch.full((n,), label), p[:, label]) for label in range(k)]
    drawn = torch.multinomial(p, draws, replacement=True, generator=generator)
    return [(labels, torch.full((n,), 1 / draws, dtype=p.dtype)) for labels in drawn.T]


class Task2VecDistance(Similarity):
    """Cosine distance of F_a / (F_a + F_b) and F_b / (F_a + F_b): every filter counts by its share, not its size."""

    name = "task2vec"
    version = "1"

    def supports(self, view: TaskView) -> bool:
        """Whether the task has images, and they were embedded."""
        return self.name in view.vectors

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        self._vectors = pd.DataFrame({name: view.vectors[self.name] for name, view in tasks.items()}).T

    def _distances(self, target: TaskView) -> pd.Series[float]:
        own, stored = target.vectors[self.name].to_numpy(), self._vectors.to_numpy()
        total = own + stored
        a, b = (np.divide(part, total, out=np.full_like(total, 0.5), where=total > 0) for part in (own, stored))
        cosines = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        return pd.Series(1 - cosines, self._vectors.index)
