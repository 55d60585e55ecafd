"""Images from a folder with one subfolder for each class, or from an .npz file."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from metaml.data.columns import closest
from metaml.data.image_task import ImageTask, make_image_task
from metaml.data.pixels import ImageSize, Pixels, as_pixels, fit_size, match, stack
from metaml.data.splits import Split
from metaml.data.target import WantedType
from metaml.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Files that are taken for images."""
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a subfolder, or of a part of an .npz file -> what its images are for."""
_ORDER = ("train", "val", "test")
IMAGE_NAMES = ("images", "image", "x", "data", "pixels")
LABEL_NAMES = ("labels", "label", "y", "target", "targets")
CLASS_NAMES = ("classes", "class_names", "label_names")
"""Names of arrays in an .npz file, in lower case."""
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"}
_WIDE_MODES = {"I", "I;16", "I;16B", "I;16L"}


@dataclass(frozen=True)
class ImageFiles:
    """Images that were read for a prediction."""

    pixels: Pixels
    names: tuple[str, ...] | None
    """Path of each within its folder; None for arrays."""


def load_image_task(path: Path, target: str | None = None, *, type: WantedType | None = None) -> ImageTask:
    """Load a folder or an .npz file as a task.

    Args:
        path: A folder ``class/*.png``, or ``train/class/*.png`` beside ``test/`` or ``val/``; or an .npz file with the
            arrays ``images`` and ``labels``, ``X`` and ``y``, ``x_train``, ``y_train``, ``x_test``, … .
        target: Name of the array of labels in an .npz file.
        type: Task type.

    Raises:
        DataError: it is nothing to learn from; one sentence that says what to do.
    """
    if path.is_dir():
        if target is not None:
            raise DataError(f"The classes of an image folder are its subfolders: leave out the target {target!r}.")
        return _folder_task(path, type)
    return _npz_task(path, target, type)


def read_images(path: Path, size: ImageSize) -> ImageFiles:
    """Read all images of a folder (and its subfolders), of one file or of an .npz file, in the size of a model.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    if path.suffix.lower() == ".npz":
        return ImageFiles(as_pixels(np.concatenate(_images_of(_arrays(path), path)), size), None)
    if not path.exists():
        raise DataError(f"There is no folder or file {path}.")
    files = _image_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no images ({', '.join(ENDINGS)}).")
    names = tuple(str(file.relative_to(path)) if path.is_dir() else file.name for file in files)
    pixels = stack((match(_read(file, size.channels)[None], size)[0] for file in files), len(files))
    return ImageFiles(pixels, names)


def _folder_task(path: Path, type: WantedType | None) -> ImageTask:
    if type == "regression":
        raise DataError("An image folder has classes, its subfolders, so regression is not possible.")
    parts, notes = _parts(path)
    files, labels, part_of = [], [], []
    for part, folder in parts:
        for name, found in _classes(folder):
            files += found
            labels += [name] * len(found)
            part_of += [part] * len(found)
    _check_classes(path, labels)
    pixels, size_notes = _read_all(files)
    return make_image_task(
        pixels,
        pd.Series(labels, name="class"),
        name=path.resolve().name,
        type=type or "classification",
        source=str(path.resolve()),
        splits=_splits(np.array(part_of)),
        notes=(*notes, *size_notes),
    )


def _parts(path: Path) -> tuple[list[tuple[str, Path]], list[str]]:
    """Return (what for, folder) for ``train/`` and what validates, or the folder itself; and notes."""
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    found = {PARTS[folder.name.lower()]: folder for folder in folders if folder.name.lower() in PARTS}
    if "train" not in found or not _classes(found["train"]) or (len(found) < 2 and len(folders) > 1):
        return [("", path)], []
    aside = [folder.name for folder in folders if folder not in found.values()]
    if {"val", "test"} <= set(found):
        aside.append(found.pop("test").name)
    return sorted(found.items(), key=lambda item: _ORDER.index(item[0])), [f"{name}/ is left aside." for name in aside]


def _classes(folder: Path) -> list[tuple[str, list[Path]]]:
    """Return (class, files) for each subfolder that holds images."""
    subfolders = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    return [(entry.name, files) for entry in subfolders if (files := _image_files(entry))]


def _image_files(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    return sorted(file for file in files if not file.name.startswith("."))


def _check_classes(path: Path, labels: list[str]) -> None:
    counts = Counter(labels)
    wanted = f"{path} must hold one subfolder of images ({', '.join(ENDINGS[:3])}, …) for each class, such as "
    wanted += f"{path.name}/cat/1.png"
    if not counts:
        loose = len(_image_files(path))
        raise DataError(f"{wanted}; it holds {f'{loose:,} images outside of any' if loose else 'no images'}.")
    if len(counts) == 1:
        raise DataError(f'{wanted}; it holds images of one class only, "{labels[0]}": there is nothing to tell apart.')
    if len(counts) > len(labels) / 2 and len(counts) > 2:
        raise DataError(f"{wanted}; its {len(labels):,} images have {len(counts):,} classes, too few of each.")


def _splits(part_of: np.ndarray[Any, Any]) -> tuple[Split, ...]:
    """Return one split when there are training and other images, else none."""
    is_train = part_of == "train"
    if not is_train.any() or is_train.all():
        return ()
    return (Split(train=np.flatnonzero(is_train), valid=np.flatnonzero(~is_train)),)


def _read_all(files: Sequence[Path]) -> tuple[Pixels, list[str]]:
    """Return all images in one size and one colour mode, and notes about what had to be changed."""
    heads = [_head(file) for file in files]
    sizes = Counter((height, width) for height, width, _ in heads)
    channels = 1 if all(is_grey for _, _, is_grey in heads) else 3
    height, width = (int(np.median([head[i] for head in heads])) for i in (0, 1))
    size = ImageSize(*fit_size(len(files), height, width, channels), channels)
    notes = []
    if set(sizes) != {(size.height, size.width)}:
        seen = f"{len(sizes)} different sizes" if len(sizes) > 1 else f"{height} × {width} pixels"
        notes.append(f"The images, of {seen}, are resized to {size.height} × {size.width} pixels.")
    if channels == 3 and any(is_grey for _, _, is_grey in heads):
        notes.append(f"{sum(is_grey for _, _, is_grey in heads):,} of {len(files):,} images are grey, among coloured.")
    return stack((match(_read(file, channels)[None], size)[0] for file in files), len(files)), notes


def _head(file: Path) -> tuple[int, int, bool]:
    """Return height, width, and whether it is grey, without decoding the image."""
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            return height, width, picture.mode in _GREY_MODES
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _read(file: Path, channels: int) -> Pixels:
    """Return one image as (h, w, c), upright, seen on white where it is transparent."""
    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode in _WIDE_MODES:
                wide = np.asarray(upright, dtype=np.float64)
                upright = Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
            if upright.has_transparency_data:
                upright = _on_white(upright)
            array = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error
    return array.reshape(*array.shape[:2], channels)


def _on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture)


def _unreadable(file: Path, error: Exception) -> DataError:
    why = "it is no image" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
    return DataError(f"{file} cannot be read as an image ({why}): remove or replace it.")


def _npz_task(path: Path, target: str | None, type: WantedType | None) -> ImageTask:
    arrays = _arrays(path)
    images, labels = _images_of(arrays, path), _labels_of(arrays, path, target)
    lengths = ([len(part) for part in images], [len(part) for _, part in labels])
    if lengths[0] != lengths[1]:
        raise DataError(f"{path.name} has {sum(lengths[0]):,} images, but {sum(lengths[1]):,} labels.")
    part_of = np.repeat([_part_of(name) for name, _ in labels], lengths[1])
    if "split" in arrays and len(arrays["split"]) == sum(lengths[1]):
        part_of = np.array([PARTS.get(str(part).lower(), "") for part in arrays["split"]])
    y = np.concatenate([part for _, part in labels])
    names = next((arrays[name] for name in CLASS_NAMES if name in arrays), None)
    if names is not None and y.dtype.kind in "ui" and y.size and y.min() >= 0 and y.max() < len(names):
        y = names[y]
    kept = part_of != "test" if {"val", "test"} <= set(part_of.tolist()) else np.ones(len(y), dtype=bool)
    return make_image_task(
        np.concatenate(images)[kept],
        pd.Series(y[kept], name=target or labels[0][0].removesuffix("_train").removeprefix("train_")),
        name=path.stem,
        type=type,
        source=str(path.resolve()),
        splits=_splits(part_of[kept]),
        notes=() if kept.all() else (f"The {int((~kept).sum()):,} test images are left aside.",),
    )


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of an .npz file by their names in lower case."""
    if not path.is_file():
        raise DataError(f"There is no file {path}.{_similar(path)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name.lower(): file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        why = "it holds Python objects" if "allow_pickle" in str(error) else str(error).splitlines()[0]
        raise DataError(f"{path.name} cannot be read as .npz ({why}): save plain arrays by numpy.savez.") from error


def _similar(path: Path) -> str:
    return closest(path.name, [file.name for file in path.parent.iterdir()]) if path.parent.is_dir() else ""


def _images_of(arrays: dict[str, np.ndarray[Any, Any]], path: Path) -> list[np.ndarray[Any, Any]]:
    found = _named(arrays, IMAGE_NAMES) or _only(arrays, (3, 4))
    if not found:
        raise DataError(f"{path.name} has no array of images, such as {_examples(IMAGE_NAMES)}.{_listing(arrays)}")
    return [array for _, array in found]


def _labels_of(
    arrays: dict[str, np.ndarray[Any, Any]], path: Path, target: str | None
) -> list[tuple[str, np.ndarray[Any, Any]]]:
    if target is not None:
        if target.lower() not in arrays:
            raise DataError(f'{path.name} has no array "{target}".{closest(target, list(arrays)) or _listing(arrays)}')
        found = [(target, arrays[target.lower()])]
    else:
        found = _named(arrays, LABEL_NAMES) or _only(arrays, (1,))
    if not found:
        raise DataError(f"{path.name} has no array of labels, such as {_examples(LABEL_NAMES)}.{_listing(arrays)}")
    return [(name, array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array) for name, array in found]


def _named(arrays: dict[str, np.ndarray[Any, Any]], names: Sequence[str]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return the array of one of these names, or all of its parts: ``x_train`` with ``x_test``."""
    whole = next(((name, arrays[name]) for name in names if name in arrays), None)
    if whole is not None:
        return [whole]
    found = [(part, name, array) for name, array in arrays.items() if (part := _part_of(name)) and _rest(name) in names]
    return [(name, array) for part, name, array in sorted(found, key=lambda item: _ORDER.index(item[0]))]


def _only(arrays: dict[str, np.ndarray[Any, Any]], dimensions: Sequence[int]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return the array that has so many dimensions, whatever its name, if it is the only one."""
    found = [(name, array) for name, array in arrays.items() if array.ndim in dimensions]
    return found if len(found) == 1 else []


def _part_of(name: str) -> str:
    return next((PARTS[word] for word in name.split("_") if word in PARTS), "")


def _rest(name: str) -> str:
    return "_".join(word for word in name.split("_") if word not in PARTS)


def _examples(names: Sequence[str]) -> str:
    return f'"{names[0]}", "{names[2]}" or "{names[2]}_train"'


def _listing(arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    return f" Its arrays are: {', '.join(f'{name} {array.shape}' for name, array in list(arrays.items())[:20])}."
