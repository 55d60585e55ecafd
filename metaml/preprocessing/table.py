"""From raw columns to numbers and codes: robust scaling, missing-value indicators, category codes. Also as ONNX ops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.data import RawInputs
from metaml.models.base import TabularShape, Tensors
from metaml.preprocessing.base import USUAL, Features, Preprocessor
from metaml.preprocessing.quantile import QuantileScores

KINDS = ("robust", "quantile")
"""Values of the hyperparameter ``preprocessing``."""

MAX_CATEGORIES = 255
"""Distinct categories kept for each column; rarer ones share one code."""

LIMIT = 1e6
"""Scaled values are clipped to this size, so that infinite input stays finite."""

TINY = 1e-300
"""A column that spreads less is as good as constant."""

MISSING, OTHER, FIRST = 0, 1, 2
"""Codes of a column: a missing value, a rare or unseen category, the most frequent category, …"""


@dataclass(frozen=True)
class TableFeatures(Features):
    """What models of tables take: float32 ``numeric`` (n, n_numeric) and int64 ``codes`` (n, n_categorical)."""

    numeric: np.ndarray
    codes: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Numbers and codes."""
        return self.numeric, self.codes

    def rows(self, indices: np.ndarray) -> TableFeatures:
        """Return the rows at `indices`."""
        return TableFeatures(self.numeric[indices], self.codes[indices])


