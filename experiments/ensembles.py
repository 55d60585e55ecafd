"""Do ensembles of finished trials predict new rows better than the best single trial, and do they ever hurt?

``python -m experiments.ensembles RESULTS.jsonl car credit_g …`` holds out 30 % of each table, searches on the rest,
chooses ensembles of up to so many members from the validation predictions, trains all members again on all rows of the
rest, and appends the errors on the held-out rows to a file; without names it takes the twenty tables of ``TABLES``.
Tables that are in the file are not run again. ``python -m experiments.ensembles RESULTS.jsonl --summary`` prints, for
each number of members, with and without the check on rows that the ensemble was not chosen on, how much of the single
model's error an ensemble saves: mean over tables, 95 % bootstrap interval, and how often it is better and worse.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import metaml
from experiments.bootstrap import mean_interval
from metaml.collect import read_manifest
from metaml.data import Split, TableTask, Task, load_task, make_splits
from metaml.delivery import finalists
from metaml.ensembles import MAX_CANDIDATES, Choice, Judge, average, choose
from metaml.evaluation import Evaluator, take_rows
from metaml.metrics import metric_for
from metaml.predictions import FoldPredictions, read_predictions
from metaml.run_folder import RunFolder
from metaml.trial import Trial

DATA = Path(os.environ.get("METAML_DATA", Path(__file__).parents[2] / "shared" / "data")) / "tabular"
TABLES = (
    *("heart_statlog", "ecoli", "ilpd", "credit_approval", "vehicle", "credit_g", "reg_housing", "reg_no2"),
    *("car_prices", "cmc", "qsar_biodeg", "yeast", "airfoil", "car", "segment", "reg_abalone", "spambase"),
    *("phoneme", "satimage", "reg_cpu_small"),
)
"""Chosen before any was run: half below 1,000 rows (cross-validated), a quarter regression."""
MEMBERS = (2, 3, 5, 8, 12)
SECONDS = 60.0
"""For one fit."""


def load(name: str) -> TableTask:
    """Return a table of the manifest."""
    entry = next(entry for entry in read_manifest(DATA) if entry.name == name)
    task = load_task(entry.path, entry.target, type=entry.type)
    assert isinstance(task, TableTask)
    return task


def part_of(task: TableTask, rows: np.ndarray) -> TableTask:
    """Return a task of some rows."""
    return replace(task, X=task.X.iloc[rows].reset_index(drop=True), y=task.y[rows], splits=())


def trials_of(result: metaml.SearchResult) -> list[Trial]:
    """Return the successful trials of a search, best first."""
    rows = [row for row in result.summary["trials"] if row["status"] == "ok"]
    return finalists(
        [Trial(row["number"], row["configuration"], row["source"], "ok", error=row["error"]) for row in rows]
    )


def run(name: str, *, trials: int, seed: int) -> dict[str, Any]:
    """Return the held-out errors of a table's single model and of its ensembles."""
    task = load(name)
    (outer,) = make_splits(task.y, task.type, seed=seed, cv_below=0, holdout=0.3)
    inner = part_of(task, outer.train)
    metric = metric_for(task.type)
    splits = make_splits(inner.y, inner.type, seed=seed)
    with TemporaryDirectory() as folder:
        result = metaml.search(
            inner,
            time_limit=600,
            trials=trials,
            warm_start="cold",
            store=False,
            out=Path(folder) / "run",
            seed=seed,
            metric=metric.name,
        )
        ranked = trials_of(result)
        stored = _stored(RunFolder.open(result.folder), ranked, splits, inner)
    few = dict(list(stored.items())[:MAX_CANDIDATES])
    judge = Judge(metric, tuple(inner.y[split.valid] for split in splits), inner.n_outputs)
    choices = {n: choose(judge, few, max_members=n, seconds=1e9) for n in MEMBERS}
    wanted = {ranked[0].number, *(number for choice in choices.values() if choice for number in choice.weights)}
    tested = _tested(task, inner, outer, [trial for trial in ranked if trial.number in wanted], seed)
    outside = Judge(metric, (task.y[outer.valid],), task.n_outputs)
    single = {"valid": judge.error(stored[ranked[0].number]), "test": outside.error(tested[ranked[0].number])}
    ensembles = {str(n): _describe(choice, outside, tested) for n, choice in choices.items() if choice}
    return {"name": name, "seed": seed, "rows": len(task.y), "trials": len(ranked), "single": single} | ensembles


def _stored(
    folder: RunFolder, trials: Sequence[Trial], splits: Sequence[Split], task: Task
) -> dict[int, FoldPredictions]:
    width = (task.n_outputs,) if task.n_outputs > 1 else ()
    shapes = [(len(split.valid), *width) for split in splits]
    read = {trial.number: read_predictions(folder.predictions(trial.number), shapes) for trial in trials}
    return {number: folds for number, folds in read.items() if folds is not None}


def _tested(
    task: TableTask, inner: TableTask, outer: Split, trials: Sequence[Trial], seed: int
) -> dict[int, FoldPredictions]:
    """Predictions of the held-out rows by members that were trained on all others."""
    evaluator = Evaluator(inner, make_splits(inner.y, inner.type, seed=seed), metric_for(task.type))
    rows = take_rows(task.inputs, outer.valid)
    return {
        trial.number: (evaluator.refit(trial.configuration, seed=seed, seconds=SECONDS).predict(rows),)
        for trial in trials
    }


def _describe(choice: Choice, outside: Judge, tested: Mapping[int, FoldPredictions]) -> dict[str, Any]:
    return {
        "members": len(choice.weights),
        "valid": choice.error,
        "gain": choice.confirmed_gain,
        "test": outside.error(average(tested, choice.weights)),
    }


def summary(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each number of members and way of deciding."""
    lines = [f"{len(records)} tables, saved share of the single model's error on held-out rows, %"]
    lines.append(f"{'members':>8s} {'decided by':24s} {'mean':>6s} {'95 % interval':>16s} better worse worst")
    rules = {"always": -np.inf, "confirmed": 0.0, "confirmed by 1 %": 0.01}
    for n in map(str, MEMBERS):
        for rule, least in rules.items():
            saved = np.array([_saved(record, n, least) for record in records])
            low, high = mean_interval(saved)
            lines.append(
                f"{n:>8s} {rule:24s} {100 * saved.mean():6.2f} {100 * low:7.2f} {100 * high:8.2f} "
                f"{(saved > 0).sum():6d} {(saved < 0).sum():5d} {100 * saved.min():6.1f}"
            )
    return lines


def _saved(record: Mapping[str, Any], n: str, least: float) -> float:
    single, ensemble = record["single"]["test"], record[n]
    is_taken = ensemble["gain"] > least and ensemble["members"] > 1
    return (single - ensemble["test"]) / single if is_taken and single > 0 else 0.0


def main() -> None:
    """Run tables, or print what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(record["name"], record["seed"]) for record in records}
    for name in () if arguments.summary else arguments.tables:
        if (name, arguments.seed) in done:
            continue
        record = run(name, trials=arguments.trials, seed=arguments.seed)
        records.append(record)
        with arguments.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
    print("\n".join(summary(records)))


if __name__ == "__main__":
    main()
