"""Augmentation of images while a network is trained: operations on whole batches, every image with its own chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ConfigSpace import CategoricalHyperparameter, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter
from torch import Generator, Tensor
from torch.nn import functional

from metaml.models.torch_family import Batch

CHOSEN = 2
"""Distortions of `distort` that each image undergoes."""
DISTORTIONS = ("rotate", "shear_x", "shear_y", "shift_x", "shift_y", "brightness", "contrast", "saturation")
LARGEST = (30 * math.pi / 180, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9, 0.9)
"""Strength of each at magnitude 1: an angle, slopes, shares of half a side, standard deviations, and two shares."""


def augmentation_space() -> list[Hyperparameter[Any, Any]]:
    """Return the hyperparameters of the augmentation; 0 and ``none`` are nothing."""
    return [
        CategoricalHyperparameter("flip", ["none", "horizontal"], default_value="horizontal"),
        OrdinalHyperparameter("crop", [0.0, 0.0625, 0.125, 0.25], default_value=0.0625),
        OrdinalHyperparameter("cutout", [0.0, 0.25, 0.5], default_value=0.25),
        OrdinalHyperparameter("mixup", [0.0, 0.2, 0.5], default_value=0.5),
        OrdinalHyperparameter("distortion", [0.0, 0.25, 0.5, 1.0], default_value=0.0),
    ]


@dataclass(frozen=True)
class Augmentation:
    """What is done to every batch of standardised images ``(b, c, h, w)``, in which 0 is a mean pixel."""

    flip: bool
    crop: float
    """Largest shift, as a share of each side."""
    cutout: float
    """Side of the square that is blotted out, as a share of the shorter side."""
    mixup: float
    """Largest share of another image."""
    distortion: float
    """Magnitude of two random distortions."""
    n_outputs: int
    is_regression: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], *, n_outputs: int, is_regression: bool) -> Augmentation | None:
        """Return what a configuration asks for; None for nothing."""
        strengths = {name: float(config[name]) for name in ("crop", "cutout", "mixup", "distortion")}
        flip = config["flip"] == "horizontal"
        if not flip and not any(strengths.values()):
            return None
        return cls(flip, **strengths, n_outputs=n_outputs, is_regression=is_regression)

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return a changed batch; with `mixup`, class codes become class probabilities."""
        (x,), target = batch.inputs, batch.target
        changes: list[tuple[float, Callable[[Tensor, float, Generator], Tensor]]] = [
            (self.distortion, distort),
            (float(self.flip), flip),
            (self.crop, shift),
            (self.cutout, cut_out),
        ]
        for strength, change in changes:
            if strength:
                x = change(x, strength, generator)
        if self.mixup:
            x, target = self._mix(x, target, generator)
        return Batch((x,), target)

    def _mix(self, x: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Mix every image with another one (Zhang et al. 2018); its share is uniform in 0 … `mixup`."""
        share = self.mixup * _uniform(len(x), generator)
        other = torch.randperm(len(x), generator=generator, device=generator.device)
        if not self.is_regression and target.ndim == 1:
            target = functional.one_hot(target, self.n_outputs).to(x.dtype)
        parts = share.view(-1, *[1] * (target.ndim - 1))
        mixed_target = target + parts * (target[other] - target)
        return x + share.view(-1, 1, 1, 1) * (x[other] - x), mixed_target


def flip(x: Tensor, probability: float, generator: Generator) -> Tensor:
    """Mirror half of the images, left to right; `probability` is 1 for all chances."""
    mirrored = _uniform(len(x), generator) < 0.5 * probability
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def shift(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Move every image by whole pixels, at most `share` of each side; what comes in is mean pixels."""
    b, _, height, width = x.shape
    margins = [max(1, round(share * side)) for side in (height, width)]
    padded = functional.pad(x, (margins[1], margins[1], margins[0], margins[0]))
    starts = [torch.randint(0, 2 * m + 1, (b, 1), generator=generator, device=x.device) for m in margins]
    rows, columns = (start + torch.arange(n, device=x.device) for start, n in zip(starts, (height, width), strict=True))
    images = torch.arange(b, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Blot out a square within every image (DeVries & Taylor 2017); `share` of the shorter side is its side."""
    b, _, height, width = x.shape
    side = max(1, round(share * min(height, width)))
    masks = []
    for length in (height, width):
        start = torch.randint(0, length - side + 1, (b, 1), generator=generator, device=x.device)
        place = torch.arange(length, device=x.device)
        masks.append((place >= start) & (place < start + side))
    return x.masked_fill((masks[0][:, :, None] & masks[1][:, None, :])[:, None], 0.0)


def distort(x: Tensor, magnitude: float, generator: Generator) -> Tensor:
    """Distort every image in two random ways of `DISTORTIONS` (after RandAugment, Cubuk et al. 2020).

    All images go through the same few operations; those that are not chosen for an image have strength 0.
    """
    b = len(x)
    chances = torch.rand((b, len(DISTORTIONS)), generator=generator, device=x.device)
    chosen = torch.zeros_like(chances).scatter(1, chances.topk(CHOSEN, dim=1).indices, 1.0)
    signed = 2 * torch.rand((b, len(DISTORTIONS)), generator=generator, device=x.device) - 1
    strength = magnitude * chosen * signed * x.new_tensor(LARGEST)
    named = dict(zip(DISTORTIONS, strength.unbind(1), strict=True))
    return _recolour(_deform(x, named), named)


def _deform(x: Tensor, strength: Mapping[str, Tensor]) -> Tensor:
    cosine, sine = torch.cos(strength["rotate"]), torch.sin(strength["rotate"])
    a, b = strength["shear_x"], strength["shear_y"]
    first = torch.stack([cosine - sine * b, cosine * a - sine, strength["shift_x"]], dim=1)
    second = torch.stack([sine + cosine * b, sine * a + cosine, strength["shift_y"]], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def _recolour(x: Tensor, strength: Mapping[str, Tensor]) -> Tensor:
    parts = [strength[name].view(-1, 1, 1, 1) for name in ("brightness", "contrast", "saturation")]
    brightness, contrast, saturation = parts
    grey = x.mean(dim=1, keepdim=True)
    x = x + saturation * (x - grey)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return x + contrast * (x - mean) + brightness


def _uniform(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)
