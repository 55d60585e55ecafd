"""Does it help to pause trials? Searches of equal time with and without successive halving, in turns.

Tables of at least 1,000 rows that are not among those of the quality experiment, each split once into 75 % to learn
from and 25 % for the error that is printed; normalised, 1.0 is as good as a constant. Without a store, so that only the
default history is remembered, and that without the table.

python -m experiments.halving [--tables 6] [--seconds 40] [--seeds 1]
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

import metaml.session
from experiments.quality_tables import DATA, Parts, choose, split
from experiments.tabular_quality import in_order
from hw_cost.shipped import SHIPPED
from metaml import Predictor, search
from metaml.collect import TaskEntry, choose_tasks, read_manifest
from metaml.data import load_task
from metaml.metrics import constant_prediction, evaluate_prediction, metric_for, normalised_error
from portfolio import load_default_history


def tables(n: int, *, fewest: int = 1000, most: int = 20_000) -> list[TaskEntry]:
    """Return `n` tables of all sizes that nothing else was judged on."""
    entries = read_manifest(DATA)
    groups = load_default_history().groups
    judged = {entry.family for entry in choose(entries, set() if groups is None else set(groups.astype(str)))}
    free = [entry for entry in entries if entry.family not in judged and fewest <= entry.rows]
    return choose_tasks(free, n, max_rows=most)


def run(parts: Parts, seconds: float, seed: int, *, is_halving: bool) -> dict[str, Any]:
    """Search once; return the error on the test rows and what the trials were."""
    metaml.session.MIN_HALVING_ROWS = 0 if is_halving else 10**9
    device = str(min(SHIPPED.glob("*.json")))
    with TemporaryDirectory() as folder:
        task = load_task(parts.train, parts.target, type=parts.task.type)
        result = search(task, device=device, time_limit=seconds, store=False, seed=seed, out=Path(folder) / "run")
        predictor = Predictor(result.model_path)
        scores = predictor.scores(parts.test)
    if parts.task.type != "regression":
        scores = in_order(scores, predictor.classes, parts.task.classes)
    score = evaluate_prediction(parts.y_test, scores)
    constant = evaluate_prediction(parts.y_test, constant_prediction(parts.y_test, scores))
    trials = [trial["status"] for trial in result.summary["trials"]]
    return {
        "test": round(normalised_error(metric_for(parts.task.type), [score], [constant]), 4),
        "validation": result.best["error"],
        "trials": len(trials),
        "pruned": trials.count("pruned"),
        "family": result.best["configuration"]["family"],
    }


@click.command(help=__doc__)
@click.option("--tables", "n_tables", default=6, show_default=True)
@click.option("--seconds", default=40.0, show_default=True)
@click.option("--seeds", default=1, show_default=True)
def main(n_tables: int, seconds: float, seeds: int) -> None:
    """Print one line for each search, then the mean difference."""
    differences = []
    for entry in tables(n_tables):
        parts = split(entry)
        for seed in range(seeds):
            both = {on: run(parts, seconds, seed, is_halving=on) for on in ((True, False), (False, True))[seed % 2]}
            for on, found in both.items():
                print(json.dumps({"table": entry.name, "rows": entry.rows, "halving": on, **found}), flush=True)
            differences.append(both[True]["test"] - both[False]["test"])
    spread = float(np.std(differences, ddof=1) / len(differences) ** 0.5) if len(differences) > 1 else float("nan")
    print(f"error with halving minus without: {np.mean(differences):+.4f} +- {spread:.4f} (n = {len(differences)})")


if __name__ == "__main__":
    main()
