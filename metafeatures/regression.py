"""What a numeric target looks like and how columns relate to it; all nan in classification."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from metafeatures.columns import FloatArray
from metafeatures.general import ratio
from metafeatures.registry import metafeature
from metafeatures.table import Table

LORENA = "Lorena et al. 2018"
SOARES = "Soares & Brazdil 2004"


@metafeature(source=SOARES)
def target_skewness(table: Table) -> float:
    """Skewness of the target."""
    z = _standardised_target(table)
    return float(np.mean(z**3)) if z.size else np.nan


@metafeature(source=SOARES)
def target_kurtosis(table: Table) -> float:
    """Excess kurtosis of the target."""
    z = _standardised_target(table)
    return float(np.mean(z**4)) - 3 if z.size else np.nan


@metafeature(source=SOARES)
def target_coef_variation(table: Table) -> float:
    """Standard deviation of the target over its absolute mean."""
    return np.nan if table.is_classification or not table.m else ratio(table.values.std(), abs(table.values.mean()))


@metafeature(source=SOARES)
def target_outliers(table: Table) -> float:
    """Share of targets further than 1.5 interquartile ranges outside their quartiles."""
    if table.is_classification or not table.m:
        return np.nan
    low, high = np.quantile(table.values, (0.25, 0.75))
    reach = 1.5 * (high - low)
    return float(np.mean((table.values < low - reach) | (table.values > high + reach)))


@metafeature(source="This project")
def target_distinct(table: Table) -> float:
    """Distinct values of the target per row."""
    return np.nan if table.is_classification else ratio(np.unique(table.values).size, table.m)


@metafeature(source=f"{LORENA}, C1")
def target_cor_max(table: Table) -> float:
    """Largest absolute Spearman correlation of a numeric column and the target."""
    correlations = _target_correlations(table)
    return float(correlations.max()) if correlations.size else np.nan


@metafeature(source=f"{LORENA}, C2")
def target_cor_mean(table: Table) -> float:
    """Mean absolute Spearman correlation of the numeric columns and the target."""
    correlations = _target_correlations(table)
    return float(correlations.mean()) if correlations.size else np.nan


def _standardised_target(table: Table) -> FloatArray:
    """The target at mean 0 and variance 1; empty in classification and where it is constant."""
    if table.is_classification or np.unique(table.values).size < 2:
        return np.empty(0)
    return np.asarray((table.values - table.values.mean()) / table.values.std())


def _target_correlations(table: Table) -> FloatArray:
    """Absolute Spearman correlation of each varying numeric column and the target; missing cells rank last."""
    z = rankdata(_standardised_target(table))
    if not z.size or not table.numeric.size:
        return np.empty(0)
    ranks = rankdata(np.nan_to_num(table.numeric, nan=np.inf), axis=0)
    ranks = ranks - ranks.mean(axis=0)
    norms = np.linalg.norm(ranks, axis=0)
    correlations = np.abs(ranks.T @ (z - z.mean())) / (norms * np.linalg.norm(z - z.mean()))
    return np.asarray(correlations[norms > 0])
