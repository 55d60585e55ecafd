"""Describe a table by a vector of metafeatures: which past task is this one like?

>>> import metafeatures
>>> metafeatures.REGISTRY["class_ent"].source
'Michie, Spiegelhalter & Taylor 1994'
"""

from metafeatures import general, information, pca, regression, statistical, structure  # noqa: F401, I001  fill the registry
from metafeatures.registry import REGISTRY, Metafeature
from metafeatures.table import Table
from metafeatures.vector import ALL_GROUPS, DEFAULT_GROUPS, VERSION, describe, feature_names

__all__ = [
    "ALL_GROUPS",
    "DEFAULT_GROUPS",
    "REGISTRY",
    "VERSION",
    "Metafeature",
    "Table",
    "describe",
    "feature_names",
]
