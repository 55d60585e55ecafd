"""Landmarkers: how well simple, fast learners do on the table, by themselves and relative to each other.

Ten-fold cross-validation on at most `metafeatures.table.MODEL_ROWS` rows of the encoded table; the score is the
accuracy, in regression R² (at least -1). What the learners are: `metafeatures.learners`.
"""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.general import mean
from metafeatures.learners import LEARNERS
from metafeatures.registry import MEAN_SD, metafeature
from metafeatures.table import Table

PFAHRINGER = "Pfahringer, Bensusan & Giraud-Carrier 2000"
BENSUSAN = "Bensusan & Giraud-Carrier 2000"
FUERNKRANZ = "Fürnkranz & Petrak 2001"
LANDMARKERS = {
    "best_node": BENSUSAN,
    "random_node": BENSUSAN,
    "worst_node": BENSUSAN,
    "linear_discr": PFAHRINGER,
    "naive_bayes": PFAHRINGER,
    "one_nn": BENSUSAN,
    "elite_nn": BENSUSAN,
}
"""Name of a learner -> who proposed it as a landmarker."""


def _register_scores(learner: str, source: str) -> None:
    """Register the scores of a learner in the folds, described as the learner is."""

    def scores(table: Table) -> FloatArray:
        return table.landmarks.scores(learner)

    scores.__doc__ = LEARNERS[learner].__doc__
    metafeature(source=source, name=learner, summaries=MEAN_SD)(scores)


def _register_relatives(learner: str) -> None:
    """Register what sub-sampling tells about a learner, and its place among the others."""

    def sub(table: Table) -> float:
        """Mean score of the learner on a quarter of the rows."""
        return mean(table.sub_landmarks.scores(learner))

    def rank(table: Table) -> float:
        """Rank of the learner among the landmarkers on a quarter of the rows: 1 best, ties share the mean rank."""
        means = np.array([mean(table.sub_landmarks.scores(name)) for name in LANDMARKERS])
        own = means[list(LANDMARKERS).index(learner)]
        return float(1 + np.sum(means > own) + (np.sum(means == own) - 1) / 2) if np.isfinite(own) else np.nan

    metafeature(source=f"{FUERNKRANZ}, LM on a sub-sample", name=f"{learner}_sub")(sub)
    metafeature(source=f"{FUERNKRANZ}, RK on a sub-sample", name=f"{learner}_rank")(rank)


for _learner, _source in LANDMARKERS.items():
    _register_scores(_learner, _source)
for _learner in LANDMARKERS:
    _register_relatives(_learner)
