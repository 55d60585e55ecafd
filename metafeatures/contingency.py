"""Counts of symbols and classes over all columns of a table at once, and the entropies that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metafeatures.columns import FloatArray, IntArray

MAX_DENSE_CELLS = 1 << 24


@dataclass(frozen=True)
class Contingency:
    """Counts of a table's symbols and of their coincidences with the classes.

    Symbols are numbered through all columns. "Cells" are the (symbol, class) pairs that occur.
    """

    m: int
    """Rows counted."""
    class_counts: IntArray
    """``(k,)``"""
    symbol_counts: IntArray
    """``(s,)``; may hold zeros."""
    symbol_column: IntArray
    """Column that each symbol belongs to, ``(s,)``."""
    cell_counts: IntArray
    """``(c,)``, all positive."""
    cell_symbol: IntArray
    """``(c,)``"""
    cell_class: IntArray
    """``(c,)``"""
    n_columns: int

    @classmethod
    def count(cls, codes: IntArray, classes: IntArray) -> Contingency:
        """Count ``codes`` ``(m, d)`` against ``classes`` ``(m,)``; codes and classes start at 0."""
        m, d = codes.shape
        class_counts = np.bincount(classes, minlength=1)
        k = class_counts.size
        widths = codes.max(axis=0, initial=-1) + 1
        starts = np.r_[0, np.cumsum(widths)]
        symbols = codes + starts[:-1]
        pairs = (symbols * k + classes[:, None]).ravel()
        if starts[-1] * k <= MAX_DENSE_CELLS:
            dense = np.bincount(pairs, minlength=starts[-1] * k)
            cells = np.flatnonzero(dense)
            counts = dense[cells]
        else:
            cells, counts = np.unique(pairs, return_counts=True)
        symbol_counts = np.bincount(symbols.ravel(), minlength=starts[-1])
        symbol_column = np.repeat(np.arange(d), widths)
        return cls(m, class_counts, symbol_counts, symbol_column, counts, cells // k, cells % k, d)

    def _per_column(self, values: FloatArray, columns: IntArray) -> FloatArray:
        return np.bincount(columns, weights=values, minlength=self.n_columns).astype(np.float64)

    @cached_property
    def class_entropy(self) -> float:
        """H(C) in bits."""
        return abs(float(_plogp(self.class_counts, self.m).sum()))

    @cached_property
    def attribute_entropies(self) -> FloatArray:
        """H(X_j) in bits, ``(d,)``."""
        return -self._per_column(_plogp(self.symbol_counts, self.m), self.symbol_column)

    @cached_property
    def joint_entropies(self) -> FloatArray:
        """H(X_j, C) in bits, ``(d,)``."""
        return -self._per_column(_plogp(self.cell_counts, self.m), self.symbol_column[self.cell_symbol])

    @cached_property
    def mutual_information(self) -> FloatArray:
        """I(X_j; C) = H(X_j) + H(C) - H(X_j, C) in bits, ``(d,)``."""
        return np.maximum(self.attribute_entropies + self.class_entropy - self.joint_entropies, 0.0)

    @cached_property
    def concentration(self) -> FloatArray:
        """Goodman and Kruskal's tau of each column given the class, ``(d,)``; nan for a constant column.

        (Σ_xc p(x,c)² / p(c) - Σ_x p(x)²) / (1 - Σ_x p(x)²)
        """
        explained = self.cell_counts.astype(np.float64) ** 2 / (self.class_counts[self.cell_class] * float(self.m))
        repeats = self._per_column((self.symbol_counts / self.m) ** 2, self.symbol_column)
        gained = self._per_column(explained, self.symbol_column[self.cell_symbol]) - repeats
        return np.where(repeats < 1, gained / (1 - repeats), np.nan)


def _plogp(counts: IntArray, total: int) -> FloatArray:
    """p·log2(p) of counts, 0 where they are 0."""
    p = counts / max(total, 1)
    return np.asarray(p * np.log2(p, out=np.zeros(p.shape), where=p > 0))
