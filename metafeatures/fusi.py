"""What Fusi, Sheth & Elibol (2018) add to auto-sklearn's metafeatures: landmarkers and principal components.

Their histories (553 and 2,318 OpenML tasks) store 46 features under these names. Definitions: Feurer et al. (2015),
supplement; learners and principal components are those of this package, so that values agree in meaning, not in digits.
"""

from __future__ import annotations

from metafeatures import pca
from metafeatures.general import FEURER, mean
from metafeatures.registry import metafeature
from metafeatures.table import Table

LANDMARKERS = {
    "Landmark1NN": "one_nn",
    "LandmarkDecisionNodeLearner": "best_node",
    "LandmarkDecisionTree": "decision_tree",
    "LandmarkLDA": "linear_discr",
    "LandmarkNaiveBayes": "naive_bayes",
    "LandmarkRandomNodeLearner": "random_node",
}
COMPONENTS = {
    "PCAFractionOfComponentsFor95PercentVariance": pca.pca_fraction_95,
    "PCAKurtosisFirstPC": pca.pca_kurtosis,
    "PCASkewnessFirstPC": pca.pca_skewness,
}


def _register_landmarker(name: str, learner: str) -> None:
    def landmarker(table: Table) -> float:
        """Mean accuracy (in regression R²) of a learner over ten folds."""
        return mean(table.landmarks.scores(learner))

    metafeature(source=FEURER, name=name)(landmarker)


for _name, _learner in LANDMARKERS.items():
    _register_landmarker(_name, _learner)
for _name, _component in COMPONENTS.items():
    metafeature(source=FEURER, name=_name, group="fusi")(_component)
