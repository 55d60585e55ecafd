"""Runs a delivered model: needs numpy, pandas and onnxruntime, nothing else."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd

from metaml.data import ImageFiles, ImageSize, as_frame, as_pixels, read_images, read_table
from metaml.data.columns import encode_columns
from metaml.data.task import Column, RawInputs
from metaml.errors import DataError

METADATA_KEY = "metaml"
"""Key of the JSON description inside the ONNX file."""

ROWS_AT_A_TIME, IMAGES_AT_A_TIME = 4096, 256
"""Enough to be quick; a model that keeps rows compares each with thousands, and an image has thousands of values."""


class Inputs(ABC):
    """How one kind of data becomes what a model is fed."""

    rows_at_a_time: int

    @abstractmethod
    def feeds(self, X: Any) -> RawInputs:
        """Return the raw inputs of a model."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Return what a path holds, in a form that `feeds` takes."""

    @abstractmethod
    def index(self, X: Any) -> pd.Index[Any] | None:
        """Return what the rows are called, or None for their numbers."""


class TableInputs(Inputs):
    """Tables with the training columns in any order."""

    rows_at_a_time = ROWS_AT_A_TIME

    def __init__(self, description: dict[str, Any]) -> None:
        self.columns = tuple(Column(column["name"], column["kind"]) for column in description["columns"])

    def feeds(self, X: Any) -> RawInputs:
        """Return numbers and texts."""
        numeric, categorical = encode_columns(as_frame(X), self.columns)
        return {"numeric": numeric, "categorical": categorical}

    def read(self, path: Path) -> pd.DataFrame:
        """Return the table in a file."""
        return read_table(path)

    def index(self, X: Any) -> pd.Index[Any] | None:
        """Return a frame's own index."""
        return X.index if isinstance(X, pd.DataFrame) else None


class ImageInputs(Inputs):
    """Images of any size, as an array or as they were read from files."""

    rows_at_a_time = IMAGES_AT_A_TIME

    def __init__(self, description: dict[str, Any]) -> None:
        self.size = ImageSize(**description["image"])

    def feeds(self, X: Any) -> RawInputs:
        """Return pixels of the model's size."""
        return {"pixels": X.pixels if isinstance(X, ImageFiles) else as_pixels(X, self.size)}

    def read(self, path: Path) -> ImageFiles:
        """Return the images of a folder, of one file or of an .npz file."""
        return read_images(path, self.size)

    def index(self, X: Any) -> pd.Index[Any] | None:
        """Return the paths of files."""
        names = X.names if isinstance(X, ImageFiles) else None
        return None if names is None else pd.Index(names, name="image")


INPUTS: dict[str, Callable[[dict[str, Any]], Inputs]] = {"tabular": TableInputs, "image": ImageInputs}
"""Kind of task -> how its models are fed, from their description."""


class Predictor:
    """A ``model.onnx`` ready to predict tables or images.

    Args:
        path: an ONNX file written by a search, or the run folder that holds it.
        threads: threads of one prediction.

    Raises:
        DataError: there is no such file, or it was not written by MetaML.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path) / "model.onnx" if Path(path).is_dir() else Path(path)
        if not self.path.is_file():
            how = f"metaml resume {path} makes it" if Path(path).is_dir() else "give a run folder or its model.onnx"
            raise DataError(f"There is no model at {self.path}; {how}.")
        self.threads = threads
        self._open(self.path.read_bytes())

    def _open(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            text = self._session.get_modelmeta().custom_metadata_map[METADATA_KEY]
        except Exception as error:
            raise DataError(f"{self.path} is not a model written by metaml search.") from error
        self._model = model
        self.description: dict[str, Any] = json.loads(text)
        self.inputs = INPUTS[self.description.get("modality", "tabular")](self.description)
        self.classes: list[Any] = self.description["classes"]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the model itself: what is copied or sent elsewhere predicts without the file."""
        return {"path": self.path, "threads": self.threads, "model": self._model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the model again."""
        self.path, self.threads = state["path"], state["threads"]
        self._open(state["model"])

    @property
    def is_regression(self) -> bool:
        """Whether it predicts values rather than classes."""
        return bool(self.description["type"] == "regression")

    def read(self, path: str | Path) -> Any:
        """Read what the model predicts: a table from a file, images from a folder, a file or an .npz file.

        Raises:
            DataError: it cannot be read.
        """
        return self.inputs.read(Path(path))

    def scores(self, X: Any) -> np.ndarray:
        """Return probabilities ``(n, k)``, or values ``(n,)``.

        Args:
            X: a table with the training columns in any order, an array of images, or what `read` returned.
        """
        feeds = self.inputs.feeds(X)
        n, step = len(next(iter(feeds.values()))), self.inputs.rows_at_a_time
        names = [node.name for node in self._session.get_inputs()]
        parts = []
        for start in range(0, max(1, n), step):
            parts.append(self._session.run(None, {name: feeds[name][start : start + step] for name in names})[0])
        scores = np.concatenate(parts)
        return scores[:, 0] if self.is_regression else scores

    def predict(self, X: Any) -> pd.DataFrame:
        """Return a table with the prediction and, for classes, one probability column for each.

        Its index is that of the table, or the paths of images that were read from files.
        """
        scores, index = self.scores(X), self.inputs.index(X)
        target = self.description["target"]
        if self.is_regression:
            return pd.DataFrame({target: scores}, index=index)
        labels = np.array(self.classes, dtype=object)[scores.argmax(axis=1)] if len(scores) else []
        predicted = pd.DataFrame({target: labels}, index=index)
        for i, label in enumerate(self.classes):
            predicted[f"probability_{label}"] = scores[:, i]
        return predicted
