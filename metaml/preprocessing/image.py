"""From raw pixels to standardised images; also as ONNX operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.data import RawInputs
from metaml.models.base import ImageShape, Tensors
from metaml.preprocessing.base import USUAL, Features, Preprocessor

TINY = 1e-3
"""A channel that spreads less than this, in levels of 255, is as good as constant."""
PART = 1024
"""Images that are transformed at a time, so that few are in memory twice."""


@dataclass(frozen=True)
class ImageFeatures(Features):
    """What networks on images take: float32 ``images`` (n, c, h, w), of mean 0 and variance 1 in every channel."""

    images: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The images."""
        return (self.images,)

    def rows(self, indices: np.ndarray) -> ImageFeatures:
        """Return the images at `indices`."""
        return ImageFeatures(self.images[indices])


@dataclass(frozen=True)
class ImagePreprocessor(Preprocessor):
    """Fitted on the training images alone: a pixel x becomes (x - mean) / standard deviation of its channel."""

    height: int
    width: int
    mean: np.ndarray
    """float32 (c,)."""
    scale: np.ndarray
    """Reciprocal standard deviations, float32 (c,)."""

    @classmethod
    def fit(cls, inputs: RawInputs, kind: str = USUAL) -> Self:
        """Learn from raw uint8 ``pixels`` (n, h, w, c); there is one kind only."""
        del kind
        pixels = inputs["pixels"]
        levels = np.arange(256)
        mean, scale = np.zeros(pixels.shape[3]), np.ones(pixels.shape[3])
        for channel in range(pixels.shape[3]):
            share = np.bincount(pixels[..., channel].ravel(), minlength=256) / pixels[..., channel].size
            mean[channel] = share @ levels
            spread = np.sqrt(share @ (levels - mean[channel]) ** 2)
            scale[channel] = 1 / spread if spread > TINY else 1.0
        return cls(pixels.shape[1], pixels.shape[2], mean.astype(np.float32), scale.astype(np.float32))

    def shape(self, n_outputs: int, *, is_regression: bool) -> ImageShape:
        """Return what a model sees of the task."""
        return ImageShape(len(self.mean), self.height, self.width, n_outputs=n_outputs, is_regression=is_regression)

    def transform(self, inputs: RawInputs) -> ImageFeatures:
        """Return the features of raw uint8 ``pixels`` (n, h, w, c)."""
        pixels = inputs["pixels"]
        images = np.empty((len(pixels), len(self.mean), self.height, self.width), dtype=np.float32)
        for start in range(0, len(pixels), PART):
            part = pixels[start : start + PART].astype(np.float32)
            images[start : start + PART] = ((part - self.mean) * self.scale).transpose(0, 3, 1, 2)
        return ImageFeatures(images)

    def emit(self, graph: OpGraph) -> dict[str, str]:
        """Append the operations that do `transform`; node of the images."""
        c = len(self.mean)
        raw, shape = (BATCH, self.height, self.width, c), (BATCH, c, self.height, self.width)
        pixels = graph.input("pixels", raw, dtype="uint8")
        numbers = graph.add("Cast", pixels, output=raw, dtype="uint8", to=1)
        planes = graph.add("Transpose", numbers, output=shape, perm=[0, 3, 1, 2])
        centered = graph.add("Sub", planes, Parameter("pixel.mean", (c, 1, 1)), output=shape)
        return {"images": graph.add("Mul", centered, Parameter("pixel.scale", (c, 1, 1)), output=shape)}

    def tensors(self) -> Tensors:
        """Return the arrays of the emitted operations."""
        return {"pixel.mean": self.mean[:, None, None], "pixel.scale": self.scale[:, None, None]}
