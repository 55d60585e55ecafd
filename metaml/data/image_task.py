"""A task of images: pixels with their classes, ready to be learned, and known by its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metaml.data.pixels import ImageSize, Pixels, channels_last, fit_size, is_grey, match, scale_of, to_pixels
from metaml.data.splits import Split, usable_splits
from metaml.data.target import WantedType, as_series, has_value, read_target
from metaml.data.task import MIN_ROWS, RawInputs, Task
from metaml.errors import DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageTask(Task):
    """Images of one size with their target."""

    modality = "image"

    images: Pixels
    """uint8, shape (n, h, w, c); c is 1 or 3."""
    size: ImageSize

    @cached_property
    def fingerprint(self) -> str:
        """The content as 32 hex digits: pixels, target values and type, in the given order.

        The names of files, their format and the splits do not matter.
        """
        digest = hashlib.sha256(json.dumps(["image", self.type, self.images.shape]).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        target = self.y.astype("<f8") if self.type == "regression" else self.y.astype("<i8")
        digest.update(json.dumps([str(label) for label in self.classes]).encode() + target.tobytes())
        return digest.hexdigest()[:32]

    @property
    def inputs(self) -> RawInputs:
        """All images ``pixels``, uint8 (n, h, w, c)."""
        return {"pixels": self.images}

    @property
    def n_features(self) -> int:
        """Number of values of an image."""
        return self.size.height * self.size.width * self.size.channels

    @property
    def extent(self) -> str:
        """Number and size of the images."""
        return f"{len(self.y):,} images of {self.size}"

    def describe_inputs(self) -> dict[str, Any]:
        """Return the size of the images; numbers x become the pixels ``scale`` x."""
        return {"inputs": {"pixels": ["n", *self.images.shape[1:]]}, "image": asdict(self.size)}


def make_image_task(
    images: Any,
    y: Any,
    *,
    name: str = "images",
    type: WantedType | None = None,
    source: str | None = None,
    splits: tuple[Split, ...] = (),
    notes: tuple[str, ...] = (),
) -> ImageTask:
    """Make a task of images and a target.

    Args:
        images: Array of shape (n, h, w), (n, h, w, c) or (n, c, h, w), grey or RGB, with or without alpha; uint8, or
            numbers in 0 … 1, 0 … 255 or 0 … 65535.
        y: n target values; a series' name becomes the target's name. Whole numbers and texts are classes.
        name: How to call the task.
        type: Task type, or ``"classification"`` for either kind; None takes what the target looks like.
        source: Where it was loaded from, to load it again.
        splits: Training and validation rows, if it has its own.
        notes: What the user should know already.

    Raises:
        DataError: too few images, arrays of no usual form, a target with one value only, …
    """
    array, target = channels_last(images), as_series(y, "label")
    if len(array) != len(target):
        raise DataError(f"{name} has {len(array):,} images, but the target has {len(target):,} values.")
    said = list(notes)
    present = has_value(target)
    if not present.all():
        said.append(f"{int((~present).sum()):,} images without a target left out.")
        array, target = array[present], target[present].reset_index(drop=True)
    if len(array) < MIN_ROWS:
        raise DataError(f"{name} has {len(array):,} images with a target: at least {MIN_ROWS} are needed.")
    values = read_target(target, str(target.name), type or _usual_type(target))
    pixels, size, pixel_notes = _one_form(array)
    own_splits, split_note = usable_splits(splits, present, values.y, values.type)
    return ImageTask(
        name=name,
        images=pixels,
        size=size,
        y=values.y,
        type=values.type,
        target=str(target.name),
        classes=values.classes,
        source=source,
        notes=(*said, *values.notes, *pixel_notes, *filter(None, [split_note])),
        splits=own_splits,
    )


def _usual_type(target: pd.Series[Any]) -> WantedType | None:
    """Images with whole numbers or texts show things of kinds; only floats may be a quantity."""
    return None if pd.api.types.is_float_dtype(target.dtype) else "classification"


def _one_form(array: np.ndarray[Any, Any]) -> tuple[Pixels, ImageSize, list[str]]:
    """Return the pixels of images (n, h, w, c), their size, and what was changed about them."""
    scale, notes = scale_of(array), []
    if array.shape[3] in (2, 4):
        notes.append("The images have an alpha channel: they are seen on white.")
    n, height, width = array.shape[:3]
    pixels = to_pixels(array, scale)
    channels = 1 if is_grey(pixels) else 3
    if channels < pixels.shape[3]:
        notes.append("All images are grey: one of their three channels is used.")
    size = ImageSize(*fit_size(n, height, width, channels), channels, scale)
    if (size.height, size.width) != (height, width):
        notes.append(f"The images are made smaller, from {height} × {width} to {size.height} × {size.width} pixels.")
    pixels = match(pixels, size)
    if (pixels == pixels[:1]).all():
        raise DataError("All images are the same: there is nothing to learn.")
    return pixels, size, notes
