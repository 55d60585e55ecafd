"""Is the mean of fits on the rows of each fold better than one fit on all rows, and by how much of several seeds?

``python -m experiments.bagging RESULTS.jsonl ilpd vehicle …`` holds out a quarter of each table, twice, fits the
defaults of five families on the rest (once with each of five seeds; once on the training rows of each of five
folds), and appends the errors on the held-out rows, and those of the mean of all five families, to a file.
``--summary`` prints what is in it.
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

FAMILIES = ("mlp", "resnet", "tabm", "hist_gradient_boosting", "extra_trees")
SPLITS, SEEDS, SECONDS = 2, 5, 60.0


def run(name: str, seed: int) -> dict[str, Any]:
    """Return the held-out errors of each family and of all together: of one fit, of several seeds, and bagged."""
    task = load(name)
    (outer,) = make_splits(task.y, task.type, seed=seed, cv_below=0, holdout=0.25)
    inner, metric = part_of(task, outer.train), metric_for(task.type)
    evaluator = Evaluator(inner, make_splits(inner.y, inner.type, seed=1, cv_below=len(task.y)), metric)
    rows, judge = take_rows(task.inputs, outer.valid), Judge(metric, (task.y[outer.valid],), task.n_outputs)
    fits: dict[str, list[list[np.ndarray]]] = {"seeds": [], "bagged": []}
    for family in FAMILIES:
        config = SPACES["tabular"].default(family)
        seeds = [evaluator.refit(config, seed=k, seconds=SECONDS) for k in range(SEEDS)]
        bag = evaluator.refit_bagged(config, seed=0, seconds=SECONDS)
        for way, pipelines in (("seeds", seeds), ("bagged", bag)):
            fits[way].append([pipeline.predict(rows) for pipeline in pipelines])

    def errors(seeds: Sequence[np.ndarray], bag: Sequence[np.ndarray]) -> dict[str, float]:
        one = [judge.error((prediction,)) for prediction in seeds]
        means = {way: judge.error((np.mean(of, axis=0),)) for way, of in (("seeds", seeds), ("bagged", bag))}
        return {"one": float(np.mean(one)), **means}

    record = {family: errors(*pair) for family, pair in zip(FAMILIES, zip(*fits.values(), strict=True), strict=True)}
    together = (np.mean(of, axis=0) for of in fits.values())  # over the families, of each seed and of each fold
    return {"name": name, "seed": seed, **record, "all five": errors(*together)}


def summary(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each family: change of the held-out error, its standard error, better and worse."""
    lines = [f"{len(records)} splits of {len({record['name'] for record in records})} tables"]
    for family in (*FAMILIES, "all five"):
        for way in ("seeds", "bagged"):
            change = np.array([record[family][way] - record[family]["one"] for record in records])
            error = change.std(ddof=1) / len(change) ** 0.5
            better, worse = (change < -0.001).sum(), (change > 0.001).sum()
            lines.append(f"{family:24s} {way:8s} {change.mean():+.4f} ± {error:.4f} {better:3d} {worse:3d}")
    return lines


if __name__ == "__main__":
    command(__doc__, TABLES[:7], lambda name: (run(name, seed) for seed in range(SPLITS)), summary)
