"""Landmarkers: how well simple, fast learners do on the table, by themselves and relative to each other.

Ten-fold cross-validation on at most `metafeatures.table.MODEL_ROWS` rows of the encoded table; the score is the
accuracy, in regression R² (at least -1). What the learners are: `metafeatures.landmarking`.
"""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.general import mean
from metafeatures.registry import MEAN_SD, metafeature
from metafeatures.table import Table

PFAHRINGER = "Pfahringer, Bensusan & Giraud-Carrier 2000"
BENSUSAN = "Bensusan & Giraud-Carrier 2000"
FUERNKRANZ = "Fürnkranz & Petrak 2001"
RELATIVE = ("best_node", "random_node", "worst_node", "linear_discr", "naive_bayes", "one_nn", "elite_nn")


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def best_node(table: Table) -> FloatArray:
    """The best split of one column: is one column enough?"""
    return table.landmarks.scores("best_node")


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def random_node(table: Table) -> FloatArray:
    """The best split of a column drawn at random: what is a column worth?"""
    return table.landmarks.scores("random_node")


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def worst_node(table: Table) -> FloatArray:
    """The best split of the column that is least related to the target: are there useless columns?"""
    return table.landmarks.scores("worst_node")


@metafeature(source=PFAHRINGER, summaries=MEAN_SD)
def linear_discr(table: Table) -> FloatArray:
    """Linear discriminant analysis (in regression: ridge regression): is the task linear?"""
    return table.landmarks.scores("linear_discr")


@metafeature(source=PFAHRINGER, summaries=MEAN_SD)
def naive_bayes(table: Table) -> FloatArray:
    """Gaussian naive Bayes: are the columns independent given the class? nan in regression."""
    return table.landmarks.scores("naive_bayes")


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def one_nn(table: Table) -> FloatArray:
    """The nearest neighbour: how dense are the classes?"""
    return table.landmarks.scores("one_nn")


@metafeature(source=BENSUSAN, summaries=MEAN_SD)
def elite_nn(table: Table) -> FloatArray:
    """The nearest neighbour in the most informative column."""
    return table.landmarks.scores("elite_nn")


def _register_relatives(learner: str) -> None:
    """Register what sub-sampling tells about a learner, and its place among the others."""

    def sub(table: Table) -> float:
        """Mean score of the learner on a quarter of the rows."""
        return mean(table.sub_landmarks.scores(learner))

    def rank(table: Table) -> float:
        """Rank of the learner among the landmarkers on a quarter of the rows: 1 best, ties share the mean rank."""
        means = np.array([mean(table.sub_landmarks.scores(name)) for name in RELATIVE])
        own = means[RELATIVE.index(learner)]
        return float(1 + np.sum(means > own) + (np.sum(means == own) - 1) / 2) if np.isfinite(own) else np.nan

    metafeature(source=f"{FUERNKRANZ}, LM on a sub-sample", name=f"{learner}_sub")(sub)
    metafeature(source=f"{FUERNKRANZ}, RK on a sub-sample", name=f"{learner}_rank")(rank)


for _learner in RELATIVE:
    _register_relatives(_learner)
