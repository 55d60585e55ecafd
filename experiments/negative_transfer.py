"""Do misleading histories hurt? Real searches on tables, with garbage in the place of past results, against cold SMAC.

``python -m experiments.negative_transfer car credit_g --trials 20 --seeds 2`` runs each search of so many trials with
the shipped history, with each kind of garbage and without any; all trials are trained, none is timed out early. It
prints, for each kind, how much the best normalised error differs from the cold search's, paired by table and seed,
with a 95 % bootstrap interval over tables. Negative: better than cold.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from metaml.context import Context, prepare
from metaml.data import load_task
from metaml.evaluation import Evaluator
from metaml.latency import open_device
from metaml.request import SearchRequest
from metaml.runners import Job
from metaml.runners.worker import run_job
from metaml.trial import Trial
from portfolio import WARM_STARTERS, History, load_default_history

TABLES = Path(os.environ.get("METAML_DATA", Path(__file__).parents[2] / "shared" / "data")) / "tabular"
AFTER = (5, 10, 20)
SECONDS = 30.0
"""For one trial."""


def _with_errors(history: History, change: Callable[[np.ndarray], np.ndarray]) -> History:
    errors = history.errors
    return replace(history, errors=pd.DataFrame(change(errors.to_numpy(copy=True)), errors.index, errors.columns))


def _shuffled_metafeatures(history: History, rng: np.random.Generator) -> History:
    features = history.metafeatures
    assert features is not None
    return replace(history, metafeatures=features.set_axis(rng.permutation(features.index)).reindex(features.index))


def _copies(history: History, rng: np.random.Generator) -> History:
    """One task, thirty times under different names, with a little noise."""
    task = rng.choice(history.errors.index)
    names = [f"copy-{i}" for i in range(30)]
    row = history.errors.loc[task].to_numpy()
    errors = pd.DataFrame(row + 1e-3 * rng.normal(size=(30, len(row))), names, history.errors.columns)
    assert history.metafeatures is not None
    features = pd.DataFrame([history.metafeatures.loc[task]] * 30).set_axis(names)
    return History(errors, history.configurations, features)


def _holes(history: History, rng: np.random.Generator) -> History:
    def punch(errors: np.ndarray) -> np.ndarray:
        draw = rng.random(errors.shape)
        return np.select([draw < 0.7, draw < 0.8, draw < 0.85], [np.nan, np.inf, -np.inf], errors)

    return _with_errors(history, punch)


KINDS: dict[str, Callable[[History, np.random.Generator], History]] = {
    "shipped": lambda history, _: history,
    "random errors": lambda history, rng: _with_errors(history, lambda errors: rng.random(errors.shape)),
    "shuffled in each task": lambda history, rng: _with_errors(history, lambda e: rng.permuted(e, axis=1)),
    "shuffled metafeatures": _shuffled_metafeatures,
    "upside down": lambda history, _: _with_errors(history, lambda errors: 2 - errors),
    "one task": lambda history, rng: history.keep_tasks([rng.choice(history.errors.index)]),
    "copies of one task": _copies,
    "holes and infinities": _holes,
}


def search(context: Context, evaluator: Evaluator, seed: int, trials: int, done: dict[str, Trial]) -> list[float]:
    """Return the best normalised error after each trial; what was trained before with this seed is not run again."""
    proposer = context.proposer(SearchRequest(seed=seed))
    curve, best = [], float("inf")
    try:
        for number in range(trials):
            proposal = proposer.next()
            assert proposal is not None
            trial = Trial(number, proposal.configuration, proposal.source, "ok")
            if trial.configuration_id not in done:
                outcome = run_job(evaluator, Job(number, "evaluate", proposal.configuration, SECONDS, seed=seed))
                done[trial.configuration_id] = outcome.as_trial(proposal.configuration, proposal.source)
            trial = replace(done[trial.configuration_id], number=number, source=proposal.source)
            proposer.observe(trial)
            best = min(best, trial.cost)
            curve.append(best)
    finally:
        proposer.close()
    return curve


def compare(table: str, seed: int, trials: int) -> pd.DataFrame:
    """Return the best error of every kind of history on one table: columns ``kind, table, seed, after, error``."""
    entry = pd.read_csv(TABLES / "manifest.csv").set_index("name").loc[table]
    request = SearchRequest(seed=seed, warm_start="cold")
    context = prepare(request, load_task(TABLES / str(entry["file"]), str(entry["target"])), None, open_device("cpu"))
    evaluator = Evaluator(context.task, context.splits, context.metric)
    past = load_default_history().drop_families([context.task.fingerprint])
    done: dict[str, Trial] = {}
    rows = []
    for kind in ["cold", *KINDS]:
        history = History.empty() if kind == "cold" else KINDS[kind](past, np.random.default_rng(seed))
        starter = WARM_STARTERS["cold" if kind == "cold" else "auto"](seed=seed).fit(history)
        curve = search(replace(context, history=history, starter=starter), evaluator, seed, trials, done)
        rows += [(kind, table, seed, n, curve[min(n, trials) - 1]) for n in AFTER if n <= trials]
        print(f"{table} seed {seed} {kind}: {[round(row[-1], 4) for row in rows if row[0] == kind]}", flush=True)
    return pd.DataFrame(rows, columns=["kind", "table", "seed", "after", "error"])


def summarise(results: pd.DataFrame, draws: int = 2000) -> pd.DataFrame:
    """Return the mean difference to the cold search with its interval, one row per kind and number of trials."""
    wide = results.pivot_table(index=["table", "seed"], columns=["after", "kind"], values="error")
    tables = wide.index.get_level_values("table")
    rng, rows = np.random.default_rng(0), []
    for after in results["after"].unique():
        for kind in KINDS:
            gap = (wide[after][kind] - wide[after]["cold"]).groupby(tables).mean().to_numpy()
            means = gap[rng.integers(0, len(gap), (draws, len(gap)))].mean(axis=1)
            rows.append((kind, after, gap.mean(), *np.quantile(means, [0.025, 0.975])))
    return pd.DataFrame(rows, columns=["kind", "after", "difference", "low", "high"])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="names in METAML_DATA/tabular/manifest.csv")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="CSV to which results are appended: a run can be done in parts")
    options = parser.parse_args()
    for table in options.tables:
        for seed in options.seeds:
            part = compare(table, seed, options.trials)
            if options.out is not None:
                part.to_csv(options.out, mode="a", header=not options.out.exists(), index=False)
            results = part if options.out is None else pd.read_csv(options.out)
    print(summarise(results).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
