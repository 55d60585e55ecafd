"""Readers of other people's results: matrices of tasks × configurations, learning curves, ASlib scenarios."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arff
import pandas as pd

from metaml.errors import StoreError
from metaml.store.foreign import ForeignResults, ForeignTrial, ImportReport, add_foreign
from metaml.store.store import Store
from metaml.trial import Status

_STATUSES: Mapping[str, Status] = {
    "ok": "ok",
    "timeout": "crashed",
    "memout": "memout",
    "crash": "crashed",
    "other": "crashed",
}
"""Status of a run in ASlib -> ours; ``not_applicable`` is no trial at all.

A run that did not end within the scenario's own limit has failed, for everybody alike. A timeout of ours is another
thing: it tells of the time that one search was given, so that the store does not count it as a result.
"""
_OF_REGRESSION = ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "r2")


def import_results(store: Store, folder: Path) -> list[ImportReport]:
    """Add the results in a folder to a store; which layout it has is seen from the files in it.

    Raises:
        StoreError: The layout is not known, a file is damaged, or the store cannot be written.
    """
    for sign, reader in READERS.items():
        if any(folder.glob(sign)):
            try:
                found = reader(folder)
            except (OSError, ValueError, KeyError, arff.ArffException) as error:
                msg = f"the results in {folder} cannot be read ({' '.join(str(error).split())}): get them again"
                raise StoreError(msg) from error
            return [add_foreign(store, results) for results in found]
    msg = f"{folder} has no results that can be imported; it must have one of {', '.join(READERS)}"
    raise StoreError(msg)


def read_matrix(
    source: str,
    errors: pd.DataFrame,
    configurations: Mapping[str, dict[str, Any]],
    *,
    metric: str,
    space: str | None = None,
    seconds: pd.DataFrame | None = None,
) -> ForeignResults:
    """Return a matrix of results as they enter a store.

    Args:
        source: Name of where it came from.
        errors: Tasks × configurations, lower is better, nan where nothing was run.
        configurations: Hyperparameters by the names of the columns.
        metric: What the errors are.
        space: Name of the search space; that of the source when None.
        seconds: Run times, tasks × configurations.
    """
    duplicates = int(errors.index.duplicated().sum()) * errors.shape[1]
    errors = errors[~errors.index.duplicated()]
    times = pd.DataFrame(0.0, errors.index, errors.columns) if seconds is None else seconds
    times = times.reindex(index=errors.index, columns=errors.columns)
    trials = [
        ForeignTrial(str(task), str(name), "ok", error, second)
        for task, its_errors, its_seconds in zip(errors.index, errors.to_numpy(), times.to_numpy(), strict=True)
        for name, error, second in zip(errors.columns, its_errors.tolist(), its_seconds.tolist(), strict=True)
    ]
    dropped = {"the task is there twice": duplicates}
    return ForeignResults(source, space or source, metric, trials, configurations, dropped=dropped)


def read_plain(folder: Path) -> list[ForeignResults]:
    """Read ``errors.csv`` (tasks × configurations) and ``configurations.csv``, which must be there.

    ``seconds.csv``, ``metafeatures.csv`` and ``tasks.csv`` (columns named as the fields of `TaskRecord`) may be there.
    """
    seconds = folder / "seconds.csv"
    results = read_matrix(
        folder.name,
        _indexed(folder / "errors.csv"),
        _configurations(folder / "configurations.csv"),
        metric="error",
        seconds=_indexed(seconds) if seconds.exists() else None,
    )
    return [_with_what_is_beside(folder, results)]


def _with_what_is_beside(folder: Path, results: ForeignResults) -> ForeignResults:
    """Return results with the ``metafeatures.csv`` and ``tasks.csv`` that lie in their folder."""
    paths = [folder / "metafeatures.csv", folder / "tasks.csv"]
    metafeatures, tasks = (_indexed(path) if path.exists() else None for path in paths)
    return replace(results, metafeatures=metafeatures, tasks=tasks)


def read_curves(folder: Path) -> list[ForeignResults]:
    """Read learning curves, as of LCBench (Zimmer et al., TPAMI 2021): ``curves.csv`` and ``configurations.csv``.

    Each row of ``curves.csv`` is a point: ``task``, ``configuration``, ``budget`` (epochs, rows, … above 0) and
    ``error`` (lower is better), maybe ``seconds`` (from the start of the training) and ``seed``. It becomes a trial at
    the share of the largest budget in the file: only points at that one are results at the full budget. Budgets of 0
    are left out. ``metafeatures.csv`` and ``tasks.csv`` may be there as for `read_plain`.
    """
    points = pd.read_csv(folder / "curves.csv", dtype={"task": str, "configuration": str})
    key = [name for name in ("task", "configuration", "budget", "seed") if name in points]
    missing, twice = ~(points["budget"] > 0), points.duplicated(key)
    kept = points[~missing & ~twice]
    columns = {"seconds": 0.0, "seed": 0}
    kept = kept.assign(**{name: value for name, value in columns.items() if name not in points})
    share = kept["budget"] / kept["budget"].max()
    values = zip(kept["task"], kept["configuration"], kept["error"], kept["seconds"], kept["seed"], share, strict=True)
    trials = [
        ForeignTrial(task, _name(configuration), "ok", float(error), float(seconds), int(seed), budget)
        for task, configuration, error, seconds, seed, budget in values
    ]
    dropped = {"no budget above 0": int(missing.sum()), "the point is there twice": int((twice & ~missing).sum())}
    configurations = _configurations(folder / "configurations.csv")
    results = ForeignResults(folder.name, folder.name, "error", trials, configurations, dropped=dropped)
    return [_with_what_is_beside(folder, results)]


def read_oboe(folder: Path) -> list[ForeignResults]:
    """Read the error and time matrices of Oboe (Yang et al., KDD 2019): balanced error rates of scikit-learn models."""
    names, metafeatures = _indexed(folder / "dataset_names.csv"), _indexed(folder / "metafeatures.csv")
    tasks = _tasks(metafeatures).reindex(names.index)
    tasks[["name", "group"]] = names[["name", "family"]]
    errors, seconds = _indexed(folder / "error_matrix.csv.gz"), _indexed(folder / "runtime_matrix.csv.gz")
    configurations = _configurations(folder / "configs.csv")
    results = read_matrix("oboe", errors, configurations, metric="balanced_error_rate", seconds=seconds)
    return [replace(results, metafeatures=metafeatures, tasks=tasks)]


def read_dataset2vec(folder: Path) -> list[ForeignResults]:
    """Read the accuracies of three grids of MLPs (Jomaa et al., Dataset2Vec, 2021), one search space each."""
    metafeatures, tables = _indexed(folder / "metafeatures_engineered41_minmax.csv"), _indexed(folder / "raw_index.csv")
    names = {"rows": "n_rows", "features_onehot": "n_features", "classes": "n_classes"}
    tasks = _typed(tables.rename(columns=names)[list(names.values())])
    found = []
    for path in sorted(folder.glob("accuracy_searchspace_*.csv.gz")):
        grid = path.name.removeprefix("accuracy_searchspace_").removesuffix(".csv.gz")
        configurations = _configurations(folder / f"configs_searchspace_{grid}.csv")
        of_mlps = {name: {"family": "mlp", **values} for name, values in configurations.items()}
        space = f"dataset2vec_mlp-{grid}"
        results = read_matrix("dataset2vec_mlp", 1.0 - _indexed(path), of_mlps, metric="error_rate", space=space)
        found.append(replace(results, metafeatures=metafeatures, tasks=tasks))
    return found


def read_aslib(folder: Path) -> list[ForeignResults]:
    """Read a scenario of ASlib (Bischl et al., 2016), with the ``configurations.csv`` that auto-sklearn puts beside it.

    The performance is taken as it stands when the scenario minimises, and as 1 minus it when it maximises.
    """
    runs = _arff(folder / "algorithm_runs.arff")
    measure = next(name for name in runs.columns if name not in ("instance_id", "repetition", "algorithm", "runstatus"))
    performance = pd.to_numeric(runs[measure]).astype(float)
    errors = 1.0 - performance if _described(folder, "maximize").lower() == "true" else performance
    applicable = runs["runstatus"].isin(list(_STATUSES))
    kept = runs[applicable].assign(error=errors[applicable])
    trials = [
        ForeignTrial(str(task), _name(algorithm), _STATUSES[status], error, 0.0, int(repetition))
        for task, algorithm, status, error, repetition in zip(
            kept["instance_id"], kept["algorithm"], kept["runstatus"], kept["error"], kept["repetition"], strict=True
        )
    ]
    described = folder / "configurations.csv"
    configurations = _configurations(described) if described.exists() else {}
    if not configurations:  # algorithms of one configuration each
        configurations = {trial.configuration: {"family": trial.configuration} for trial in trials}
    dropped = {"not applicable": int((~applicable).sum())}
    source = _described(folder, "scenario_id") or folder.name
    space = source if source == folder.name else f"{source}:{folder.name}"
    metafeatures = _aslib_features(folder / "feature_values.arff")
    tasks = None if metafeatures is None else _tasks(metafeatures, regression=measure in _OF_REGRESSION)
    return [ForeignResults(source, space, measure, trials, configurations, metafeatures, tasks, dropped)]


def _aslib_features(path: Path) -> pd.DataFrame | None:
    """Return instances × features, the mean over repetitions."""
    if not path.exists():
        return None
    values = _arff(path).drop(columns="repetition").set_index("instance_id")
    numbers = values.apply(pd.to_numeric, errors="coerce").astype(float)
    return pd.DataFrame(numbers.groupby(numbers.index.astype(str)).mean())


def _described(folder: Path, key: str) -> str:
    """Return the (first) value of a key of a scenario's description, or an empty text."""
    found = re.search(rf"^{key}:[\s\[\-'\"]*([^\s'\",\]]+)", (folder / "description.txt").read_text(), re.MULTILINE)
    return "" if found is None else found[1]


