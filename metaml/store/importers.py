"""Readers of other people's results: matrices of tasks × configurations, and ASlib scenarios."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
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
    "timeout": "timeout",
    "memout": "memout",
    "crash": "crashed",
    "other": "crashed",
}
"""Status of a run in ASlib -> ours; ``not_applicable`` is no trial at all."""


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
    values: pd.DataFrame,
    configurations: Mapping[str, dict[str, Any]],
    *,
    metric: str,
    maximise: bool = False,
    space: str | None = None,
    **described: Any,
) -> ForeignResults:
    """Return a matrix of results as they enter a store.

    Args:
        source: Name of where it came from.
        values: Tasks × configurations, nan where nothing was run.
        configurations: Hyperparameters by the names of the columns.
        metric: What the values are, after they were turned so that lower is better.
        maximise: Whether higher values are better and at most 1, as accuracies: the error is 1 minus the value.
        space: Name of the search space; that of the source when None.
        **described: ``seconds`` (shaped as ``values``), and ``metafeatures`` and ``tasks`` as in `ForeignResults`.
    """
    values = values[~values.index.duplicated()]
    duplicates = int(values.index.duplicated().sum()) * values.shape[1]
    errors = (1.0 - values if maximise else values).to_numpy(dtype=float)
    times = described.pop("seconds", None)
    seconds = None if times is None else times.reindex(index=values.index, columns=values.columns).to_numpy(dtype=float)
    trials = [
        ForeignTrial(str(task), str(name), "ok", errors[i, j], 0.0 if seconds is None else seconds[i, j])
        for i, task in enumerate(values.index)
        for j, name in enumerate(values.columns)
    ]
    dropped = {"the task is there twice": duplicates}
    return ForeignResults(source, space or source, metric, trials, configurations, dropped=dropped, **described)


def read_oboe(folder: Path) -> list[ForeignResults]:
    """Read the error and time matrices of Oboe (Yang et al., KDD 2019): balanced error rates of scikit-learn models."""
    names = _indexed(folder / "dataset_names.csv")
    metafeatures = _indexed(folder / "metafeatures.csv")
    sizes = _indexed(folder / "dataset_sizes.csv")
    tasks = pd.DataFrame({"name": names["name"], "group": names["family"]})
    tasks["n_rows"] = sizes["n_rows"].reindex(tasks.index)
    classes = metafeatures["NumberOfClasses"].reindex(tasks.index)
    tasks["type"] = (classes == 2).map({True: "binary", False: "multiclass"})
    results = read_matrix(
        "oboe",
        _indexed(folder / "error_matrix.csv.gz"),
        _configurations(folder / "configs.csv"),
        metric="balanced_error_rate",
        seconds=_indexed(folder / "runtime_matrix.csv.gz"),
        metafeatures=metafeatures,
        tasks=tasks,
    )
    return [results]


def read_dataset2vec(folder: Path) -> list[ForeignResults]:
    """Read the accuracies of three grids of MLPs (Jomaa et al., Dataset2Vec, 2021), one search space each."""
    metafeatures = _indexed(folder / "metafeatures_engineered41_minmax.csv")
    found = []
    for path in sorted(folder.glob("accuracy_searchspace_*.csv.gz")):
        grid = path.name.removeprefix("accuracy_searchspace_").removesuffix(".csv.gz")
        configurations = _configurations(folder / f"configs_searchspace_{grid}.csv")
        configurations = {name: {"family": "mlp", **values} for name, values in configurations.items()}
        values, space = _indexed(path), f"dataset2vec_mlp-{grid}"
        options: dict[str, Any] = {
            "metric": "error_rate",
            "maximise": True,
            "space": space,
            "metafeatures": metafeatures,
        }
        found.append(read_matrix("dataset2vec_mlp", values, configurations, **options))
    return found


def read_aslib(folder: Path) -> list[ForeignResults]:
    """Read a scenario of ASlib (Bischl et al., 2016), with the ``configurations.csv`` that auto-sklearn puts beside it.

    The performance is taken as it stands when the scenario minimises, and as 1 minus it when it maximises.
    """
    runs = _arff(folder / "algorithm_runs.arff")
    measure = next(name for name in runs.columns if name not in ("instance_id", "repetition", "algorithm", "runstatus"))
    performance = pd.to_numeric(runs[measure]).astype(float)
    errors = 1.0 - performance if _maximises(folder / "description.txt") else performance
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
    source, metafeatures = folder.name, _aslib_features(folder / "feature_values.arff")
    return [ForeignResults(source, source, measure, trials, configurations, metafeatures, dropped=dropped)]


def _aslib_features(path: Path) -> pd.DataFrame | None:
    """Return instances × features, the mean over repetitions."""
    if not path.exists():
        return None
    values = _arff(path).drop(columns="repetition").set_index("instance_id")
    numbers = values.apply(pd.to_numeric, errors="coerce").astype(float)
    return numbers.groupby(numbers.index.astype(str)).mean()


def _maximises(path: Path) -> bool:
    """Return whether the first performance measure of a scenario is to be maximised."""
    found = re.search(r"^maximize:[\s\[\-'\"]*(true|false)", path.read_text(), re.MULTILINE | re.IGNORECASE)
    return found is not None and found[1].lower() == "true"


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
    """Return configurations by the name in the first column; a column ``hyperparameters`` is JSON, empty fields are none."""
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
    "error_matrix.csv.gz": read_oboe,
    "accuracy_searchspace_*.csv.gz": read_dataset2vec,
    "algorithm_runs.arff": read_aslib,
}
"""File that a layout is known by -> its reader."""
