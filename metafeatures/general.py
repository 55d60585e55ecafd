"""How big a table is, and of what kind its columns and classes are."""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.registry import ALL_SUMMARIES, metafeature
from metafeatures.table import Table

MICHIE = "Michie, Spiegelhalter & Taylor 1994"
KALOUSIS = "Kalousis & Theoharis 1999"
LINDNER = "Lindner & Studer 1999"
FEURER = "Feurer et al. 2015, supplement"


def ratio(a: float, b: float) -> float:
    """``a / b``, nan where ``b`` is 0."""
    return a / b if b else np.nan


def mean(values: FloatArray) -> float:
    """The mean, nan of nothing."""
    return float(values.mean()) if values.size else np.nan


@metafeature(source=MICHIE)
def nr_inst(table: Table) -> float:
    """Number of rows that have a target."""
    return table.n


@metafeature(source=MICHIE)
def nr_attr(table: Table) -> float:
    """Number of columns."""
    return table.d


@metafeature(source="Brazdil et al. 2003")
def log_nr_inst(table: Table) -> float:
    """Natural logarithm of the number of rows."""
    return float(np.log(table.n)) if table.n else np.nan


@metafeature(source=FEURER)
def log_nr_attr(table: Table) -> float:
    """Natural logarithm of the number of columns."""
    return float(np.log(table.d)) if table.d else np.nan


@metafeature(source=MICHIE)
def nr_class(table: Table) -> float:
    """Number of classes; nan in regression."""
    return table.k if table.is_classification else np.nan


@metafeature(source="Engels & Theusinger 1998")
def nr_num(table: Table) -> float:
    """Number of numeric columns."""
    return table.p


@metafeature(source="Engels & Theusinger 1998")
def nr_cat(table: Table) -> float:
    """Number of categorical columns."""
    return table.q


@metafeature(source=MICHIE)
def nr_bin(table: Table) -> float:
    """Number of columns, numeric or categorical, with exactly two distinct values."""
    return float(table.numeric_cardinality_is_two.sum() + (table.cardinalities == 2).sum())


@metafeature(source=KALOUSIS)
def attr_to_inst(table: Table) -> float:
    """Columns per row."""
    return ratio(table.d, table.n)


@metafeature(source="Kuba et al. 2002")
def inst_to_attr(table: Table) -> float:
    """Rows per column."""
    return ratio(table.n, table.d)


@metafeature(source=FEURER)
def cat_to_num(table: Table) -> float:
    """Categorical columns per numeric column; nan without numeric ones."""
    return ratio(table.q, table.p)


@metafeature(source=FEURER)
def num_to_cat(table: Table) -> float:
    """Numeric columns per categorical column; nan without categorical ones."""
    return ratio(table.p, table.q)


@metafeature(source=LINDNER, summaries=ALL_SUMMARIES)
def freq_class(table: Table) -> FloatArray:
    """Relative frequency of each class; nan in regression."""
    return table.class_counts / table.n if table.is_classification else np.empty(0)


@metafeature(source="Lorena et al. 2019, C2")
def class_imbalance(table: Table) -> float:
    """Imbalance ratio of the classes, 0 for balanced ones, towards 1 with growing imbalance; nan in regression."""
    if not table.is_classification or table.k < 2 or table.class_counts.min() == table.n:
        return np.nan
    counts = table.class_counts
    return float(1 - 1 / ((table.k - 1) / table.k * np.sum(counts / (table.n - counts))))


@metafeature(source="This project")
def is_regression(table: Table) -> float:
    """1 for a numeric target, 0 for classes."""
    return float(not table.is_classification)
