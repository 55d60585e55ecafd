"""What columns tell about the target, in bits.

Numeric columns are discretised into ``int(m ** (1/3))`` equally frequent bins, a numeric target into ten; a missing
cell is a symbol of its own. All values are of the sample.
"""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.contingency import Contingency
from metafeatures.general import MICHIE, mean, ratio
from metafeatures.registry import ALL_SUMMARIES, MEAN_SD, metafeature
from metafeatures.table import Table

CONCENTRATION_COLUMNS = 12


@metafeature(source=MICHIE)
def class_ent(table: Table) -> float:
    """Entropy of the class; nan in regression."""
    return table.contingency.class_entropy if table.is_classification else np.nan


@metafeature(source="Castiello, Castellano & Fanelli 2005")
def class_ent_norm(table: Table) -> float:
    """Entropy of the class over its maximum log2(k); nan in regression and for one class."""
    return ratio(table.contingency.class_entropy, float(np.log2(table.k))) if table.is_classification else np.nan


@metafeature(source=MICHIE, summaries=MEAN_SD)
def attr_ent(table: Table) -> FloatArray:
    """Entropy of each column."""
    return table.contingency.attribute_entropies


@metafeature(source=MICHIE, summaries=MEAN_SD)
def joint_ent(table: Table) -> FloatArray:
    """Joint entropy of each column and the target."""
    return table.contingency.joint_entropies


@metafeature(source=MICHIE, summaries=ALL_SUMMARIES)
def mut_inf(table: Table) -> FloatArray:
    """Mutual information of each column and the target."""
    return table.contingency.mutual_information


@metafeature(source="Quinlan 1986, the gain ratio", summaries=ALL_SUMMARIES)
def uncertainty_coef(table: Table) -> FloatArray:
    """Mutual information of each column and the target, as a share of the target's entropy."""
    return np.asarray(table.contingency.mutual_information / table.contingency.class_entropy)


@metafeature(source=MICHIE)
def eq_num_attr(table: Table) -> float:
    """Equivalent number of attributes: how many columns of average information would determine the target."""
    return ratio(table.contingency.class_entropy, mean(table.contingency.mutual_information))


@metafeature(source=MICHIE)
def ns_ratio(table: Table) -> float:
    """Noise to signal: the columns' information that is not about the target, over that which is."""
    signal = float(table.contingency.mutual_information.sum())
    return ratio(float(table.contingency.attribute_entropies.sum()) - signal, signal)


@metafeature(source="Kalousis & Hilario 2001", summaries=MEAN_SD)
def class_conc(table: Table) -> FloatArray:
    """Concentration coefficient (Goodman and Kruskal's tau) of each column given the target."""
    return table.contingency.concentration


@metafeature(source="Kalousis & Hilario 2001", summaries=MEAN_SD)
def attr_conc(table: Table) -> FloatArray:
    """Concentration coefficient of each ordered pair of columns, among (at most) twelve drawn columns."""
    drawn = np.sort(np.argsort(table.column_keys)[:CONCENTRATION_COLUMNS])
    codes = table.codes[:, drawn]
    pairs = [np.delete(Contingency.count(codes, codes[:, j]).concentration, j) for j in range(drawn.size)]
    return np.concatenate(pairs) if pairs else np.empty(0)
