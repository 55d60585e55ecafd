"""A table made ready for description: ordered, sampled, with what several metafeatures share computed once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metafeatures import canonical, discriminant
from metafeatures.columns import Columns, FloatArray, IntArray, read_columns
from metafeatures.contingency import Contingency
from metafeatures.learners import Landmarks
from metafeatures.quantiles import equal_frequency_codes, sorted_quantiles
from metafeatures.target import Target, TaskType, read_target
from metafeatures.tree import Tree

MAX_ROWS = 5000
MAX_COLUMNS = 300
MAX_ENCODED = 500
MODEL_ROWS = 1000
MODEL_WORK = 2e7
HEAD = 1000
MAX_DUMMIES = 20
TARGET_BINS = 10


class Table:
    """A table with its target, as metafeatures see it.

    Letters: n rows with a target and d = p + q columns, p numeric and q categorical, in the whole table; m rows of the
    sample; k classes. What is cheap (counts of rows, columns, classes, categories, missing cells) is a fact of the
    whole table; arrays hold the sample: at most `MAX_ROWS` rows and `MAX_COLUMNS` columns, drawn by a seeded hash of
    their content and therefore in an order that neither shuffling nor renaming can change.
    """

    def __init__(
        self,
        X: pd.DataFrame,
        y: pd.Series[Any],
        *,
        task_type: TaskType | None = None,
        seed: int = 0,
        max_rows: int = MAX_ROWS,
        max_columns: int = MAX_COLUMNS,
    ) -> None:
        """Read, order and sample a table; nothing of ``X`` and ``y`` is changed.

        Args:
            X: ``(n, d)``, columns of any dtype.
            y: the target of each row, by position; rows where it is missing are left out.
            task_type: None: `infer_task_type` decides.
            seed: of the sample.
            max_rows: size of the sample.
            max_columns: how many columns of it are kept.
        """
        if len(X) != len(y):
            raise ValueError(f"X and y must have one row for each other, however: {len(X)} and {len(y)} rows")
        target = read_target(y, task_type)
        columns = read_columns(X)
        labelled = np.flatnonzero(target.classes >= 0)
        if labelled.size < len(X):
            columns, target = columns.rows(labelled), target.rows(labelled)
        self._full = columns
        self.task_type: TaskType = target.task_type
        self.n: int = labelled.size
        self.p: int = columns.numeric.shape[1]
        self.q: int = columns.symbols.shape[1]
        self._draw(columns, target, seed, max_rows, max_columns)

    def _draw(self, columns: Columns, target: Target, seed: int, max_rows: int, max_columns: int) -> None:
        """Fill the attributes that hold the sample."""
        rows, row_keys = canonical.row_order(columns, target, seed)
        classes = canonical.class_order(target.classes[rows], row_keys)
        self.class_counts: IntArray = np.bincount(target.classes, minlength=classes.size)[classes]
        rows, row_keys = rows[:max_rows], row_keys[:max_rows]
        sample = columns.rows(rows)
        order, column_keys = canonical.column_order(sample, row_keys, seed)
        kept, column_keys = order[:max_columns], column_keys[:max_columns]
        is_number = kept < self.p
        self.column_keys = np.concatenate([column_keys[is_number], column_keys[~is_number]])
        self.numeric: FloatArray = np.asfortranarray(sample.numeric[:, kept[is_number]])
        symbols = [
            _ranked_symbols(sample.symbols[:, j], sample.labels[j])
            for j in kept[~is_number] - self.p
        ]  # fmt: skip
        self.symbols: IntArray = np.column_stack(symbols) if symbols else np.empty((rows.size, 0), dtype=np.int64)
        rank = np.empty(classes.size, dtype=np.int64)
        rank[classes] = np.arange(classes.size)
        self.classes: IntArray = rank[target.classes[rows]]
        self.values: FloatArray = target.values[rows]

    # Facts of the whole table.

    @property
    def d(self) -> int:
        """Number of columns."""
        return self.p + self.q

    @property
    def k(self) -> int:
        """Number of classes; 1 in regression."""
        return int(self.class_counts.size)

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class."""
        return self.task_type == "classification"

    @cached_property
    def missing_per_column(self) -> IntArray:
        """Missing cells of each column, ascending, ``(d,)``."""
        return np.asarray(np.sort(np.count_nonzero(self._missing, axis=0)))

    @cached_property
    def missing_per_row(self) -> IntArray:
        """Missing cells of each row, ``(n,)``."""
        return np.asarray(np.count_nonzero(self._missing, axis=1))

    @cached_property
    def _missing(self) -> NDArray[np.bool_]:
        return self._full.missing()

    @cached_property
    def cardinalities(self) -> IntArray:
        """Number of distinct categories of each categorical column, ascending, ``(q,)``."""
        columns = self._full.symbols.T
        return np.array(sorted(np.count_nonzero(np.bincount(codes + 1)[1:]) for codes in columns), dtype=np.int64)

    @cached_property
    def numeric_cardinality_is_two(self) -> NDArray[np.bool_]:
        """Which numeric columns have exactly two distinct values, ``(p,)``."""
        result = np.zeros(self.p, dtype=np.bool_)
        if self.n:
            head, low, high = _at_most_two_values(self._full.numeric[:HEAD])  # rules out most columns
            candidates = np.flatnonzero(head)
            two, low, high = _at_most_two_values(self._full.numeric[:, candidates])
            result[candidates] = two & (low < high)
        return result

    # Order statistics and moments of the sample's numeric columns.

    @property
    def m(self) -> int:
        """Rows of the sample."""
        return int(self.numeric.shape[0])

    @cached_property
    def sorted(self) -> FloatArray:
        """Each numeric column ascending, missing cells last: ``(m, p)``."""
        return np.asarray(np.sort(self.numeric, axis=0))

    @cached_property
    def counts(self) -> IntArray:
        """Present cells of each numeric column, ``(p,)``."""
        return np.asarray((~np.isnan(self.numeric)).sum(axis=0))

    def quantiles(self, levels: FloatArray) -> FloatArray:
        """Quantiles of each numeric column, linearly interpolated: ``(len(levels), p)``; nan for an empty column."""
        return sorted_quantiles(self.sorted, self.counts, levels)

    @cached_property
    def means(self) -> FloatArray:
        """Mean of each numeric column over its present cells, ``(p,)``."""
        return np.asarray(np.nansum(self.numeric, axis=0) / self.counts)

    @cached_property
    def centred(self) -> FloatArray:
        """The numeric columns minus their means, 0 where missing (mean imputation): ``(m, p)``."""
        return np.asarray(np.nan_to_num(self.numeric - self.means, nan=0.0, posinf=0.0, neginf=0.0))

    @cached_property
    def squared(self) -> FloatArray:
        """`centred` squared, ``(m, p)``."""
        return np.asarray(self.centred * self.centred)

    @cached_property
    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Third and fourth central moment of each numeric column over its present cells, each ``(p,)``."""
        third = np.einsum("ij,ij->j", self.squared, self.centred) / self.counts
        fourth = np.einsum("ij,ij->j", self.squared, self.squared) / self.counts
        return third, fourth

    @cached_property
    def variances(self) -> FloatArray:
        """Population variance of each numeric column, ``(p,)``; exactly 0 for a constant one."""
        variances = self.squared.sum(axis=0) / self.counts
        constant = self.sorted[0] == self.maxima if self.m else np.ones(variances.size, dtype=np.bool_)
        return np.where(constant, 0.0, variances)

    @cached_property
    def maxima(self) -> FloatArray:
        """Largest present value of each numeric column, ``(p,)``."""
        return np.asarray(np.fmax.reduce(self.numeric, axis=0)) if self.m else np.full(self.numeric.shape[1], np.nan)

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of the numeric columns, missing cells at the mean, divisor m - 1: ``(p, p)``."""
        return np.asarray(self.centred.T @ self.centred / (self.m - 1))

    @cached_property
    def standardised(self) -> FloatArray:
        """The numeric columns at mean 0 and variance 1, missing cells and constant columns at 0: ``(m, p)``."""
        scale = np.sqrt(self.squared.sum(axis=0) / max(self.m, 1))
        scale[(self.variances == 0) | ~np.isfinite(scale) | (scale == 0)] = np.inf
        return np.asarray(self.centred / scale)

    @cached_property
    def correlation(self) -> FloatArray:
        """Pearson correlation of the numeric columns, missing cells at the mean: ``(p, p)``; nan for constant ones."""
        correlation = self.standardised.T @ self.standardised / self.m
        varies = correlation.diagonal() > 0.5  # 1 for a column that varies, 0 for a constant one
        correlation[~varies] = np.nan
        correlation[:, ~varies] = np.nan
        return np.asarray(correlation)

    @cached_property
    def canonical_correlations(self) -> FloatArray:
        """Canonical correlations of the numeric columns with the class indicators (in regression: the target)."""
        if not self.numeric.size:
            return np.empty(0)
        if self.is_classification:
            target = (self.classes[:, None] == np.unique(self.classes)).astype(np.float64)
        else:
            target = (self.values - self.values.mean())[:, None]
        return discriminant.canonical_correlations(discriminant.whiten(self.standardised), target)

    # Symbols: every column as codes.

    @cached_property
    def target_codes(self) -> IntArray:
        """The target as codes, ``(m,)``: the classes, or `TARGET_BINS` equally frequent bins in regression."""
        if self.is_classification:
            return self.classes
        values = self.values[:, None]
        return equal_frequency_codes(values, np.sort(values, axis=0), np.array([self.m]), TARGET_BINS)[:, 0]

    @cached_property
    def codes(self) -> IntArray:
        """Every column as codes from 0, ``(m, p + q)``: numeric ones in ``int(m ** (1/3))`` equally frequent bins.

        A missing cell is a symbol of its own.
        """
        bins = max(int(self.m ** (1 / 3)), 1)
        numeric = equal_frequency_codes(self.numeric, self.sorted, self.counts, bins)
        return np.hstack([numeric, self.symbols + 1])

    @cached_property
    def contingency(self) -> Contingency:
        """How often each symbol of each column occurs with each class."""
        return Contingency.count(self.codes, self.target_codes)

    # All columns as numbers.

    @cached_property
    def encoded(self) -> FloatArray:
        """All columns as numbers: the standardised numeric ones, then dummies (0/1) of the frequent categories.

        ``(m, at most MAX_ENCODED)``; at most `MAX_DUMMIES` dummies a column, a missing category is all zeros.
        """
        with np.errstate(all="ignore"):  # columns that are empty or overflow are 0
            matrices = [self.standardised]
        room = MAX_ENCODED - self.standardised.shape[1]
        for symbols in self.symbols.T:
            width = min(symbols.max(initial=-1) + 1, MAX_DUMMIES, room)
            matrices.append((symbols[:, None] == np.arange(width)).astype(np.float64))
            room -= width
        return np.asfortranarray(np.hstack(matrices))

    @cached_property
    def principal_components(self) -> tuple[FloatArray, FloatArray]:
        """Variances along the principal components of `encoded`, largest first, and the rows' first component."""
        X = self.encoded - self.encoded.mean(axis=0) if self.m else self.encoded
        if not X.size:
            return np.empty(0), np.empty(0)
        values, vectors = np.linalg.eigh(X.T @ X / self.m)
        return np.maximum(values[::-1], 0.0), np.asarray(X @ vectors[:, -1])

    @property
    def model_rows(self) -> int:
        """How many rows a model is fitted to: `MODEL_ROWS`, or fewer, lest rows x classes x columns pass `MODEL_WORK`.

        Trees take time in proportion to that product; r rows hold at most r classes.
        """
        width = max(self.encoded.shape[1], 1)
        affordable = max(MODEL_WORK / (width * max(self.k, 1)), (MODEL_WORK / width) ** 0.5)
        return min(self.m, MODEL_ROWS, int(affordable))

    @cached_property
    def tree(self) -> Tree:
        """An unpruned decision tree, grown on `model_rows` rows of `encoded`."""
        target = self.classes if self.is_classification else self.values
        rows = self.model_rows
        return Tree.grow(self.encoded[:rows], target[:rows], classify=self.is_classification)

    @cached_property
    def landmarks(self) -> Landmarks:
        """Simple learners, cross-validated on `model_rows` rows of `encoded`."""
        return self._landmarks(self.model_rows)

    @cached_property
    def sub_landmarks(self) -> Landmarks:
        """The same learners on a quarter of those rows."""
        return self._landmarks(self.model_rows // 4)

    def _landmarks(self, rows: int) -> Landmarks:
        target = self.classes.astype(np.float64) if self.is_classification else self.values
        return Landmarks(self.encoded[:rows], target[:rows], classify=self.is_classification)


def _at_most_two_values(numeric: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Whether each column has at most two distinct values, and its smallest and largest one; each ``(p,)``."""
    low, high = np.fmin.reduce(numeric, axis=0), np.fmax.reduce(numeric, axis=0)
    return ((numeric == low) | (numeric == high) | np.isnan(numeric)).all(axis=0), low, high


def _ranked_symbols(codes: IntArray, labels: NDArray[np.uint64]) -> IntArray:
    """Codes from the most to the least frequent category (equally frequent ones by label hash); -1 stays missing."""
    counts = np.bincount(codes[codes >= 0], minlength=labels.size)
    order = np.lexsort((labels, -counts))
    rank = np.empty(labels.size + 1, dtype=np.int64)
    rank[order] = np.arange(labels.size)
    rank[-1] = -1
    return rank[codes]
