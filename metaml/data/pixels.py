"""Arrays of images in any usual layout and range -> pixels: uint8 (n, h, w, c), grey or RGB, of one size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from metaml.errors import DataError

Pixels = np.ndarray[Any, Any]
"""uint8, shape (n, h, w, c) with c = 1 or 3."""

MAX_SIDE = 96
"""Images are made smaller so that neither side is longer than this."""
MAX_VALUES = 150_000_000
"""All images together have at most this many values; more and larger ones are made smaller."""
CHANNELS = (1, 2, 3, 4)
"""Grey, grey with alpha, RGB, RGB with alpha."""


@dataclass(frozen=True)
class ImageSize:
    """What all images of a task have in common, and how numbers become their pixels."""

    height: int
    width: int
    channels: int
    """1 for grey, 3 for RGB."""
    scale: float = 1.0
    """Pixel value, 0 to 255, of the number 1 in an array of floats or of wide integers."""

    def __str__(self) -> str:
        colour = "grey" if self.channels == 1 else "colour"
        return f"{self.height} × {self.width} pixels, {colour}"


def channels_last(images: Any) -> np.ndarray[Any, Any]:
    """Return an array of images as (n, h, w, c), told from its shape: (n, h, w), (n, h, w, c) or (n, c, h, w).

    >>> channels_last(np.zeros((5, 3, 32, 32))).shape, channels_last(np.zeros((5, 28, 28))).shape
    ((5, 32, 32, 3), (5, 28, 28, 1))

    Raises:
        DataError: it is no array of images.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "uifb":
        raise DataError(f"Images must be numbers, but are of type {array.dtype}.")
    if array.ndim == 3:
        return array[..., None]
    if array.ndim != 4 or not {array.shape[1], array.shape[3]} & set(CHANNELS):
        raise DataError(
            f"Images must be of shape (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 to 4 channels, but the shape is "
            f"{array.shape}."
        )
    return array if array.shape[3] in CHANNELS else array.transpose(0, 2, 3, 1)


def scale_of(images: np.ndarray[Any, Any]) -> float:
    """Return the pixel value of the number 1: by the type of the array, and by its range for floats.

    Raises:
        DataError: the range is none that images have.
    """
    if images.dtype == np.uint8 or not images.size:
        return 1.0
    if images.dtype == bool:
        return 255.0
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("Images must be finite numbers, but some are nan or infinite.")
    if low < 0 or high > 65535:
        raise DataError(
            f"The values of images must lie in 0 … 1, in 0 … 255 or in 0 … 65535, but lie in {low:g} … {high:g}: "
            "scale them before."
        )
    if high > 255:
        return 1 / 257
    return 255.0 if images.dtype.kind == "f" and high <= 1 else 1.0


def to_pixels(images: np.ndarray[Any, Any], scale: float) -> Pixels:
    """Return (n, h, w, c) numbers as uint8; transparent pixels are seen on white."""
    if images.dtype != np.uint8:
        images = np.clip(np.rint(images * np.float64(scale)), 0, 255).astype(np.uint8)
    if images.shape[3] in (1, 3):
        return np.ascontiguousarray(images)
    opacity = images[..., -1:].astype(np.uint16)
    seen = images[..., :-1] * opacity + 255 * (255 - opacity)
    return ((seen + 127) // 255).astype(np.uint8)


def is_grey(images: Pixels) -> bool:
    """Tell whether images have one channel, or three that are always the same."""
    return images.shape[3] == 1 or (
        np.array_equal(images[..., 0], images[..., 1]) and np.array_equal(images[..., 0], images[..., 2])
    )


def fit_size(n: int, height: int, width: int, channels: int) -> tuple[int, int]:
    """Return the (height, width) that images get, of the same proportions: the given one if it is small enough.

    >>> fit_size(1000, 32, 32, 3), fit_size(1000, 600, 800, 3)
    ((32, 32), (72, 96))
    """
    share = min(1.0, MAX_SIDE / max(height, width), (MAX_VALUES / (n * height * width * channels)) ** 0.5)
    return max(1, round(share * height)), max(1, round(share * width))


def as_pixels(images: Any, size: ImageSize) -> Pixels:
    """Return images in any usual layout as the pixels of a size: what a model of it takes.

    Raises:
        DataError: they are no images.
    """
    pixels = to_pixels(channels_last(images), size.scale)
    return match(pixels, size)


def match(pixels: Pixels, size: ImageSize) -> Pixels:
    """Return pixels with the channels, the height and the width of a size."""
    if pixels.shape[3] == 3 and size.channels == 1:
        pixels = pixels[..., :1] if is_grey(pixels) else stack((_grey(image) for image in pixels), len(pixels))
    elif pixels.shape[3] == 1 and size.channels == 3:
        pixels = np.repeat(pixels, 3, axis=3)
    if pixels.shape[1:3] != (size.height, size.width):
        pixels = stack((resize(image, size.height, size.width) for image in pixels), len(pixels))
    return np.ascontiguousarray(pixels)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Return one image (h, w, c) in another size; what becomes smaller is averaged."""
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])


def stack(images: Iterable[Pixels], n: int) -> Pixels:
    """Return n images of one size as one array, without holding them twice."""
    stacked: Pixels | None = None
    for i, image in enumerate(images):
        stacked = np.empty((n, *image.shape), dtype=np.uint8) if stacked is None else stacked
        stacked[i] = image
    return np.empty((0, 1, 1, 1), dtype=np.uint8) if stacked is None else stacked


def _grey(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]
