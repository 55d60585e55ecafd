"""Results of OpenML's users: evaluations of runs by tasks and setups, all in the search space ``openml``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

import pandas as pd

from metaml.data.openml import OpenMLResults, list_results
from metaml.errors import UsageError
from metaml.store.foreign import ForeignResults, ForeignTrial, ImportReport, add_foreign
from metaml.store.store import Store

SPACE = "openml"
LIMIT = 10_000
"""Evaluations of a task, or of a study of runs, that are asked for; the large tasks have more than 100,000."""
LOSSES = ("mean_absolute_error", "relative_absolute_error", "root_mean_squared_error", "root_relative_squared_error")
"""Measures of regressions: lower is better."""
GAINS = {
    "predictive_accuracy": "error_rate",
    "area_under_roc_curve": "one_minus_roc_auc",
    "f_measure": "one_minus_f_measure",
    "kappa": "one_minus_kappa",
    "precision": "one_minus_precision",
    "recall": "one_minus_recall",
}
"""Measures of classifications, at most 1 -> what 1 minus them is called in the store."""


def import_openml(
    store: Store,
    *,
    tasks: Collection[int] = (),
    studies: Collection[int] = (),
    measure: str = "predictive_accuracy",
    limit: int = LIMIT,
) -> ImportReport:
    """Add evaluations of runs to a store; those that it has are passed over.

    Args:
        store: What they are added to.
        tasks: Numbers of tasks at OpenML.
        studies: Numbers of studies, of runs or of tasks (suites).
        measure: One of ``LOSSES`` or ``GAINS``.
        limit: At most this many evaluations of each task and of each study of runs.

    Raises:
        UsageError: Nothing is asked for, or the measure is not known.
        DataError: OpenML does not have it, or cannot be asked.
        StoreError: The store cannot be written.
    """
    if not (tasks or studies):
        raise UsageError("Say which results of OpenML to import: --task or --study.")
    if measure not in (*GAINS, *LOSSES):
        raise UsageError(f'No measure "{measure}"; use one of: {", ".join([*GAINS, *LOSSES])}.')
    found = list_results(tasks=list(tasks), studies=list(studies), measure=measure, limit=limit)
    return add_foreign(store, read_results(found, measure))


def read_results(found: OpenMLResults, measure: str) -> ForeignResults:
    """Return OpenML's evaluations as they enter a store."""
    rows = found.evaluations
    seeds, configurations = {}, {}
    for setup, flow in dict(zip(rows["setup_id"], rows["flow_name"], strict=True)).items():
        if setup in found.parameters:
            values = {name: _value(text) for name, text in found.parameters[setup].items()}
            seeds[str(setup)] = _take_seed(values)
            configurations[str(setup)] = {"family": re.sub(r"\(\d+\)$", "", flow), "flow": flow, **values}
    errors = rows["value"] if measure in LOSSES else 1.0 - rows["value"]
    columns = (rows["run_id"], rows["task_id"], rows["setup_id"].astype(str), errors, rows["seconds"])
    trials = [
        ForeignTrial(str(task), setup, "ok", error, seconds, seeds.get(setup, 0), number=int(run))
        for run, task, setup, error, seconds in zip(*columns, strict=True)
    ]
    datasets = rows.drop_duplicates("task_id").set_index("task_id")
    metafeatures = found.datasets.reindex(datasets["data_id"]).set_axis(datasets.index.astype(str))
    return ForeignResults(
        source="openml",
        space=SPACE,
        metric=GAINS.get(measure, measure),
        trials=trials,
        configurations=configurations,
        metafeatures=metafeatures.drop(columns="version", errors="ignore"),
        tasks=_tasks(metafeatures, datasets["data_name"].tolist(), is_regression=measure in LOSSES),
        notes=tuple(f"Of {what} only the first evaluations were taken: --limit takes more." for what in found.cut),
    )


def _value(text: str | None) -> Any:
    """Return the value of a parameter, which OpenML keeps as text: JSON where it is a plain value, else the text."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return text
    is_plain = (
        value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    )
    return value if is_plain else text


def _take_seed(values: dict[str, Any]) -> int:
    """Take the seeds, which are no hyperparameters, out of a configuration; return the first that is a number."""
    taken = [values.pop(name) for name in list(values) if name.endswith("random_state")]
    return next((seed for seed in taken if isinstance(seed, int) and not isinstance(seed, bool)), 0)


def _tasks(metafeatures: pd.DataFrame, names: list[str], *, is_regression: bool) -> pd.DataFrame:
    """Return the fields of `TaskRecord`; versions of a dataset have one name, and are near-duplicates."""
    shape = {"n_rows": "NumberOfInstances", "n_features": "NumberOfFeatures", "n_classes": "NumberOfClasses"}
    known = {field: metafeatures.get(quality) for field, quality in shape.items()}
    tasks = pd.DataFrame({**known, "name": names, "group": names}, index=metafeatures.index)
    tasks["source"] = [f"openml:{task}" for task in tasks.index]
    if is_regression:
        return tasks.drop(columns="n_classes").assign(type="regression")
    return tasks.assign(type=(tasks["n_classes"] == 2).map({True: "binary", False: "multiclass"}))
