"""Principal components of all columns: the standardised numeric ones and dummies of the categories."""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.registry import metafeature
from metafeatures.table import Table

BARDENET = "Bardenet et al. 2013"
ENOUGH = 0.95


@metafeature(source=BARDENET)
def pca_fraction_95(table: Table) -> float:
    """Share of the principal components that is needed for 95 % of the variance."""
    variances, _ = table.principal_components
    if not variances.sum() > 0:
        return np.nan
    explained = np.cumsum(variances) / variances.sum()
    return float(1 + np.searchsorted(explained, ENOUGH)) / variances.size


@metafeature(source="This project")
def pca_first_share(table: Table) -> float:
    """Share of the variance that lies along the first principal component."""
    variances, _ = table.principal_components
    return float(variances[0] / variances.sum()) if variances.size else np.nan


@metafeature(source="Roy & Vetterli 2007")
def pca_effective_rank(table: Table) -> float:
    """Effective number of components, exp(H) of the variances' shares, as a share of all components."""
    variances, _ = table.principal_components
    shares = variances[variances > 0] / variances.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))) / variances.size) if shares.size else np.nan


@metafeature(source=BARDENET)
def pca_skewness(table: Table) -> float:
    """Absolute skewness of the first principal component (its sign is arbitrary)."""
    _, first = table.principal_components
    return abs(_standardised_moment(first, 3))


@metafeature(source=BARDENET)
def pca_kurtosis(table: Table) -> float:
    """Excess kurtosis of the first principal component."""
    _, first = table.principal_components
    return _standardised_moment(first, 4) - 3


def _standardised_moment(values: FloatArray, order: int) -> float:
    centred = values - values.mean() if values.size else values
    scale = np.sqrt(np.mean(centred**2)) if values.size else 0.0
    return float(np.mean((centred / scale) ** order)) if scale > 0 else np.nan
