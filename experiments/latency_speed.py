"""How long the prediction of a configuration's latency takes, without any file: it is asked for every proposal.

python -m experiments.latency_speed [--table FILE] [--n 300]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from metaml.data import load_task
from metaml.latency import LatencyModel, open_device
from metaml.space import SPACES


def seconds(table: str, n: int, seed: int = 0) -> np.ndarray:
    """Return the wall time of the prediction of each of `n` random configurations, ``(n,)``."""
    task = load_task("sklearn:breast_cancer", None)
    model = LatencyModel(open_device(table, uncertified=True), task)
    times = []
    for configuration in SPACES["tabular"].sample(n, seed=seed):
        start = time.perf_counter()
        model.predict(configuration)
        times.append(time.perf_counter() - start)
    return np.array(times)


def main() -> None:
    """Print the median, the 95th percentile and the first, which fits the regressions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="cpu")
    parser.add_argument("--n", type=int, default=300)
    chosen = parser.parse_args()
    found = 1e3 * seconds(chosen.table, chosen.n)
    print(f"median {np.median(found):.3f} ms, 95 % below {np.quantile(found, 0.95):.3f} ms, first {found[0]:.1f} ms")


if __name__ == "__main__":
    main()
