"""What competes in `metafeatures_ablation`: every measure of similarity that a table and its history allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metafeatures.similarity import (
    SIMILARITIES,
    PerformanceDistance,
    Similarity,
    StatisticalDistance,
    TaskView,
    TransportDistance,
    fused,
)

TRIED = 3
TRANSPORT_POINTS = 100
PORTFOLIO = "portfolio (all tasks)"
Distances = Callable[[str, list[str], pd.DataFrame, dict[str, float]], "pd.Series[float]"]
"""(target, stored tasks, their errors, what the target has tried) -> distance of each stored task."""


@dataclass(frozen=True)
class Contestant:
    """A way to find similar tasks."""

    distances: Distances
    tried: int = 0
    """How many proposals of the portfolio come first."""


def between(measure: Similarity, views: Mapping[str, TaskView]) -> pd.DataFrame:
    """Distances of all pairs: stored tasks × targets."""
    measure.fit(views)
    return pd.DataFrame({name: measure.distances(view) for name, view in views.items()})


def contestants(views: Mapping[str, TaskView]) -> dict[str, Contestant]:
    """The measures by name; the portfolio finds all tasks equally near."""

    def looked_up(table: pd.DataFrame) -> Contestant:
        return Contestant(lambda target, stored, _errors, _tried: table.loc[stored, target])

    def statistical(target: str, stored: list[str], errors: pd.DataFrame | None) -> pd.Series[float]:
        return StatisticalDistance().fit({name: views[name] for name in stored}, errors).distances(views[target])

    def text(target: str, stored: list[str], *_: object) -> pd.Series[float]:
        return SIMILARITIES["text"]().fit({name: views[name] for name in stored}).distances(views[target])

    def performance(_: str, stored: list[str], errors: pd.DataFrame, tried: dict[str, float]) -> pd.Series[float]:
        rows = errors.loc[stored, list(tried)].to_numpy()
        seen = {
            name: TaskView(errors=dict(zip(tried, row, strict=True))) for name, row in zip(stored, rows, strict=True)
        }
        return PerformanceDistance().fit(seen).distances(TaskView(errors=tried))

    kinds = pd.DataFrame({name: view.metafeatures for name, view in views.items()}).loc["is_regression"]

    def same_type(target: str, stored: list[str], *_: object) -> pd.Series[float]:
        return pd.Series(np.where(kinds[stored] == kinds[target], 0.0, np.nan), stored)

    rng = np.random.default_rng(0)
    transport = between(TransportDistance(max_points=TRANSPORT_POINTS), views)
    vectors = between(SIMILARITIES["dataset2vec"](), views)
    return {
        PORTFOLIO: Contestant(lambda _target, stored, _errors, _tried: pd.Series(0.0, index=stored)),
        "random neighbours": Contestant(lambda _t, stored, _e, _s: pd.Series(rng.uniform(size=len(stored)), stored)),
        "all tasks of the same type": Contestant(same_type),
        "(a) statistical, equal weights": Contestant(lambda target, stored, _e, _s: statistical(target, stored, None)),
        "(a) statistical, learned weights": Contestant(lambda target, stored, e, _s: statistical(target, stored, e)),
        "(b) optimal transport": looked_up(transport),
        "(b) class normals": looked_up(between(SIMILARITIES["normals"](), views)),
        "(c) text of the name": Contestant(text),
        "(d) Dataset2Vec": looked_up(vectors),
        f"(f) results of the first {TRIED}": Contestant(performance, TRIED),
        "(a) + (b) + (d)": Contestant(
            lambda target, stored, errors, _tried: fused(
                {
                    "a": statistical(target, stored, errors),
                    "b": transport.loc[stored, target],
                    "d": vectors.loc[stored, target],
                }
            )
        ),
    }
