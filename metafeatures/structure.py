"""Missing values and categories: what has to be repaired or encoded before a model can learn."""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.general import FEURER, ratio
from metafeatures.registry import ALL_SUMMARIES, MEAN_SD, metafeature
from metafeatures.table import Table


@metafeature(source=FEURER)
def nr_missing(table: Table) -> float:
    """Number of missing or infinite cells."""
    return int(table.missing_per_column.sum())


@metafeature(source=FEURER)
def missing_share(table: Table) -> float:
    """Share of cells that are missing or infinite."""
    return ratio(float(table.missing_per_column.sum()), table.n * table.d)


@metafeature(source=FEURER)
def nr_inst_missing(table: Table) -> float:
    """Number of rows with a missing cell."""
    return int((table.missing_per_row > 0).sum())


@metafeature(source=FEURER)
def inst_missing_share(table: Table) -> float:
    """Share of rows with a missing cell."""
    return ratio(float((table.missing_per_row > 0).sum()), table.n)


@metafeature(source=FEURER)
def nr_attr_missing(table: Table) -> float:
    """Number of columns with a missing cell."""
    return int((table.missing_per_column > 0).sum())


@metafeature(source=FEURER)
def attr_missing_share(table: Table) -> float:
    """Share of columns with a missing cell."""
    return ratio(float((table.missing_per_column > 0).sum()), table.d)


@metafeature(source="This project", summaries=("sd", "max"))
def missing_per_attr(table: Table) -> FloatArray:
    """Share of missing cells of each column: is it one bad column, or all of them a little?"""
    return table.missing_per_column / max(table.n, 1)


@metafeature(source="This project")
def nr_constant(table: Table) -> float:
    """Number of columns without two different values (in the sample for numeric ones); empty ones included."""
    return int((~(table.variances > 0)).sum() + (table.cardinalities < 2).sum())


@metafeature(source=FEURER, summaries=ALL_SUMMARIES)
def symbols(table: Table) -> FloatArray:
    """Number of distinct categories of each categorical column."""
    return table.cardinalities.astype(np.float64)


@metafeature(source=FEURER)
def symbols_sum(table: Table) -> float:
    """Number of distinct categories over all categorical columns."""
    return int(table.cardinalities.sum())


@metafeature(source="This project", summaries=("mean", "max"))
def symbols_to_inst(table: Table) -> FloatArray:
    """Distinct categories per row of each categorical column; 1 is an identifier."""
    return table.cardinalities / max(table.n, 1)


@metafeature(source="This project", summaries=MEAN_SD)
def category_top_share(table: Table) -> FloatArray:
    """Share of the most frequent category among the present cells of each categorical column of the sample."""
    present = (table.symbols >= 0).sum(axis=0)
    return np.asarray((table.symbols == 0).sum(axis=0) / present)


@metafeature(source="This project", summaries=("mean", "max"))
def category_singletons(table: Table) -> FloatArray:
    """Share of the rows of the sample, per categorical column, whose category occurs in no other row."""
    singles = [np.sum(np.bincount(column[column >= 0]) == 1) for column in table.symbols.T]
    return np.array(singles, dtype=np.float64) / max(table.m, 1)
