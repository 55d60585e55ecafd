"""The shape of an unpruned decision tree that is grown on the table.

The tree sees at most `metafeatures.table.MODEL_ROWS` rows of the encoded table. Nodes are its inner nodes; the root has
depth 0; in regression it is a regression tree.
"""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.registry import MEAN_SD, metafeature
from metafeatures.table import Table

PENG = "Peng, Flach, Soares & Brazdil 2002"
BENSUSAN = "Bensusan, Giraud-Carrier & Kennedy 2000"


@metafeature(source=PENG)
def leaves(table: Table) -> float:
    """Number of leaves."""
    return int(table.tree.is_leaf.sum())


@metafeature(source=PENG)
def nodes(table: Table) -> float:
    """Number of inner nodes."""
    return int((~table.tree.is_leaf).sum())


@metafeature(source=PENG, summaries=MEAN_SD)
def tree_depth(table: Table) -> FloatArray:
    """Depth of each inner node and leaf."""
    return table.tree.depth.astype(np.float64)


@metafeature(source=PENG, summaries=MEAN_SD)
def leaves_branch(table: Table) -> FloatArray:
    """Depth of each leaf: the length of the branches."""
    return table.tree.leaf_depth.astype(np.float64)


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def leaves_corrob(table: Table) -> FloatArray:
    """Share of the rows that ends in each leaf."""
    return np.asarray(table.tree.n_rows[table.tree.is_leaf] / table.tree.n_rows[0])


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def tree_shape(table: Table) -> FloatArray:
    """-p·log2(p) of each leaf, where p is the probability to arrive there by a random walk from the root."""
    return table.tree.shape


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def leaves_homo(table: Table) -> FloatArray:
    """Homogeneity: the number of leaves over the shape of each leaf."""
    return np.asarray(table.tree.shape.size / table.tree.shape)


@metafeature(source="Filchenkov & Pendryak 2015", summaries=MEAN_SD)
def leaves_per_class(table: Table) -> FloatArray:
    """Share of the leaves that predict each of the classes predicted at all; nan in regression."""
    _, counts = np.unique(table.tree.leaf_class, return_counts=True)
    return np.asarray(counts / counts.sum())


@metafeature(source=BENSUSAN)
def nodes_per_attr(table: Table) -> float:
    """Inner nodes per column of the encoded table."""
    return float((~table.tree.is_leaf).sum() / table.tree.importance.size)


@metafeature(source=BENSUSAN)
def nodes_per_inst(table: Table) -> float:
    """Inner nodes per row."""
    return float((~table.tree.is_leaf).sum() / table.tree.n_rows[0])


@metafeature(source=PENG, summaries=MEAN_SD)
def nodes_per_level(table: Table) -> FloatArray:
    """Number of inner nodes at each depth."""
    return np.bincount(table.tree.depth[~table.tree.is_leaf]).astype(np.float64)


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def nodes_repeated(table: Table) -> FloatArray:
    """How often each of the encoded columns in use is split on."""
    _, counts = np.unique(table.tree.feature[~table.tree.is_leaf], return_counts=True)
    return counts.astype(np.float64)


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def tree_imbalance(table: Table) -> FloatArray:
    """-q·log2(q) for each depth of leaves, where q = 2 ** -(the probability that a random walk ends at that depth)."""
    probabilities, counts = np.unique(2.0**-table.tree.leaf_depth, return_counts=True)
    share = probabilities * counts
    return np.asarray(share * 2.0**-share)


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def var_importance(table: Table) -> FloatArray:
    """Importance of each encoded column: its share of the decrease of impurity."""
    return table.tree.importance
