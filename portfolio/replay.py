"""Warm-starters replayed on a history: how good is the best configuration after k evaluations on an unseen task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from portfolio.base import WarmStarter
from portfolio.history import History, Target
from portfolio.scaling import regret
from portfolio.selection import expected_random, family_folds
from portfolio.table import Floats, Table

COUNTS = (1, 2, 3, 5, 10, 20, 30, 50)

Make = Callable[[], WarmStarter]


def replay(
    history: History,
    starters: Mapping[str, Make],
    *,
    folds: int = 5,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
    progress: Callable[[str], Any] | None = None,
) -> pd.DataFrame:
    """Replay starters on every task of a history, its family left out of what they are fitted on.

    Each starter is asked for one configuration at a time and told the stored error. A configuration that was not run on
    the task is told as failed beforehand, which costs nothing. A starter that proposes nothing goes on at random.

    Args:
        history: Tasks × configurations; tasks with fewer than two different errors are left out.
        starters: Label -> how to make a fresh warm-starter (``{"knn": lambda: WARM_STARTERS["knn"](seed=0)}``).
        folds: Families are dealt into this many folds.
        counts: Numbers of evaluations after which the regret is taken.
        seed: Decides folds and random continuation.
        progress: Told one line per starter and fold.

    Returns:
        Long table with columns ``starter, task, family, evaluations, regret``, where regret = (best so far - min) /
        (max - min) over the task's stored errors; ``random``, ``random x2`` and ``random x4`` (k, 2k and 4k
        random configurations, in expectation) are always among the starters.
    """
    table = Table.of(history)
    table = table.rows(np.nanmax(table.errors, axis=1) > np.nanmin(table.errors, axis=1)) if table.tasks else table
    fold = family_folds(table.families, folds, seed)
    frames = [_chance(table, counts, times) for times in (1, 2, 4)] if table.tasks else []
    for label, make in starters.items():
        for number in np.unique(fold):
            kept = history.drop_tasks([table.tasks[row] for row in np.flatnonzero(fold == number)])
            starter = make().fit(kept)
            rows = np.flatnonzero(fold == number)
            curves = np.array([_curve(starter, history, table, int(row), counts, seed) for row in rows])
            frames.append(_long(label, table, rows, curves, counts))
            if progress is not None:
                progress(f"{label}: fold {number + 1} of {folds}")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*_COLUMNS])


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean regret over tasks: starters × numbers of evaluations, in the order of ``results``."""
    means = results.groupby(["starter", "evaluations"], sort=False)["regret"].mean().unstack("evaluations")
    return pd.DataFrame(means.loc[results["starter"].unique()])


def confidence(results: pd.DataFrame, baseline: str, *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return the paired difference of each starter to a baseline with its 95 % bootstrap interval over families.

    Columns ``starter, evaluations, difference, low, high``; a negative difference is better than the baseline.
    """
    wide = results.pivot_table(index=["family", "task"], columns=["evaluations", "starter"], values="regret")
    codes, families = pd.factorize(wide.index.get_level_values("family"))
    draw = np.random.default_rng(seed).integers(0, len(families), (draws, len(families)))
    times = np.stack([np.bincount(row, minlength=len(families)) for row in draw])[:, codes]
    rows = []
    for count in results["evaluations"].unique():
        for starter in [name for name in results["starter"].unique() if name != baseline]:
            gap = (wide[count][starter] - wide[count][baseline]).to_numpy()
            means = times @ gap / times.sum(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            rows.append((starter, int(count), float(gap.mean()), float(low), float(high)))
    return pd.DataFrame(rows, columns=["starter", "evaluations", "difference", "low", "high"])


_COLUMNS = ("starter", "task", "family", "evaluations", "regret")


def _curve(starter: WarmStarter, history: History, table: Table, row: int, counts: Sequence[int], seed: int) -> Floats:
    """Return the regret of one starter on one task after each count, shape ``(len(counts),)``."""
    errors = table.errors[row]
    task = table.tasks[row]
    metafeatures = None
    if history.metafeatures is not None and task in history.metafeatures.index:
        metafeatures = history.metafeatures[history.metafeatures.index == task].iloc[0]
    observed = {table.ids[column]: float("nan") for column in np.flatnonzero(~np.isfinite(errors))}
    spare = list(np.random.default_rng([seed, row]).permutation(np.flatnonzero(np.isfinite(errors))))
    chosen: list[int] = []
    while len(chosen) < min(max(counts), len(spare)):
        ids = starter.propose(Target(metafeatures, dict(observed)), 1)
        column = table.column_of[ids[0]] if ids else int(next(c for c in spare if c not in chosen))
        chosen.append(column)
        observed[table.ids[column]] = float(errors[column])
    so_far = np.minimum.accumulate(regret(errors[None, :])[0][chosen])
    return np.asarray(so_far[np.minimum(np.array(counts), len(so_far)) - 1])


def _chance(table: Table, counts: Sequence[int], times: int) -> pd.DataFrame:
    curves = np.array([expected_random(errors, [times * count for count in counts]) for errors in table.errors])
    return _long("random" if times == 1 else f"random x{times}", table, np.arange(len(curves)), curves, counts)


def _long(label: str, table: Table, rows: Any, curves: Floats, counts: Sequence[int]) -> pd.DataFrame:
    tasks = [table.tasks[row] for row in rows]
    return pd.DataFrame(
        {
            "starter": label,
            "task": np.repeat(np.array(tasks, dtype=object), len(counts)),
            "family": np.repeat(table.families[rows], len(counts)),
            "evaluations": np.tile(np.array(counts), len(tasks)),
            "regret": curves.reshape(-1),
        }
    )
