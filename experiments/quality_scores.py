"""From results of systems on tables to the page that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

N_BOOTSTRAP = 10_000
TIE = 0.005
"""Normalised errors that differ by less count as equal."""


@dataclass(frozen=True)
class Result:
    """One system on one table."""

    table: str
    system: str
    metric: str = ""
    loss: float | None = None
    """Of the test rows, as the metric's loss; None when it failed."""
    constant: float | None = None
    """Loss of the best constant prediction on the same rows."""
    error: float = 1.0
    """Loss / constant, clipped to [0, 2]; a system that fails predicts the constant: 1."""
    latency_ms: float | None = None
    """One row."""
    seconds: float | None = None
    """Until there was a model."""
    model: str = ""
    version: str = ""
    failure: str = ""


def errors_of(results: Sequence[Result]) -> pd.DataFrame:
    """Return normalised errors, tables × systems, of the tables that every system has seen."""
    frame = pd.DataFrame([(r.table, r.system, r.error) for r in results], columns=["table", "system", "error"])
    systems, tables = frame["system"].unique(), frame["table"].unique()
    wide = frame.pivot_table(index="table", columns="system", values="error", sort=False)
    return wide.loc[tables, systems].dropna()


def summarise(results: Sequence[Result], baseline: str, *, seed: int = 0) -> pd.DataFrame:
    """Return for each system its mean rank, mean error, and how it stands against the baseline.

    ``gap`` is the mean over tables of the system's error minus the baseline's, ``low`` and ``high`` its 95 % bootstrap
    interval over tables; ``wins`` counts tables on which the baseline is better by more than `TIE`.
    """
    errors = errors_of(results)
    latencies = pd.DataFrame([(r.system, r.latency_ms) for r in results if r.table in errors.index])
    draws = np.random.default_rng(seed).integers(len(errors), size=(N_BOOTSTRAP, len(errors)))
    rows = {}
    for system in errors:
        gaps = (errors[system] - errors[baseline]).to_numpy()
        low, high = np.quantile(gaps[draws].mean(axis=1), [0.025, 0.975])
        rows[system] = {
            "mean rank": errors.rank(axis=1)[system].mean(),
            "mean error": errors[system].mean(),
            "gap": gaps.mean(),
            "low": low,
            "high": high,
            "wins": int((gaps > TIE).sum()),
            "ties": int((np.abs(gaps) <= TIE).sum()),
            "losses": int((gaps < -TIE).sum()),
            "median latency [ms]": latencies[latencies[0] == system][1].median(),
        }
    return pd.DataFrame(rows).T.sort_values("mean error")


def page(results: Sequence[Result], baseline: str, about: str) -> str:
    """Return the Markdown page: what was done, the summary, every table, and what failed."""
    errors, summary = errors_of(results), summarise(results, baseline)
    latencies = pd.DataFrame([(r.table, r.system, r.latency_ms) for r in results], columns=["table", "system", "ms"])
    wide = latencies.pivot_table(index="table", columns="system", values="ms", sort=False, dropna=False)
    failures = [f"- {r.system} on {r.table}: {r.failure}" for r in results if r.failure]
    versions = sorted({f"{r.system} {r.version}" for r in results if r.version})
    parts = [
        *("# Quality against other systems", about, f"Versions: {', '.join(versions)}.", "## Summary"),
        f"Gap, wins and losses are those of {baseline} against the system: a gap above 0 means that {baseline} is "
        f"better; errors within {TIE} are ties. Intervals are 95 % of a bootstrap over tables.",
        _markdown(summary, "system", 3),
        *("## Normalised test error", "Lower is better; 1 is a constant prediction.", _markdown(errors, "table", 3)),
        *("## Time for one row, in milliseconds", _markdown(wide.reindex(errors.index), "table", 3)),
        *(("## Failures", "\n".join(failures)) if failures else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown(frame: pd.DataFrame, corner: str, digits: int) -> str:
    lines = [[corner, *map(str, frame.columns)], ["---", *["---:"] * frame.shape[1]]]
    for name, row in frame.iterrows():
        lines.append([str(name), *(_cell(value, digits) for value in row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float, digits: int) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}f}"
