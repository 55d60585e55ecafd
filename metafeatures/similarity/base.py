"""What a measure of similarity between tasks is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import pandas as pd

from metafeatures.similarity.cloud import Cloud


@dataclass(frozen=True)
class TaskView:
    """What is known of a task, as far as similarity goes; a measure uses what it supports."""

    metafeatures: pd.Series[float] | None = None
    """Result of `metafeatures.describe`."""
    cloud: Cloud | None = None
    """A sample of the rows in a space that all tasks share: `cloud_of`. It stays in memory, no store keeps rows."""
    vectors: Mapping[str, pd.Series[float]] = field(default_factory=dict)
    """Name of a measure -> the vector by which it places the task, for the measures that have one."""
    text: str = ""
    """Description, name and column names, as far as there are any."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Configuration id -> error seen so far, lower is better."""


class Similarity(ABC):
    """Distances from a target to stored tasks. Learns scales and weights from the stored tasks only."""

    name: ClassVar[str]
    """Its key in `SIMILARITIES`."""
    version: ClassVar[str]
    """Number of the definition; distances of different versions do not compare."""

    def fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None = None) -> Self:
        """Take in the stored tasks.

        Args:
            tasks: by name; those that the measure does not support get the distance nan.
            errors: tasks × configurations, lower is better, nan = not run. For measures that learn what matters.
        """
        self._names = list(tasks)
        self._supported = {name: view for name, view in tasks.items() if self.supports(view)}
        if self._supported:
            self._fit(self._supported, errors)
        return self

    def distances(self, target: TaskView) -> pd.Series[float]:
        """Distance of each stored task to ``target``, in the order of `fit`; nan where there is nothing to compare."""
        distances = pd.Series(float("nan"), index=pd.Index(self._names), dtype=float)
        if self._supported and self.supports(target):
            distances.update(self._distances(target))
        return distances

    @classmethod
    def key(cls) -> str:
        """Under what a store keeps the vectors of this version of the measure."""
        return f"{cls.name}-{cls.version}"

    @abstractmethod
    def supports(self, view: TaskView) -> bool:
        """Whether the measure can place this task."""

    @abstractmethod
    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        """Learn from supported tasks, at least one."""

    @abstractmethod
    def _distances(self, target: TaskView) -> pd.Series[float]:
        """Distances to the supported tasks."""


def fused(distances: Mapping[str, pd.Series[float]]) -> pd.Series[float]:
    """Average over measures of each task's rank (0 nearest, 1 farthest); a measure without an opinion is left out.

    >>> one, other = pd.Series({"a": 0.1, "b": 9.0}), pd.Series({"a": 5.0, "b": float("nan")})
    >>> fused({"statistical": one, "text": other}).to_dict()
    {'a': 0.25, 'b': 1.0}
    """
    ranks = pd.DataFrame({name: (d.rank() - 1) / max(d.count() - 1, 1) for name, d in distances.items()})
    alone = pd.DataFrame({name: [0.5 if d.count() == 1 else 0.0] * len(d) for name, d in distances.items()})
    return (ranks + alone.set_axis(ranks.index)).mean(axis=1)
