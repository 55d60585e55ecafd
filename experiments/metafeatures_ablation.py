"""Does it help to know which tasks are alike? Each measure of similarity against a portfolio that ignores the task.

    METAML_DATA=../shared/data python -m experiments.metafeatures_ablation

For each task of `dataset2vec_mlp` (MLPs on UCI tables, three grids of 256 to 324 configurations) all tasks of its
family are left out; a greedy portfolio is built on the `NEIGHBOURS` nearest of the others, by each measure, or on all
of them. Regret: error of the best of the first n proposals above the task's smallest error, over the task's range of
errors, averaged over the three grids. Differences are paired by task; intervals are 95 % of a bootstrap over families.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

import metafeatures
from experiments.metafeatures_oracle import DATA
from metafeatures.similarity import StatisticalDistance, TaskView, TransportDistance, cloud_of, fused

FOLDER = DATA / "meta" / "dataset2vec_mlp"
SPACES = ("a", "b", "c")
NEIGHBOURS = 10
PROPOSALS = (1, 3, 5, 10)
BOOTSTRAPS = 2000
TRANSPORT_POINTS = 100
Distances = Callable[[str, list[str], pd.DataFrame], "pd.Series[float]"]
"""(target, stored tasks, their errors) -> distance of each stored task."""


def read_views() -> dict[str, TaskView]:
    """Metafeatures and point clouds of the raw tables, by name."""
    views = {}
    for path in sorted((FOLDER / "raw_dev").glob("*.csv.gz")):
        table = pd.read_csv(path)
        X, y = table.iloc[:, :-1], table.iloc[:, -1]
        vector = metafeatures.describe(X, y, groups=metafeatures.ALL_GROUPS, task_type="classification")
        cloud = cloud_of(metafeatures.Table(X, y, task_type="classification"))
        views[path.name.removesuffix(".csv.gz")] = TaskView(metafeatures=vector, cloud=cloud)
    return views


def read_errors(space: str, names: list[str]) -> pd.DataFrame:
    """Tasks × configurations, 1 - accuracy."""
    accuracy = pd.read_csv(FOLDER / f"accuracy_searchspace_{space}.csv.gz", index_col=0)
    return 1 - accuracy.loc[[name for name in names if name in accuracy.index]]


def family(name: str) -> str:
    """Tables whose names begin alike are near-duplicates, or may be."""
    return re.split(r"[-_]", name)[0]


def greedy(regrets: pd.DataFrame, n: int) -> list[str]:
    """Configurations, each chosen to lower the mean over tasks of the best regret so far the most."""
    values, best, chosen = regrets.to_numpy(), np.full(len(regrets), np.inf), list[int]()
    for _ in range(n):
        gain = np.minimum(best[:, None], values).mean(axis=0)
        gain[chosen] = np.inf
        chosen.append(int(np.argmin(gain)))
        best = np.minimum(best, values[:, chosen[-1]])
    return [str(regrets.columns[j]) for j in chosen]


def scaled(errors: pd.DataFrame) -> pd.DataFrame:
    """Errors as regrets: 0 for each task's best configuration, 1 for its worst."""
    low, high = errors.min(axis=1), errors.max(axis=1)
    return errors.sub(low, axis=0).div((high - low).where(high > low, 1.0), axis=0)


def measures(views: dict[str, TaskView]) -> dict[str, Distances]:
    """The contestants by name; the portfolio finds all tasks equally near."""
    measure = TransportDistance(max_points=TRANSPORT_POINTS).fit(views)
    transport = pd.DataFrame({name: measure.distances(view) for name, view in views.items()})

    def statistical(target: str, stored: list[str], errors: pd.DataFrame | None) -> pd.Series[float]:
        return StatisticalDistance().fit({name: views[name] for name in stored}, errors).distances(views[target])

    rng = np.random.default_rng(0)
    return {
        "portfolio (all tasks)": lambda _target, stored, _errors: pd.Series(0.0, index=stored),
        "random neighbours": lambda _target, stored, _errors: pd.Series(rng.uniform(size=len(stored)), index=stored),
        "statistical, equal weights": lambda target, stored, _errors: statistical(target, stored, None),
        "statistical, learned weights": statistical,
        "optimal transport": lambda target, stored, _errors: transport.loc[stored, target],
        "statistical + transport": lambda target, stored, errors: fused(
            {"s": statistical(target, stored, errors), "t": transport.loc[stored, target]}
        ),
    }


def regret_curves(views: dict[str, TaskView], distances: Distances) -> pd.DataFrame:
    """Mean regret over the grids: tasks × `PROPOSALS`."""
    curves = []
    for space in SPACES:
        errors = read_errors(space, list(views))
        regrets = scaled(errors)
        rows = {}
        for target in regrets.index:
            stored = [name for name in regrets.index if family(name) != family(target)]
            d = distances(target, stored, errors.loc[stored])
            near = d.index if d.nunique() == 1 else d.nsmallest(NEIGHBOURS).index
            proposals = greedy(regrets.loc[near], max(PROPOSALS))
            best = np.minimum.accumulate(regrets.loc[target, proposals].to_numpy())
            rows[target] = {n: best[n - 1] for n in PROPOSALS}
        curves.append(pd.DataFrame(rows).T)
    return sum(curves[1:], curves[0]) / len(curves)


def interval(differences: pd.DataFrame) -> pd.DataFrame:
    """2.5 % and 97.5 % quantile of the mean difference, families drawn with replacement: 2 × `PROPOSALS`."""
    rng = np.random.default_rng(0)
    families = [group.to_numpy() for _, group in differences.groupby(differences.index.map(family))]
    draws = [
        np.vstack([families[i] for i in rng.integers(0, len(families), len(families))]).mean(axis=0)
        for _ in range(BOOTSTRAPS)
    ]
    return pd.DataFrame(np.quantile(draws, (0.025, 0.975), axis=0), columns=differences.columns)


def main() -> None:
    """Print mean regrets and their differences to the portfolio."""
    views = read_views()
    contestants = measures(views)
    curves = {name: regret_curves(views, distances) for name, distances in contestants.items()}
    baseline = curves["portfolio (all tasks)"]
    print(f"{len(baseline)} tasks, {baseline.index.map(family).nunique()} families; mean regret after n proposals")
    print(pd.DataFrame({name: curve.mean() for name, curve in curves.items()}).T.round(4).to_string())
    print("\ndifference to the portfolio (negative is better), 95 % interval")
    for name, curve in curves.items():
        low, high = interval(curve - baseline).to_numpy()
        cells = [
            f"{n}: {d:+.4f} [{a:+.4f}, {b:+.4f}]"
            for n, d, a, b in zip(PROPOSALS, (curve - baseline).mean(), low, high, strict=True)
        ]
        print(f"{name:30} " + "   ".join(cells))


if __name__ == "__main__":
    main()
