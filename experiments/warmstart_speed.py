"""How long warm-starters take on stores much larger than today's: ``python -m experiments.warmstart_speed``.

Wall seconds and peak memory of one process; the numbers of a run are comparable with each other, not across machines.
"""

from __future__ import annotations

import resource
import time
from statistics import median

import numpy as np
import pandas as pd

from portfolio import WARM_STARTERS, History, Target, WarmStarter


def synthetic(tasks: int, configurations: int, *, fill: float, features: int = 40, seed: int = 0) -> History:
    """Return a rank-5 history with holes."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=(tasks, 5))
    errors = 0.5 + 0.05 * easy @ rng.normal(size=(5, configurations)) + 0.01 * rng.normal(size=(tasks, configurations))
    errors[rng.random(errors.shape) > fill] = np.nan
    mixed = easy @ rng.normal(size=(5, features)) + rng.normal(size=(tasks, features))
    ids = [f"c{column}" for column in range(configurations)]
    columns = [f"f{column}" for column in range(features)]
    choices = {name: {"width": 2 ** int(rng.integers(3, 10)), "rate": float(rng.random())} for name in ids}
    return History(pd.DataFrame(errors, columns=ids), choices, pd.DataFrame(mixed, columns=columns))


def time_it(starter: WarmStarter, history: History, observed: int) -> dict[str, float]:
    """Return seconds of ``fit`` and median milliseconds of ``propose`` with up to ``observed`` growing results."""
    start = time.perf_counter()
    starter.fit(history)
    fitted = time.perf_counter() - start
    features = None if history.metafeatures is None else history.metafeatures.iloc[0]
    seen: dict[str, float] = {}
    times = []
    for _ in range(observed):
        start = time.perf_counter()
        chosen = starter.propose(Target(features, dict(seen)), 1)[0]
        times.append(1000 * (time.perf_counter() - start))
        seen[chosen] = 0.5 - 0.001 * len(seen)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"fit_s": fitted, "first_ms": times[0], "median_ms": median(times), "last_ms": times[-1], "peak_GiB": peak}


CASES = [
    ("knn", 1_000, 100, 1.0),
    ("knn", 10_000, 100, 1.0),
    ("knn", 100_000, 100, 1.0),
    ("pmf", 500, 1_000, 0.1),
    ("pmf", 500, 10_000, 0.1),
    ("pmf", 500, 40_000, 0.1),
    ("pmf", 40_000, 500, 0.1),
    ("gplvm", 500, 300, 0.1),
    ("gplvm", 500, 1_000, 0.1),
    ("gplvm", 500, 10_000, 0.1),
    ("selector", 1_000, 100, 1.0),
    ("selector", 10_000, 100, 1.0),
]


def main() -> None:
    """Print one line per case."""
    for name, tasks, configurations, fill in CASES:
        history = synthetic(tasks, configurations, fill=fill)
        figures = time_it(WARM_STARTERS[name](seed=0), history, 50)
        said = "  ".join(f"{key} {value:.2f}" for key, value in figures.items())
        print(f"{name:8} {tasks} tasks × {configurations} configurations, {fill:.0%} filled:  {said}", flush=True)


if __name__ == "__main__":
    main()
