"""How the store behaves as it grows: loading, reading as a history, following, size.

``python -m experiments.store_scale --trials 10000 100000 1000000`` fills one store a size in a temporary folder (or in
the database given by ``--url``, which must be empty) and prints one line of JSON for each. Seconds are wall seconds;
on a busy machine those of the processor (``…_cpu_s``, without a server's) say more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metaml.history import Cells
from metaml.store import RunRecord, Selection, Store, TaskRecord
from metaml.trial import Trial

N_CONFIGURATIONS = 500
N_FEATURES = 50
_SPACE, _VERSION = "scale-1", "1"
_AT_ONCE = 100
"""Tasks a transaction of the bulk load."""


class Seconds(NamedTuple):
    """What something took."""

    wall: float
    cpu: float


def configuration(i: int) -> dict[str, Any]:
    """Return a configuration of the size of a real one."""
    return {"space": _SPACE, "family": "mlp", "width": 16 * i, "depth": 3, "rate": 1e-3, "act": "relu", "dropout": 0.1}


def make_trials(rng: np.random.Generator, configurations: list[dict[str, Any]], first: int = 0) -> list[Trial]:
    """Return one trial of each configuration, with all fields filled."""
    errors = rng.random(len(configurations)).tolist()
    return [
        Trial(
            number=first + i,
            configuration=configuration,
            source="smac",
            status="ok",
            error=error,
            metrics={"roc_auc": 1 - error, "log_loss": error, "error_rate": error, "balanced_error": error},
            seconds=10 * error,
            cpu_seconds=9 * error,
            n_parameters=12_345,
            flops=67_890,
            model_bytes=49_380,
            started="2026-01-01T00:00:00+00:00",
        )
        for i, (configuration, error) in enumerate(zip(configurations, errors, strict=True))
    ]


def fill(store: Store, n_tasks: int, configurations: list[dict[str, Any]]) -> Seconds:
    """Fill an empty store with tasks × configurations and return what the trials took."""
    rng = np.random.default_rng(0)
    for task in range(n_tasks):
        store.add_task(TaskRecord(f"task-{task}", f"task {task}", "binary", n_rows=1000, n_features=20, n_classes=2))
        store.add_metafeatures(f"task-{task}", pd.Series(rng.random(N_FEATURES)).rename(str), _VERSION)
        store.add_run(RunRecord(f"run-{task}", f"task-{task}", _SPACE, "roc_auc"))
    wall = cpu = 0.0
    for part in _parts(n_tasks):
        trials = {f"run-{task}": make_trials(rng, configurations) for task in part}
        seconds, _ = timed(partial(store.add_runs_of_trials, trials))
        wall, cpu = wall + seconds.wall, cpu + seconds.cpu
    return Seconds(wall, cpu)


def _parts(n_tasks: int) -> Iterator[range]:
    return (range(first, min(first + _AT_ONCE, n_tasks)) for first in range(0, n_tasks, _AT_ONCE))


def timed(call: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Return the seconds of a call, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), result


def measure(url: str | Path, n_trials: int) -> dict[str, Any]:
    """Fill one store and return the figures."""
    configurations = [configuration(i) for i in range(N_CONFIGURATIONS)]
    n_tasks = max(1, n_trials // N_CONFIGURATIONS)
    total = n_tasks * N_CONFIGURATIONS
    with Store.open(url) as store:
        loading = fill(store, n_tasks, configurations)
    with Store.open(url) as store:
        cells = Cells(store, Selection(_SPACE))
        cold, history = timed(lambda: cells.history(metafeatures_version=_VERSION))
        new = make_trials(np.random.default_rng(1), [*configurations, *configurations], first=N_CONFIGURATIONS)
        store.add_trials("run-0", new)
        followed, _ = timed(lambda: cells.history(metafeatures_version=_VERSION))
        single = make_trials(np.random.default_rng(2), configurations[:50], first=10_000)
        commits = [timed(partial(store.add_trial, "run-0", trial))[0].wall for trial in single]
        checking, problems = timed(store.verify)
        size = store.info()["bytes"]
    return {
        "trials": total,
        "history": list(history.errors.shape),
        "load_trials_per_s": round(total / loading.wall),
        "load_trials_per_cpu_s": round(total / loading.cpu),
        "history_cold_s": round(cold.wall, 3),
        "history_cold_cpu_s": round(cold.cpu, 3),
        "history_with_1000_new_s": round(followed.wall, 3),
        "history_with_1000_new_cpu_s": round(followed.cpu, 3),
        "commit_median_ms": round(1e3 * statistics.median(commits), 2),
        "verify_s": round(checking.wall, 2),
        "problems": len(problems),
        "bytes_per_trial": round(size / total),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--url", help="an empty PostgreSQL database; takes one size only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for n_trials in arguments.trials:
            print(json.dumps(measure(arguments.url or Path(folder) / f"{n_trials}.sqlite", n_trials)), flush=True)


if __name__ == "__main__":
    main()