def _tasks(metafeatures: pd.DataFrame, *, regression: bool = False) -> pd.DataFrame:
    """Return what metafeatures of auto-sklearn's and OpenML's names say about the tasks."""
    names = {"NumberOfInstances": "n_rows", "NumberOfFeatures": "n_features", "NumberOfClasses": "n_classes"}
    known = [name for name in names if name in metafeatures.columns]
    tasks = metafeatures[known].rename(columns=names)
    return tasks.drop(columns="n_classes", errors="ignore").assign(type="regression") if regression else _typed(tasks)


def _typed(tasks: pd.DataFrame) -> pd.DataFrame:
    if "n_classes" not in tasks.columns:
        return tasks
    return tasks.assign(type=(tasks["n_classes"] == 2).map({True: "binary", False: "multiclass"}))


def _arff(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8") as file:
        document = arff.load(file)
    return pd.DataFrame(document["data"], columns=[name for name, _ in document["attributes"]])


def _indexed(path: Path) -> pd.DataFrame:
    """Return a CSV file whose first column names the rows."""
    frame = pd.read_csv(path, index_col=0, keep_default_na=True)
    frame.index = frame.index.astype(str)
    return frame


def _configurations(path: Path) -> dict[str, dict[str, Any]]:
    """Return configurations by the name in the first column; empty fields are none, ``hyperparameters`` is JSON."""
    frame = pd.read_csv(path, dtype={0: str})
    names = frame.pop(frame.columns[0]).map(_name)
    return {name: _configuration(row) for name, row in zip(names, frame.to_dict("records"), strict=True)}


def _configuration(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = {str(key): value for key, value in row.items() if not pd.isna(value)}
    values |= json.loads(values.pop("hyperparameters", "{}"))
    family = next((values[key] for key in values if key == "algorithm" or key.endswith(":__choice__")), None)
    return values if family is None else {"family": str(family), **values}


def _name(value: Any) -> str:
    """Return the name of a configuration: an integer that was read as a number is the same name as its text."""
    text = str(value)
    return text.removesuffix(".0")


READERS: dict[str, Callable[[Path], list[ForeignResults]]] = {
    "errors.csv": read_plain,
    "error_matrix.csv.gz": read_oboe,
    "accuracy_searchspace_*.csv.gz": read_dataset2vec,
    "algorithm_runs.arff": read_aslib,
    "curves.csv": read_curves,
}
"""File that a layout is known by -> its reader."""
