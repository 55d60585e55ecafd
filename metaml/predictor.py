"""Runs a delivered model: needs numpy, pandas and onnxruntime, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd

from metaml.data.columns import encode_columns
from metaml.data.task import Column
from metaml.errors import DataError

METADATA_KEY = "metaml"
"""Key of the JSON description inside the ONNX file."""

ROWS_AT_A_TIME = 4096
"""Enough to be quick; a model that keeps rows compares each with thousands."""


class Predictor:
    """A ``model.onnx`` ready to predict tables.

    Args:
        path: an ONNX file written by a search, or the run folder that holds it.
        threads: threads of one prediction.

    Raises:
        DataError: there is no such file, or it was not written by MetaML.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path) / "model.onnx" if Path(path).is_dir() else Path(path)
        if not self.path.is_file():
            raise DataError(f"There is no model at {self.path}; give a run folder or its model.onnx.")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
            text = self._session.get_modelmeta().custom_metadata_map[METADATA_KEY]
        except Exception as error:
            raise DataError(f"{self.path} is not a model written by metaml search.") from error
        self.description: dict[str, Any] = json.loads(text)
        self.columns = tuple(Column(column["name"], column["kind"]) for column in self.description["columns"])
        self.classes: list[Any] = self.description["classes"]

    @property
    def is_regression(self) -> bool:
        """Whether it predicts values rather than classes."""
        return bool(self.description["type"] == "regression")

    def scores(self, X: pd.DataFrame) -> np.ndarray:
        """Return probabilities ``(n, k)``, or values ``(n,)``, of a table with the training columns in any order."""
        numeric, categorical = encode_columns(X, self.columns)
        feeds = {"numeric": numeric, "categorical": categorical}
        names = [node.name for node in self._session.get_inputs()]
        parts = []
        for start in range(0, max(1, len(X)), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            parts.append(self._session.run(None, {name: feeds[name][rows] for name in names})[0])
        scores = np.concatenate(parts)
        return scores[:, 0] if self.is_regression else scores

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the prediction and, for classes, one probability column for each."""
        scores = self.scores(X)
        target = self.description["target"]
        if self.is_regression:
            return pd.DataFrame({target: scores}, index=X.index)
        labels = np.array(self.classes, dtype=object)[scores.argmax(axis=1)] if len(X) else []
        predicted = pd.DataFrame({target: labels}, index=X.index)
        for i, label in enumerate(self.classes):
            predicted[f"probability_{label}"] = scores[:, i]
        return predicted