@dataclass(frozen=True)
class TablePreprocessor(Preprocessor):
    """Fitted on the training rows alone.

    A number x becomes (x - median) / interquartile range, and with `scores` a normal score from there; a missing one
    is like the median, with an indicator column where the training rows had missing values. Codes are numbered over
    all categorical columns, so that one table serves all.
    """

    center: np.ndarray
    """Medians, float64 (d_num,)."""
    scale: np.ndarray
    """Reciprocal ranges, float64 (d_num,)."""
    indicators: np.ndarray
    """Positions of the numeric columns that get an indicator, int64."""
    vocabularies: tuple[tuple[str, ...], ...]
    """Kept categories of each categorical column, most frequent first."""
    n_rows: int
    """Training rows."""
    scores: QuantileScores | None = None
    """What makes the scaled numbers normal, for the kind ``quantile``."""

    @classmethod
    def fit(cls, inputs: RawInputs, kind: str = USUAL) -> Self:
        """Learn from raw float64 ``numeric`` (n, d_num) and raw text ``categorical`` (n, d_cat).

        Args:
            inputs: training rows.
            kind: ``robust`` or ``quantile``.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"the preprocessing of a table must be one of {', '.join(KINDS)}, however: {kind}")
        numeric, categorical = inputs["numeric"], inputs["categorical"]
        center, scale = _robust_scale(numeric)
        indicators = np.flatnonzero(np.isnan(numeric).any(axis=0)) if numeric.size else np.empty(0, dtype=np.int64)
        vocabularies = tuple(_vocabulary(column) for column in categorical.T)
        robust = cls(center, scale, indicators.astype(np.int64), vocabularies, len(numeric))
        if kind != "quantile" or not numeric.shape[1]:
            return robust
        return replace(robust, scores=QuantileScores.fit(robust.scaled(numeric)))

    @property
    def n_numeric(self) -> int:
        """Number of numeric features, indicators included."""
        return len(self.center) + len(self.indicators)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical column."""
        return tuple(len(vocabulary) + FIRST for vocabulary in self.vocabularies)

    @property
    def offsets(self) -> np.ndarray:
        """First code of each categorical column, int64 (d_cat,)."""
        return np.cumsum([0, *self.cardinalities[:-1]]).astype(np.int64)[: len(self.vocabularies)]

    def shape(self, n_outputs: int, *, is_regression: bool) -> TabularShape:
        """Return what a model sees of the task."""
        sizes = self.n_numeric, self.cardinalities
        return TabularShape(*sizes, n_outputs=n_outputs, is_regression=is_regression, n_rows=self.n_rows)

    def transform(self, inputs: RawInputs) -> TableFeatures:
        """Return the features of raw float64 ``numeric`` (n, d_num) and raw text ``categorical`` (n, d_cat)."""
        numeric, categorical = inputs["numeric"], inputs["categorical"]
        features = self.scaled(numeric)
        if self.scores is not None:
            features = self.scores.transform(features)
        parts = [features, np.isnan(numeric[:, self.indicators]).astype(np.float32)]
        codes = np.empty(categorical.shape, dtype=np.int64)
        for j, (vocabulary, offset) in enumerate(zip(self.vocabularies, self.offsets, strict=True)):
            code_of = {"": MISSING} | {category: FIRST + i for i, category in enumerate(vocabulary)}
            column = pd.Series(categorical[:, j], dtype=object).map(code_of).fillna(OTHER)
            codes[:, j] = column.to_numpy(dtype=np.int64) + offset
        return TableFeatures(np.hstack(parts), codes)

    def scaled(self, numeric: np.ndarray) -> np.ndarray:
        """Return scaled numbers, float32 of the shape of the raw ones; 0 for a missing one."""
        scaled = np.where(np.isnan(numeric), 0.0, (numeric - self.center) * self.scale)
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)

    def emit(self, graph: OpGraph) -> dict[str, str]:
        """Append the operations that do `transform`; nodes of the numeric features and of the codes, if there are."""
        nodes = {}
        if len(self.center):
            nodes["numeric_features"] = self._emit_numeric(graph)
        if self.vocabularies:
            nodes["codes"] = self._emit_codes(graph)
        return nodes

    def _emit_numeric(self, graph: OpGraph) -> str:
        d = len(self.center)
        shape = (BATCH, d)
        x = graph.input("numeric", shape)
        centered = graph.add("Sub", x, Parameter("center", (d,)), output=shape, dtype="double")
        scaled = graph.add("Mul", centered, Parameter("scale", (d,)), output=shape, dtype="double")
        missing = graph.add("IsNaN", x, output=shape, dtype="double")
        filled = graph.add("Where", missing, Parameter("fill", ()), scaled, output=shape, dtype="double")
        low, high = Parameter("low", ()), Parameter("high", ())
        clipped = graph.add("Clip", filled, low, high, output=shape, dtype="double")
        features = graph.add("Cast", clipped, output=shape, to=1)
        if self.scores is not None:
            features = self.scores.emit(graph, features)
        n_indicators = len(self.indicators)
        if not n_indicators:
            return features
        positions = Parameter("indicators", (n_indicators,))
        marked = graph.add("Gather", missing, positions, output=(BATCH, n_indicators), axis=1)
        as_float = graph.add("Cast", marked, output=(BATCH, n_indicators), to=1)
        return graph.add("Concat", features, as_float, output=(BATCH, d + n_indicators), axis=1)

    def _emit_codes(self, graph: OpGraph) -> str:
        """One dictionary for all columns, then a table of (column, entry) -> code: few operations for any width."""
        d, n_words = len(self.vocabularies), len(self._words) + 1
        shape = (BATCH, d)
        text = graph.input("categorical", shape)
        entries = graph.add("LabelEncoder", text, output=shape, n_keys=len(self._words))
        cells = entries
        if d > 1:
            cells = graph.add("Add", entries, Parameter("first_cells", (d,)), output=shape, dtype="int64")
        return graph.add("Gather", Parameter("code_table", (d * n_words,)), cells, output=shape, axis=0, dtype="int64")

    @property
    def _words(self) -> list[str]:
        """All categories of all columns, and the empty text of a missing value."""
        return sorted({"", *(word for vocabulary in self.vocabularies for word in vocabulary)})

    def tensors(self) -> Tensors:
        """Return the arrays of the emitted operations."""
        words = self._words
        entry_of = {word: i for i, word in enumerate(words)}
        n_words = len(words) + 1  # the last entry stands for words that no column has
        table = np.empty((len(self.vocabularies), n_words), dtype=np.int64)
        for j, (vocabulary, offset) in enumerate(zip(self.vocabularies, self.offsets, strict=True)):
            table[j] = OTHER + offset
            table[j, entry_of[""]] = MISSING + offset
            table[j, [entry_of[word] for word in vocabulary]] = FIRST + offset + np.arange(len(vocabulary))
        return {
            "center": self.center,
            "scale": self.scale,
            "fill": np.array(0.0),
            "low": np.array(-LIMIT),
            "high": np.array(LIMIT),
            "indicators": self.indicators,
            "first_cells": np.arange(len(self.vocabularies), dtype=np.int64) * n_words,
            "code_table": table.ravel(),
            **({} if self.scores is None else self.scores.tensors()),
        }

    def long_attributes(self) -> dict[str, Mapping[str, Any]]:
        """Return the dictionary of the emitted ``LabelEncoder``; its default value is the number of keys."""
        words = self._words
        entries = {"keys_strings": words, "values_int64s": list(range(len(words))), "default_int64": len(words)}
        return {"LabelEncoder": entries}


def _robust_scale(numeric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return medians and reciprocals of the interquartile range; of half the full range where that is 0."""
    d = numeric.shape[1]
    center, scale = np.zeros(d), np.ones(d)
    for j, column in enumerate(numeric.T):
        finite = column[np.isfinite(column)]
        if not len(finite):
            continue
        low, quarter, center[j], three_quarters, high = np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])
        spread = three_quarters - quarter or (high - low) / 2
        scale[j] = 1 / spread if spread > TINY else 1.0
    return center, scale


def _vocabulary(column: np.ndarray) -> tuple[str, ...]:
    """Return the categories worth a code: the most frequent, and only those seen twice or more."""
    counts = Counter(column.tolist())
    counts.pop("", None)
    ranked = sorted(((word, n) for word, n in counts.items() if n > 1), key=lambda item: (-item[1], item[0]))
    return tuple(word for word, _ in ranked[:MAX_CATEGORIES])
