"""Measures of similarity between tasks, behind one interface."""

from metafeatures.similarity.base import Similarity, TaskView, fused
from metafeatures.similarity.cloud import Cloud, cloud_of
from metafeatures.similarity.dataset2vec import Dataset2VecDistance
from metafeatures.similarity.normals import ClassNormals, NormalsDistance, class_normals
from metafeatures.similarity.performance import PerformanceDistance
from metafeatures.similarity.statistical import StatisticalDistance
from metafeatures.similarity.task2vec import Task2VecDistance
from metafeatures.similarity.text import TextDistance, text_of, words_of
from metafeatures.similarity.transport import TransportDistance, squared_otdd

SIMILARITIES: dict[str, type[Similarity]] = {
    "statistical": StatisticalDistance,
    "transport": TransportDistance,
    "normals": NormalsDistance,
    "text": TextDistance,
    "dataset2vec": Dataset2VecDistance,
    "task2vec": Task2VecDistance,
    "performance": PerformanceDistance,
}

__all__ = [
    "SIMILARITIES",
    "ClassNormals",
    "Cloud",
    "Dataset2VecDistance",
    "NormalsDistance",
    "PerformanceDistance",
    "Similarity",
    "StatisticalDistance",
    "Task2VecDistance",
    "TaskView",
    "TextDistance",
    "TransportDistance",
    "class_normals",
    "cloud_of",
    "fused",
    "squared_otdd",
    "text_of",
    "words_of",
]
