"""From raw inputs to what models take; one file for each kind of task."""

from metaml.data import Modality
from metaml.preprocessing.base import Features, Preprocessor, kind_of
from metaml.preprocessing.image import ImageFeatures, ImagePreprocessor
from metaml.preprocessing.table import TableFeatures, TablePreprocessor

PREPROCESSORS: dict[Modality, type[Preprocessor]] = {"tabular": TablePreprocessor, "image": ImagePreprocessor}
"""Kind of task -> its preprocessing."""

__all__ = [
    "PREPROCESSORS",
    "Features",
    "ImageFeatures",
    "ImagePreprocessor",
    "Preprocessor",
    "TableFeatures",
    "TablePreprocessor",
    "kind_of",
]
