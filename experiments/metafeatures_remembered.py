"""How much faster a description is the second time, when the store remembers it.

    METAML_DATA=../shared/data python -m experiments.metafeatures_remembered

For the twenty first tables of the data folder: seconds of `metaml.views.remember`, which computes the vectors of all
measures of similarity, of the same call again, and how many numbers are kept.
"""

from __future__ import annotations

import pandas as pd

from experiments.metafeatures_oracle import TABLES, is_available
from experiments.metafeatures_speed import seconds
from metaml.data import make_task
from metaml.store import Store
from metaml.views import remember


def main() -> None:
    """Print a line a table and the median ratio."""
    rows = {}
    names = [name for name in TABLES if name.startswith("folder:") and is_available(name)][:20]
    with Store.open(":memory:") as store:
        for name in names:
            X, y = TABLES[name]()
            task = make_task(X, y, name=name)
            first, second = (seconds(lambda: remember(store, task)) for _ in range(2))  # noqa: B023
            numbers = sum(vector.size for vector in remember(store, task).values())
            rows[name] = {"rows": len(X), "first": first, "second": second, "ratio": first / second, "kept": numbers}
    table = pd.DataFrame(rows).T
    print(table.round(4).to_string())
    print(f"median ratio {table['ratio'].median():.0f}")


if __name__ == "__main__":
    main()
