"""The metafeatures that auto-sklearn ships with its histories, under its names and with its conventions.

Feurer et al. (2015), "Efficient and robust automated machine learning", supplement. Other than in the groups of this
package, what is undefined is mostly 0, and standard deviations divide by n. Skewness and kurtosis are of the sample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metafeatures.columns import FloatArray, IntArray
from metafeatures.general import FEURER, ratio
from metafeatures.registry import metafeature
from metafeatures.table import Table


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


def _positive(counts: IntArray) -> int:
    return int(np.count_nonzero(counts))


def _entropy(shares: FloatArray) -> float:
    return float(-np.sum(shares * np.log2(shares))) if shares.size else np.nan


def _class_probabilities(table: Table) -> FloatArray:
    return table.class_counts / table.n if table.is_classification else np.empty(0)


def _skewness(table: Table) -> FloatArray:
    return np.where(table.variances > 0, table.moments[0] / table.variances**1.5, 0.0)


def _kurtosis(table: Table) -> FloatArray:
    return np.where(table.variances > 0, table.moments[1] / table.variances**2 - 3, -3.0)


def _symbols(table: Table) -> FloatArray:
    return table.cardinalities[table.cardinalities > 0].astype(np.float64)


NUMBERS: dict[str, Callable[[Table], float]] = {
    "ClassEntropy": lambda table: _entropy(_class_probabilities(table)),
    "DatasetRatio": lambda table: ratio(table.d, table.n),
    "InverseDatasetRatio": lambda table: ratio(table.n, table.d),
    "LogDatasetRatio": lambda table: np.log(ratio(table.d, table.n)),
    "LogInverseDatasetRatio": lambda table: np.log(ratio(table.n, table.d)),
    "LogNumberOfFeatures": lambda table: np.log(table.d),
    "LogNumberOfInstances": lambda table: np.log(table.n),
    "NumberOfCategoricalFeatures": lambda table: table.q,
    "NumberOfClasses": lambda table: table.k if table.is_classification else np.nan,
    "NumberOfFeatures": lambda table: table.d,
    "NumberOfFeaturesWithMissingValues": lambda table: _positive(table.missing_per_column),
    "NumberOfInstances": lambda table: table.n,
    "NumberOfInstancesWithMissingValues": lambda table: _positive(table.missing_per_row),
    "NumberOfMissingValues": lambda table: int(table.missing_per_column.sum()),
    "NumberOfNumericFeatures": lambda table: table.p,
    "PercentageOfFeaturesWithMissingValues": lambda table: ratio(_positive(table.missing_per_column), table.d),
    "PercentageOfInstancesWithMissingValues": lambda table: ratio(_positive(table.missing_per_row), table.n),
    "PercentageOfMissingValues": lambda table: ratio(int(table.missing_per_column.sum()), table.n * table.d),
    "RatioNominalToNumerical": lambda table: _ratio(table.q, table.p),
    "RatioNumericalToNominal": lambda table: _ratio(table.p, table.q),
    "SymbolsSum": lambda table: int(table.cardinalities.sum()),
}

COLLECTIONS: dict[str, Callable[[Table], FloatArray]] = {
    "ClassProbability": _class_probabilities,
    "Kurtosis": _kurtosis,
    "Skewness": _skewness,
    "Symbols": _symbols,
}

STATISTICS: dict[str, Callable[[FloatArray], float]] = {
    "Max": lambda values: float(values.max()),
    "Mean": lambda values: float(values.mean()),
    "Min": lambda values: float(values.min()),
    "STD": lambda values: float(values.std()),
}


def _register_number(name: str, compute: Callable[[Table], float]) -> None:
    def number(table: Table) -> float:
        """A number under auto-sklearn's name for it."""
        return compute(table)

    metafeature(source=FEURER, name=name)(number)


def _register_statistic(name: str, collect: Callable[[Table], FloatArray], statistic: str) -> None:
    def number(table: Table) -> float:
        """A statistic of the columns or classes under auto-sklearn's name for it; 0 where there are none."""
        values = collect(table)
        undefined = np.nan if name == "ClassProbability" else 0.0
        return STATISTICS[statistic](values) if values.size else undefined

    metafeature(source=FEURER, name=name + statistic)(number)


for _name, _compute in NUMBERS.items():
    _register_number(_name, _compute)
for _name, _collect in COLLECTIONS.items():
    for _statistic in STATISTICS:
        _register_statistic(_name, _collect, _statistic)
