"""Metafeatures of images, by hand where the eye can check them."""

import numpy as np
import pytest

from metafeatures import describe_images


def checkerboard(n: int = 20, side: int = 8) -> np.ndarray:
    board = np.indices((side, side)).sum(axis=0) % 2 * 255
    return np.repeat(board[None, :, :, None], n, axis=0).astype(np.uint8)


def test_a_checkerboard():
    vector = describe_images(checkerboard(), np.arange(20) % 2)
    assert vector["images.mean"] == 0.5
    assert vector["images.contrast"] == 0.5
    assert vector["images.edges"] == 1.0  # every neighbour differs by all of the range
    assert vector["images.level_entropy"] == 1.0  # two levels, equally often
    assert vector["images.colourfulness"] == 0.0
    assert vector["images.between_classes"] != vector["images.between_classes"]  # nan: all images are the same


def test_classes():
    y = np.array([0] * 10 + [1] * 5 + [2] * 5)
    vector = describe_images(np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), dtype=np.uint8), y)
    assert vector["images.class_entropy"] == pytest.approx(1.5)
    assert vector["images.rarest_class"] == 0.25
    assert vector["images.n_classes"] == 3


def test_classes_that_differ_in_brightness_are_told_apart_by_landmarks():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    images = (100 + 50 * y[:, None, None, None] + rng.integers(0, 20, (200, 9, 7, 1))).astype(np.uint8)
    vector = describe_images(images, y)
    assert vector["images.nearest_centroid"] == vector["images.nearest_image"] == 1.0
    assert vector["images.between_classes"] > 0.9


def test_values_have_no_classes():
    vector = describe_images(checkerboard(), np.linspace(0, 1, 20), is_regression=True)
    assert np.isnan(vector[["images.n_classes", "images.class_entropy", "images.nearest_image"]]).all()
    assert vector["images.n"] == 20
