"""How optimistic is an error on the rows that chose the epoch, and which epoch is best for a fit on all rows?

``python -m experiments.best_epoch RESULTS.jsonl ilpd vehicle …`` holds out a quarter of each table, twice, and
cross-validates networks with early stopping on the rest: the error where each fold chooses its own epoch, and where
the others choose it; and, on the held-out rows, of fits on all of the rest that end at the mean of the folds'
epochs, and at the one that all folds agree on. Tables of 1,000 rows or more have one fold and are left out.
``--summary`` prints what is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.ensembles import TABLES, load, part_of
from experiments.records import command
from metaml.data import make_splits
from metaml.ensembles import Judge
from metaml.evaluation import Evaluator, take_rows
from metaml.metrics import metric_for
from metaml.space import SPACES

FAMILIES, SPLITS, SEEDS, SECONDS = ("mlp", "tabm"), 2, 3, 120.0


def run(name: str, family: str, seed: int) -> dict[str, Any] | None:
    """Return the errors of one family on one split of a table; None where there is one fold only."""
    task = load(name)
    (outer,) = make_splits(task.y, task.type, seed=seed, cv_below=0, holdout=0.25)
    inner, metric = part_of(task, outer.train), metric_for(task.type)
    splits = make_splits(inner.y, inner.type, seed=0)
    if len(splits) == 1:
        return None
    evaluator = Evaluator(inner, splits, metric)
    config = SPACES["tabular"].default(family) | {"early_stopping": "best_epoch"}
    found = evaluator.evaluate(config, seconds=SECONDS)
    folds = [inner.y[split.valid] for split in splits]
    own = [
        p.in_units(p.model.scores(fold.valid)) for p, fold in zip(found.pipelines, evaluator.folds(config), strict=True)
    ]
    mean = max(1, round(float(np.mean([pipeline.model.epochs for pipeline in found.pipelines]))))
    rows, judge = take_rows(task.inputs, outer.valid), Judge(metric, (task.y[outer.valid],), task.n_outputs)

    def held_out(epochs: int) -> float:
        fits = [evaluator.refit(config, seed=k, seconds=SECONDS, epochs=epochs) for k in range(SEEDS)]
        return float(np.mean([judge.error((fit.predict(rows),)) for fit in fits]))

    assert found.epochs is not None
    return {
        "name": name,
        "family": family,
        "seed": seed,
        "own epoch": Judge(metric, tuple(folds), inner.n_outputs).error(own),
        "epoch of the others": found.error,
        "held out, mean epoch": held_out(mean),
        "held out, agreed epoch": held_out(found.epochs),
    }


def summary(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the mean errors, and the differences of the two pairs with their standard errors."""
    lines = [f"{len(records)} splits and families"]
    for first, second in (("own epoch", "epoch of the others"), ("held out, mean epoch", "held out, agreed epoch")):
        a, b = (np.array([record[key] for record in records]) for key in (first, second))
        error = (b - a).std(ddof=1) / len(a) ** 0.5
        lines.append(f"{first} {a.mean():.4f}, {second} {b.mean():.4f}: {(b - a).mean():+.4f} ± {error:.4f}")
    return lines


if __name__ == "__main__":
    command(
        __doc__,
        TABLES[:7],
        lambda name: filter(None, (run(name, family, seed) for family in FAMILIES for seed in range(SPLITS))),
        summary,
    )
