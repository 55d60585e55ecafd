"""Describe a table by a vector of metafeatures: which past task is this one like?

>>> import metafeatures
>>> metafeatures.REGISTRY["class_ent"].source
'Michie, Spiegelhalter & Taylor 1994'
"""

from metafeatures import (  # noqa: F401  these fill the registry
    autosklearn,
    fusi,
    general,
    information,
    landmarks,
    model_based,
    pca,
    regression,
    statistical,
    structure,
)
from metafeatures.images import IMAGE_VERSION, describe_images
from metafeatures.registry import REGISTRY, Metafeature
from metafeatures.table import Table
from metafeatures.vector import ALL_GROUPS, DEFAULT_GROUPS, NAMED_SETS, VERSION, describe, describe_table, feature_names

__all__ = [
    "ALL_GROUPS",
    "DEFAULT_GROUPS",
    "IMAGE_VERSION",
    "NAMED_SETS",
    "REGISTRY",
    "VERSION",
    "Metafeature",
    "Table",
    "describe",
    "describe_images",
    "describe_table",
    "feature_names",
]
