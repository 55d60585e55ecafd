"""How long a description takes: against pymfe, and as tables grow.

pymfe is no dependency of this project. Run this in an environment that has it (see `metafeatures_oracle`):

    OMP_NUM_THREADS=1 PYTHONPATH=. oracle/bin/python -m experiments.metafeatures_speed

Without pymfe only the growth is measured. Times are the smallest of three; the ratio is of times taken in turns, in the
same process, for the same groups of features. Both get the same data frame and its target.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

import metafeatures
from experiments.metafeatures_oracle import TABLES, Dataset, extract, is_available

REPEATS = 3
SAME_GROUPS = {"general": "general", "statistical": "statistical", "information": "info-theory"}


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def against_pymfe() -> pd.DataFrame:
    """Seconds of both packages for the twenty first tables of the data folder, and their ratio."""
    rows = {}
    names = [name for name in TABLES if name.startswith("folder:") and is_available(name)][:20]
    for name in names:
        X, y = TABLES[name]()
        ours, theirs = zip(
            *(
                (
                    seconds(lambda: metafeatures.describe(X, y, groups=list(SAME_GROUPS))),  # noqa: B023
                    seconds(lambda: extract(X, y, tuple(SAME_GROUPS.values()))),  # noqa: B023
                )
                for _ in range(REPEATS)
            ),
            strict=True,
        )
        rows[name] = {"rows": len(X), "columns": X.shape[1], "metafeatures": min(ours), "pymfe": min(theirs)}
    table = pd.DataFrame(rows).T
    table["ratio"] = table["pymfe"] / table["metafeatures"]
    return table


def random_table(n: int, d: int, k: int) -> Dataset:
    """A table of normal columns and k classes."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(n, d))), pd.Series(rng.integers(0, k, n))


def growth() -> pd.DataFrame:
    """Seconds of the default and of all groups as rows, columns and classes grow."""
    shapes = [(n, 20, 2) for n in (100, 1000, 10_000, 100_000)]
    shapes += [(1000, d, 2) for d in (100, 1000, 10_000)] + [(1000, 20, k) for k in (10, 100, 500)]
    shapes += [(50_000, 100, 2), (50_000, 300, 2), (5000, 300, 4999)]
    rows = []
    for n, d, k in shapes:
        X, y = random_table(n, d, k)
        for groups in (metafeatures.DEFAULT_GROUPS, metafeatures.ALL_GROUPS):
            times = [seconds(lambda: metafeatures.describe(X, y, groups=groups)) for _ in range(REPEATS)]  # noqa: B023
            rows.append({"rows": n, "columns": d, "classes": k, "groups": len(groups), "seconds": min(times)})
    keys = ["rows", "columns", "classes"]
    return pd.DataFrame(rows).pivot_table(index=keys, columns="groups", values="seconds", sort=False)


def main() -> None:
    """Print both tables."""
    if importlib.util.find_spec("pymfe"):
        table = against_pymfe()
        print(table.round(4).to_string())
        print(f"median ratio {table['ratio'].median():.1f}, smallest {table['ratio'].min():.1f}\n")
    print(growth().round(4).to_string())


if __name__ == "__main__":
    main()
