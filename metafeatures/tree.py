"""A fitted decision tree as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metafeatures.columns import FloatArray, IntArray


@dataclass(frozen=True)
class Tree:
    """The v inner nodes and leaves of a tree, parents before children; e columns that it could split on."""

    feature: IntArray
    """Column that each inner node splits on, ``(v,)``; negative for leaves."""
    depth: IntArray
    """Distance to the root, ``(v,)``."""
    n_rows: IntArray
    """Training rows that pass each node, ``(v,)``."""
    leaf_class: IntArray
    """Class that each leaf predicts; empty in regression."""
    importance: FloatArray
    """Share of the decrease of impurity of each column, ``(e,)``."""

    @cached_property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Which nodes are leaves, ``(v,)``."""
        return self.feature < 0

    @property
    def leaf_depth(self) -> IntArray:
        """Depth of each leaf."""
        return self.depth[self.is_leaf]

    @cached_property
    def shape(self) -> FloatArray:
        """-p·log2(p) of each leaf with p = 2 ** -depth."""
        return np.asarray(self.leaf_depth * 2.0**-self.leaf_depth)

    @classmethod
    def grow(cls, X: FloatArray, target: FloatArray | IntArray, *, classify: bool) -> Tree:
        """Grow an unpruned tree on ``X`` ``(m, e)`` and ``target`` ``(m,)``; without rows or columns a single leaf."""
        if not X.size:
            root, leaf_class = np.zeros(1, dtype=np.int64), np.zeros(int(classify), dtype=np.int64)
            return cls(root - 1, root, root + X.shape[0], leaf_class, np.zeros(X.shape[1]))
        model = (DecisionTreeClassifier if classify else DecisionTreeRegressor)(random_state=0)
        model.fit(X, target)
        tree = model.tree_
        depth = np.zeros(tree.node_count, dtype=np.int64)
        for node in range(tree.node_count):  # children have larger numbers than their parents
            for children in (tree.children_left, tree.children_right):
                if children[node] >= 0:
                    depth[children[node]] = depth[node] + 1
        leaf_class = np.argmax(tree.value[tree.feature < 0, 0], axis=1) if classify else np.empty(0, dtype=np.int64)
        return cls(tree.feature.astype(np.int64), depth, tree.n_node_samples, leaf_class, model.feature_importances_)
