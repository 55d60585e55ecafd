"""Does it help to know which tasks are alike? Each measure of similarity against a portfolio that ignores the task.

    METAML_DATA=../shared/data python -m experiments.metafeatures_ablation docs

For each task of a history (`metafeatures_pasts`) all tasks of its family are left out; of the others a greedy portfolio
is built, in which the `NEIGHBOURS` nearest by a measure have all the weight, or half of it. Regret: error of the best
of the first n proposals above the task's smallest error, over the task's range of errors, averaged over search spaces.
Differences are paired by task; intervals are 95 % of a bootstrap over families. What was tried so far can only be
compared after something was tried: there the first proposals are those of the portfolio. Task2Vec is for images, of
which there is no history here. The figures need the extra ``plots``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.metafeatures_contestants import PORTFOLIO, Contestant, contestants
from experiments.metafeatures_pasts import Past, grids_of_mlps, own_history

FloatArray = NDArray[np.float64]

NEIGHBOURS = 10
PROPOSALS = (1, 3, 5, 10)
BOOTSTRAPS = 2000
SHARES = {"all weight": 1.0, "half of it": 0.5}
"""What share of the weight the nearest tasks have; the rest is spread over all."""


def greedy(regrets: FloatArray, weights: FloatArray, n: int, first: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Configurations, each chosen to lower the weighted mean over tasks of the best regret so far the most.

    Args:
        regrets: tasks × configurations.
        weights: of the tasks.
        n: how many configurations.
        first: those that are chosen already; they count among the n.
    """
    chosen = list(first)
    best = regrets[:, chosen].min(axis=1, initial=np.inf)
    while len(chosen) < n:
        gain = weights @ np.minimum(best[:, None], regrets)
        gain[chosen] = np.inf
        chosen.append(int(np.argmin(gain)))
        best = np.minimum(best, regrets[:, chosen[-1]])
    return tuple(chosen)


def scaled(errors: pd.DataFrame) -> pd.DataFrame:
    """Errors as regrets: 0 for each task's best configuration, 1 for its worst."""
    low, high = errors.min(axis=1), errors.max(axis=1)
    return errors.sub(low, axis=0).div((high - low).where(high > low, 1.0), axis=0)


def regret_curves(past: Past, contestant: Contestant) -> dict[str, pd.DataFrame]:
    """Mean regret over the search spaces, for each of `SHARES`: tasks × `PROPOSALS`."""
    curves: dict[str, list[pd.DataFrame]] = {label: [] for label in SHARES}
    for errors in past.errors:
        regrets = scaled(errors)
        rows: dict[str, dict[str, FloatArray]] = {label: {} for label in SHARES}
        for target in regrets.index:
            stored = [name for name in regrets.index if past.families[name] != past.families[target]]
            known, equal = regrets.loc[stored].to_numpy(), np.full(len(stored), 1 / len(stored))
            first = greedy(known, equal, contestant.tried)
            tried = {str(errors.columns[j]): float(errors.loc[target].iloc[j]) for j in first}
            near = nearest(contestant.distances(target, stored, errors.loc[stored], tried))
            for label, share in SHARES.items():
                proposals = greedy(known, share * near + (1 - share) * equal, max(PROPOSALS), first)
                best = np.minimum.accumulate(regrets.loc[target].to_numpy()[list(proposals)])
                rows[label][target] = best[np.array(PROPOSALS) - 1]
        for label in SHARES:
            curves[label].append(pd.DataFrame(rows[label], index=PROPOSALS).T)
    return {label: sum(parts[1:], parts[0]) / len(past.errors) for label, parts in curves.items()}


def nearest(distances: pd.Series[float]) -> FloatArray:
    """Equal weight for the `NEIGHBOURS` nearest tasks, and none for others; for all where all are equally far."""
    known = distances.dropna()
    near = distances.index.isin((known if known.nunique() <= 1 else known.nsmallest(NEIGHBOURS)).index)
    weights = np.asarray(near, dtype=float)
    return np.asarray(weights / weights.sum())


def interval(differences: pd.DataFrame, family: Mapping[str, str]) -> pd.DataFrame:
    """2.5 % and 97.5 % quantile of the mean difference, families drawn with replacement: 2 × `PROPOSALS`."""
    rng = np.random.default_rng(0)
    families = [group.to_numpy() for _, group in differences.groupby(differences.index.map(dict(family)))]
    draws = [
        np.vstack([families[i] for i in rng.integers(0, len(families), len(families))]).mean(axis=0)
        for _ in range(BOOTSTRAPS)
    ]
    return pd.DataFrame(np.quantile(draws, (0.025, 0.975), axis=0), columns=differences.columns)


def comparison(curves: dict[tuple[str, str], pd.DataFrame], family: Mapping[str, str]) -> pd.DataFrame:
    """(measure, share, n) × regret, its difference to the portfolio, and the interval of that."""
    rows = {}
    for (name, label), curve in curves.items():
        differences = curve - curves[PORTFOLIO, label]
        low, high = interval(differences, family).to_numpy()
        for j, n in enumerate(PROPOSALS):
            rows[name, label, n] = (curve[n].mean(), differences[n].mean(), low[j], high[j])
    return pd.DataFrame(rows, index=["regret", "difference", "low", "high"]).T


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the differences to the portfolio with their intervals: one panel for each number of proposals."""
    from matplotlib.figure import Figure

    names = [name for name in table.index.unique(0) if name != PORTFOLIO][::-1]
    figure = Figure(figsize=(11, 0.42 * len(names) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(PROPOSALS), sharex=True, sharey=True)
    for axes, n in zip(panels, PROPOSALS, strict=True):
        for k, label in enumerate(SHARES):
            part = table.xs((label, n), level=(1, 2)).loc[names]
            spread = np.abs(part[["low", "high"]].sub(part["difference"], axis=0).to_numpy().T)
            places = np.arange(len(names)) + 0.12 - 0.24 * k
            axes.errorbar(part["difference"], places, xerr=spread, fmt="os"[k], markersize=4, capsize=2, label=label)
        axes.axvline(0, color="grey", linewidth=1)
        axes.set_title(f"{n} proposal{'s' if n > 1 else ''}")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="x", labelsize=8)
    handles, _ = panels[0].get_legend_handles_labels()
    labels = [f"the {NEIGHBOURS} nearest tasks have {label}" for label in SHARES]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(SHARES), fontsize=9)
    figure.supxlabel("regret minus that of the portfolio of all tasks (left of 0: the measure helps), 95 % interval")
    figure.savefig(path, dpi=100)


def judge(past: Past) -> pd.DataFrame:
    """The comparison of all contestants on one history."""
    curves = {
        (name, label): curve
        for name, contestant in contestants(past.views).items()
        for label, curve in regret_curves(past, contestant).items()
    }
    return comparison(curves, past.families)


def main(folder: Path | None = None) -> None:
    """Print mean regrets and their differences to the portfolio; draw them when there is a folder."""
    for past in (grids_of_mlps(), own_history()):
        n_families = len({past.families[name] for errors in past.errors for name in errors.index})
        print(f"{past.name}: {len(past.views)} tasks, {n_families} families; a negative difference is better")
        table = judge(past)
        print(table.round(4).to_string())
        if folder is not None:
            draw(table, folder / f"similarity_{past.name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
