"""Measures of similarity between tasks, behind one interface."""

from metafeatures.similarity.base import Similarity, TaskView, fused
from metafeatures.similarity.cloud import Cloud, cloud_of
from metafeatures.similarity.performance import PerformanceDistance
from metafeatures.similarity.statistical import StatisticalDistance
from metafeatures.similarity.text import TextDistance
from metafeatures.similarity.transport import TransportDistance, squared_otdd

SIMILARITIES: dict[str, type[Similarity]] = {
    "statistical": StatisticalDistance,
    "transport": TransportDistance,
    "text": TextDistance,
    "performance": PerformanceDistance,
}

__all__ = [
    "SIMILARITIES",
    "Cloud",
    "PerformanceDistance",
    "Similarity",
    "StatisticalDistance",
    "TaskView",
    "TextDistance",
    "TransportDistance",
    "cloud_of",
    "fused",
    "squared_otdd",
]
