"""Describe a task of images by a vector: how many of which size, how they look, how easily their classes are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

IMAGE_VERSION = "images-1"
"""Number of the definitions: stored with every vector; vectors of different versions do not compare."""
MAX_IMAGES = 1000
"""Images that are looked at; numbers of images and of classes are of all."""
SIDE = 8
"""Height and width of the thumbnails that landmarks see."""
LEVELS = 256

Floats = NDArray[np.float64]


def describe_images(images: NDArray[Any], y: NDArray[Any], *, is_regression: bool = False, seed: int = 0) -> pd.Series:
    """Return the metafeatures of images; nan where one is undefined.

    Args:
        images: uint8 ``(n, h, w, c)``.
        y: class codes or values ``(n,)``.
        is_regression: whether ``y`` holds values.
        seed: of the images that are looked at.

    >>> images = np.zeros((20, 4, 4, 1), np.uint8)
    >>> images[10:] = 255
    >>> vector = describe_images(images, np.repeat([0, 1], 10))
    >>> vector[["images.mean", "images.class_entropy", "images.nearest_centroid"]].tolist()
    [0.5, 1.0, 1.0]
    """
    n, height, width, channels = images.shape
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_IMAGES])
    pixels = images[rows].astype(np.float64) / (LEVELS - 1)
    sizes = {"n": n, "height": height, "width": width, "channels": channels, "log_n": np.log(n)}
    looks = _looks(pixels, images[rows])
    codes = None if is_regression else y[rows]
    classes = _classes(y) if not is_regression else dict.fromkeys(("n_classes", "class_entropy", "rarest_class"))
    vector = {**sizes, **looks, **classes, **_landmarks(_thumbnails(pixels), codes)}
    return pd.Series({f"images.{name}": value for name, value in vector.items()}, dtype=np.float64)


def _looks(pixels: Floats, levels: NDArray[np.uint8]) -> dict[str, float]:
    """Brightness, contrast, colour, edges and emptiness, each as a mean over images."""
    grey = pixels.mean(axis=3)
    shares = np.bincount(levels.ravel(), minlength=LEVELS) / levels.size
    present = shares[shares > 0]
    edges = [np.abs(np.diff(grey, axis=axis)).mean() if grey.shape[axis] > 1 else 0.0 for axis in (1, 2)]
    return {
        "mean": grey.mean(),
        "mean_spread": grey.mean(axis=(1, 2)).std(),
        "contrast": grey.std(axis=(1, 2)).mean(),
        "colourfulness": pixels.std(axis=3).mean(),
        "edges": float(np.mean(edges)),
        "level_entropy": float(-(present * np.log2(present)).sum()),
        "most_frequent_level": shares.max(),
        "symmetry": 1 - np.abs(grey - grey[:, :, ::-1]).mean(),
    }


def _classes(y: NDArray[Any]) -> dict[str, float]:
    shares = np.unique(y, return_counts=True)[1] / len(y)
    return {
        "n_classes": len(shares),
        "class_entropy": float(-(shares * np.log2(shares)).sum()),
        "rarest_class": shares.min(),
    }


def _thumbnails(pixels: Floats) -> Floats:
    """Means over a grid of SIDE x SIDE pieces, or the pixels of smaller images; ``(n, d)``."""
    rows, columns = (np.linspace(0, length, min(SIDE, length) + 1).astype(int)[:-1] for length in pixels.shape[1:3])
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2)
    counts = np.diff([*rows, pixels.shape[1]])[:, None] * np.diff([*columns, pixels.shape[2]])[None, :]
    means: Floats = sums / counts[..., None]
    return means.reshape(len(pixels), -1)


def _landmarks(thumbnails: Floats, codes: NDArray[Any] | None) -> dict[str, float]:
    """Accuracies of two simple learners on the other half of the thumbnails, and what classes explain of them."""
    centred = thumbnails - thumbnails.mean(axis=0)
    total = float((centred**2).sum())
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    axes = float(values.sum() ** 2 / (values**2).sum()) if total else np.nan
    if codes is None:
        return {"principal_axes": axes, "between_classes": np.nan, "nearest_centroid": np.nan, "nearest_image": np.nan}
    labels, codes = np.unique(codes, return_inverse=True)
    between = sum((codes == k).sum() * float((centred[codes == k].mean(axis=0) ** 2).sum()) for k in range(len(labels)))
    train, test = np.arange(len(codes)) % 2 == 0, np.arange(len(codes)) % 2 == 1
    known = np.unique(codes[train])
    centroids = np.array([centred[train & (codes == k)].mean(axis=0) for k in known])
    by_centroid = known[_distances(centred[test], centroids).argmin(axis=1)]
    by_image = codes[train][_distances(centred[test], centred[train]).argmin(axis=1)]
    return {
        "principal_axes": axes,
        "between_classes": between / total if total else np.nan,
        "nearest_centroid": float((by_centroid == codes[test]).mean()),
        "nearest_image": float((by_image == codes[test]).mean()),
    }


def _distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances, up to a constant for each row of ``a``."""
    distances: Floats = (b**2).sum(axis=1) - 2 * a @ b.T
    return distances
