"""Distributions and correlations of the numeric columns, over their present values.

All values are of the sample. Covariances and correlations take missing cells at the column's mean.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from metafeatures.columns import FloatArray, IntArray
from metafeatures.discriminant import class_means, log_homogeneity
from metafeatures.general import LINDNER, MICHIE, ratio
from metafeatures.normality import shapiro_wilk
from metafeatures.quantiles import sorted_quantiles
from metafeatures.registry import ALL_SUMMARIES, MEAN_SD, metafeature
from metafeatures.table import Table

ENGELS = "Engels & Theusinger 1998"
CASTIELLO = "Castiello, Castellano & Fanelli 2005"
ALI = "Ali & Smith 2006"
TRIM = 0.2
WHISKER = 1.5
SIGNIFICANCE = 0.05
MAD_TO_SD = 1.4826
MAX_TIES = 100


@metafeature(source=ENGELS, summaries=MEAN_SD)
def mean(table: Table) -> FloatArray:
    """Mean of each column."""
    return table.means


@metafeature(source=ENGELS, summaries=MEAN_SD)
def median(table: Table) -> FloatArray:
    """Median of each column."""
    return np.asarray(table.quantiles(np.array([0.5]))[0])


@metafeature(source=ENGELS, summaries=MEAN_SD)
def t_mean(table: Table) -> FloatArray:
    """Mean of each column without its lowest and highest fifth."""
    cut = (TRIM * table.counts).astype(np.int64)
    row = np.arange(table.m)[:, None]
    kept = (row >= cut) & (row < table.counts - cut)
    return np.asarray(np.where(kept, table.sorted, 0.0).sum(axis=0) / kept.sum(axis=0))


@metafeature(source=ENGELS, summaries=MEAN_SD, name="min")
def min_(table: Table) -> FloatArray:
    """Smallest value of each column."""
    return table.sorted[0] if table.m else np.empty(0)


@metafeature(source=ENGELS, summaries=MEAN_SD, name="max")
def max_(table: Table) -> FloatArray:
    """Largest value of each column."""
    return table.maxima


@metafeature(source=ALI, summaries=MEAN_SD, name="range")
def range_(table: Table) -> FloatArray:
    """Largest minus smallest value of each column."""
    return table.maxima - table.sorted[0] if table.m else np.empty(0)


@metafeature(source=ALI, summaries=MEAN_SD)
def iq_range(table: Table) -> FloatArray:
    """Interquartile range of each column."""
    low, high = table.quantiles(np.array([0.25, 0.75]))
    return np.asarray(high - low)


@metafeature(source=ENGELS, summaries=MEAN_SD)
def sd(table: Table) -> FloatArray:
    """Standard deviation of each column, divisor m - 1."""
    return np.sqrt(var(table))


@metafeature(source=CASTIELLO, summaries=MEAN_SD)
def var(table: Table) -> FloatArray:
    """Variance of each column, divisor m - 1."""
    return np.asarray(table.variances * table.counts / (table.counts - 1))


@metafeature(source=ALI, summaries=MEAN_SD)
def mad(table: Table) -> FloatArray:
    """Median absolute deviation from the median of each column, times 1.4826."""
    distances = np.sort(np.abs(table.numeric - median(table)), axis=0)
    return np.asarray(MAD_TO_SD * sorted_quantiles(distances, table.counts, np.array([0.5]))[0])


@metafeature(source=ALI, summaries=MEAN_SD)
def g_mean(table: Table) -> FloatArray:
    """Geometric mean of each column: 0 where it has zeros, nan where it has negative values."""
    result, eligible = _nowhere_negative(table)
    result[eligible] = np.exp(np.nanmean(np.log(table.numeric[:, eligible]), axis=0))
    return result


@metafeature(source=ALI, summaries=MEAN_SD)
def h_mean(table: Table) -> FloatArray:
    """Harmonic mean of each column: 0 where it has zeros, nan where it has negative values."""
    result, eligible = _nowhere_negative(table)
    result[eligible] = 1 / np.nanmean(1 / table.numeric[:, eligible], axis=0)
    return result


@metafeature(source=MICHIE, summaries=ALL_SUMMARIES)
def skewness(table: Table) -> FloatArray:
    """Skewness b1 of each column (Joanes & Gill 1998); nan for a constant one."""
    return np.asarray(table.moments[0] / table.variances**1.5 * (1 - 1 / table.counts) ** 1.5)


@metafeature(source=MICHIE, summaries=ALL_SUMMARIES)
def kurtosis(table: Table) -> FloatArray:
    """Excess kurtosis b2 of each column (Joanes & Gill 1998); nan for a constant one."""
    return np.asarray(table.moments[1] / table.variances**2 * (1 - 1 / table.counts) ** 2 - 3)


@metafeature(source=CASTIELLO, summaries=ALL_SUMMARIES)
def cor(table: Table) -> FloatArray:
    """Absolute Pearson correlation of each pair of columns."""
    return np.abs(_below_diagonal(table.correlation))


@metafeature(source=CASTIELLO, summaries=MEAN_SD)
def cov(table: Table) -> FloatArray:
    """Absolute covariance of each pair of columns."""
    return np.abs(_below_diagonal(table.covariance))


@metafeature(source="Salama, Hassanien & Revett 2013")
def nr_cor_attr(table: Table) -> float:
    """Share of the pairs of columns whose absolute correlation is at least 0.5."""
    pairs = np.abs(_below_diagonal(table.correlation))
    return ratio(float((pairs >= 0.5).sum()), pairs.size)


@metafeature(source="Kopf, Taylor & Keller 2000")
def nr_norm(table: Table) -> float:
    """Number of columns that pass the Shapiro-Wilk test of normality at 5 %; a constant one does not."""
    return int((shapiro_wilk(table.sorted, table.counts) > SIGNIFICANCE).sum())


@metafeature(source="Kopf & Iglezakis 2002")
def nr_outliers(table: Table) -> float:
    """Number of columns with a value further than 1.5 interquartile ranges outside the quartiles."""
    low, high = table.quantiles(np.array([0.25, 0.75]))
    reach = WHISKER * (high - low)
    return int(((_lowest(table) < low - reach) | (table.maxima > high + reach)).sum())


@metafeature(source="Salama, Hassanien & Revett 2013", summaries=MEAN_SD)
def sparsity(table: Table) -> FloatArray:
    """Repetition of values in each column of any kind: (m / distinct - 1) / (m - 1); 0 all differ, 1 constant."""
    changes = (np.diff(table.sorted, axis=0) > 0).sum(axis=0)
    distinct = np.concatenate([changes + (table.counts > 0), table.symbols.max(axis=0, initial=-1) + 1])
    return np.asarray((table.m / distinct - 1) / (table.m - 1))


@metafeature(source=ALI, summaries=MEAN_SD)
def eigenvalues(table: Table) -> FloatArray:
    """Eigenvalues of the covariance matrix."""
    covariance = table.covariance
    return np.asarray(np.linalg.eigvalsh(covariance)) if np.isfinite(covariance).all() else np.empty(0)


@metafeature(source="Kalousis 2002", summaries=MEAN_SD)
def can_cor(table: Table) -> FloatArray:
    """Canonical correlations of the numeric columns and the class indicators (in regression: the target)."""
    return table.canonical_correlations


@metafeature(source=LINDNER)
def nr_disc(table: Table) -> float:
    """Number of canonical correlations, that is of discriminant functions."""
    return table.canonical_correlations.size


@metafeature(source=LINDNER)
def w_lambda(table: Table) -> float:
    """Wilks' lambda Π (1 - r²) of the canonical correlations r: 0 perfectly separable, 1 not at all."""
    r = table.canonical_correlations
    return float(np.prod(1 - r**2)) if r.size else np.nan


