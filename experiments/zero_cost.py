"""Do scores of untrained networks rank trained ones, and better than counting parameters does?

``python -m experiments.zero_cost RESULTS.jsonl phoneme …`` trains random mlps and resnets on each table, scores them
before, and appends all to a file; what is there is not run again. It prints, for each score, Spearman's correlation
with the error after training (minus the error, so that positive is good) on each table with a 95 % bootstrap interval
over configurations, and the mean over tables. Parameters and FLOPs are the baseline.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from experiments.ensembles import load
from metaml.data import make_splits
from metaml.evaluation import Evaluator
from metaml.metrics import metric_for
from metaml.models import NetworkShape
from metaml.space import SPACES
from metaml.trial import Configuration
from metaml.zero_cost import SCORES, ZeroCost, n_flops

TABLES = ("phoneme", "segment", "reg_abalone")
FAMILIES = ("mlp", "resnet")
SECONDS = 60.0
"""For one fit."""
NAMES = (*SCORES, "flops")
RESAMPLES = 2000


def architectures(n: int, seed: int) -> list[Configuration]:
    """Return random networks that are all trained in the same way: only what the score can see differs."""
    space = SPACES["tabular"]
    found: list[Configuration] = []
    for family in FAMILIES:
        trained = {name: space.default(family)[name] for name in TRAINING if name in space.default(family)}
        drawn = [c for c in space.sample(n * len(space.families), seed) if c["family"] == family]
        found += [configuration | trained for configuration in drawn[: n // len(FAMILIES)]]
    return found


TRAINING = (
    *("learning_rate", "weight_decay", "batch_size", "epochs", "optimiser", "schedule", "label_smoothing"),
    *("gradient_clipping", "averaging", "early_stopping", "dropout"),
)
"""Hyperparameters of the training, which no score of an untrained network can see."""


def run(name: str, *, n: int, seed: int) -> dict[str, Any]:
    """Return errors and scores of random networks on a table."""
    task = load(name)
    evaluator = Evaluator(task, make_splits(task.y, task.type, cv_below=0, seed=seed), metric_for(task.type))
    scorers = {score: ZeroCost(score, task, seed=seed) for score in SCORES}
    errors: list[float] = []
    scores: dict[str, list[float]] = {score: [] for score in NAMES}
    seconds = dict.fromkeys(SCORES, 0.0)
    for config in architectures(n, seed):
        for score, scorer in scorers.items():
            started = time.monotonic()
            scores[score].append(max(scorer(config), -1e9))
            seconds[score] += time.monotonic() - started
        scores["flops"].append(n_flops(config, shape_of(evaluator, config)))
        errors.append(evaluator.evaluate(config, seed=seed, seconds=SECONDS).error)
    return {"name": name, "seed": seed, "errors": errors, "scores": scores, "seconds": seconds}


def shape_of(evaluator: Evaluator, config: Configuration) -> NetworkShape:
    """What a configuration's network sees of the table."""
    task, preprocessor = evaluator.task, evaluator.folds(config)[0].preprocessor
    return preprocessor.shape(task.n_outputs, is_regression=task.type == "regression")


def correlation(scores: Sequence[float], errors: Sequence[float]) -> tuple[float, float, float]:
    """Return Spearman's correlation of a score with minus the error, and its 95 % bootstrap interval."""
    pairs = np.column_stack([scores, -np.asarray(errors)])
    rng = np.random.default_rng(0)
    again = [_spearman(pairs[rng.integers(0, len(pairs), len(pairs))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(again, [0.025, 0.975])
    return _spearman(pairs), float(low), float(high)


def _spearman(pairs: np.ndarray) -> float:
    if min(len(np.unique(column)) for column in pairs.T) < 2:
        return float("nan")
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def summary(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table in Markdown."""
    lines = [f"| score | {' | '.join(record['name'] for record in records)} | mean | ms |"]
    lines.append("|---" * (len(records) + 3) + "|")
    for name in NAMES:
        found = [correlation(record["scores"][name], record["errors"]) for record in records]
        cells = " | ".join(f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]" for rho, low, high in found)
        spent = [1000 * record["seconds"].get(name, 0.0) / len(record["errors"]) for record in records]
        lines.append(f"| {name} | {cells} | {np.mean([rho for rho, _, _ in found]):+.2f} | {np.mean(spent):.1f} |")
    return lines


def main() -> None:
    """Run tables and print what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    records = [json.loads(line) for line in lines]
    for name in arguments.tables:
        if name not in {record["name"] for record in records}:
            records.append(run(name, n=arguments.networks, seed=arguments.seed))
            with arguments.results.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
    print("\n".join(summary(records)))


if __name__ == "__main__":
    main()