@metafeature(source=LINDNER)
def p_trace(table: Table) -> float:
    """Pillai's trace Σ r² of the canonical correlations."""
    r = table.canonical_correlations
    return float(np.sum(r**2)) if r.size else np.nan


@metafeature(source=LINDNER)
def lh_trace(table: Table) -> float:
    """Lawley and Hotelling's trace Σ r² / (1 - r²) of the canonical correlations."""
    r = table.canonical_correlations
    return float(np.sum(r**2 / (1 - r**2))) if r.size else np.nan


@metafeature(source=LINDNER)
def roy_root(table: Table) -> float:
    """Roy's largest root max r² / (1 - r²) of the canonical correlations."""
    r = table.canonical_correlations
    return float(np.max(r**2 / (1 - r**2))) if r.size else np.nan


@metafeature(source=ALI)
def gravity(table: Table) -> float:
    """Distance between the centres of the largest and the smallest class; averaged over ties of their sizes.

    Of more than `MAX_TIES` classes of one size, so many are taken.
    """
    counts = np.bincount(table.classes)
    if counts.size < 2 or not table.p:
        return np.nan
    means = class_means(table.centred, table.classes, counts.size)
    largest, smallest = (np.flatnonzero(counts == size)[:MAX_TIES] for size in (counts.max(), counts.min()))
    distances = cdist(means[largest], means[smallest])
    return float(distances[largest[:, None] != smallest].mean())


@metafeature(source=MICHIE)
def sd_ratio(table: Table) -> float:
    """Geometric mean ratio of the classes' to the pooled standard deviations, from Box's M; 1: equal covariances.

    nan where a class has too few rows for a covariance matrix of full rank.
    """
    return float(np.exp(log_homogeneity(table.centred, table.classes, int(table.classes.max(initial=0)) + 1)))


def _lowest(table: Table) -> FloatArray:
    return table.sorted[0] if table.m else np.full(table.numeric.shape[1], np.nan)


def _nowhere_negative(table: Table) -> tuple[FloatArray, IntArray]:
    """One nan per numeric column, and the numbers of those columns that have no negative value."""
    lowest = _lowest(table)
    return np.full(lowest.size, np.nan), np.flatnonzero(lowest >= 0)


def _below_diagonal(matrix: FloatArray) -> FloatArray:
    return np.asarray(matrix[np.tril_indices(matrix.shape[0], k=-1)])
