"""Histories on disk: four files in a folder, and the default history that ships with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from portfolio.history import History

FORMAT = 1
"""Number of the folder's format, written into ``configurations.json``; a reader refuses numbers above its own."""
DEFAULT_FOLDER = Path(__file__).parent / "data"


def load_default_history() -> History:
    """Return the history that ships with the package; an empty one when no data ship."""
    return load_history(DEFAULT_FOLDER) if (DEFAULT_FOLDER / "configurations.json").exists() else History.empty()


def save_history(history: History, folder: Path | str) -> None:
    """Write a history as ``errors.parquet``, ``configurations.json``, ``metafeatures.parquet`` and ``tasks.parquet``.

    Args:
        history: What to write; task names and configuration ids are written as text.
        folder: Made if it does not exist; files of the same names are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _trials(history).to_parquet(folder / "errors.parquet", index=False)
    _tasks(history).to_parquet(folder / "tasks.parquet", index=False)
    _features(history).to_parquet(folder / "metafeatures.parquet", index=False)
    document = {"format": FORMAT, "configurations": dict(history.configurations)}
    (folder / "configurations.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def load_history(folder: Path | str) -> History:
    """Read a history that ``save_history`` wrote.

    Raises:
        FileNotFoundError: The folder lacks one of the files.
        ValueError: The folder was written in a newer format than this version reads.
    """
    folder = Path(folder)
    document: dict[str, Any] = json.loads((folder / "configurations.json").read_text())
    if document.get("format", 0) > FORMAT:
        raise ValueError(
            f"{folder} has format {document['format']}, this version reads up to {FORMAT}: please update metaml"
        )
    trials = pd.read_parquet(folder / "errors.parquet")
    tasks = pd.read_parquet(folder / "tasks.parquet").set_index("task")
    features = pd.read_parquet(folder / "metafeatures.parquet").set_index("task")
    configurations = document["configurations"]
    errors, seconds = (_matrix(trials, value, tasks.index, configurations) for value in ("error", "seconds"))
    return History(
        errors=errors,
        configurations=configurations,
        metafeatures=features.reindex(tasks.index) if len(features.columns) else None,
        runtimes=seconds if bool(seconds.notna().to_numpy().any()) else None,
        groups=tasks["family"].dropna() if bool(tasks["family"].notna().any()) else None,
        names=tasks["name"].dropna() if bool(tasks["name"].notna().any()) else None,
    )


def _trials(history: History) -> pd.DataFrame:
    """Return the cells that hold an error or a time as rows ``task, configuration, error, seconds``."""
    errors = history.errors.to_numpy(dtype=float)
    seconds = pd.DataFrame(float("nan"), index=history.errors.index, columns=history.errors.columns)
    if history.runtimes is not None:
        seconds = history.runtimes.reindex(index=history.errors.index, columns=history.errors.columns)
    times = seconds.to_numpy(dtype=float)
    rows, columns = (pd.notna(errors) | pd.notna(times)).nonzero()
    return pd.DataFrame(
        {
            "task": history.errors.index.astype(str).to_numpy()[rows],
            "configuration": history.errors.columns.astype(str).to_numpy()[columns],
            "error": errors[rows, columns],
            "seconds": times[rows, columns],
        }
    )


def _tasks(history: History) -> pd.DataFrame:
    index = history.errors.index
    families = [None if history.family_of(task) is task else str(history.family_of(task)) for task in index]
    labels = [None if (name := history.name_of(task)) == str(task) else name for task in index]
    return pd.DataFrame({"task": index.astype(str), "name": labels, "family": families}, dtype="string")


def _features(history: History) -> pd.DataFrame:
    tasks = history.errors.index
    frame = pd.DataFrame(index=tasks) if history.metafeatures is None else history.metafeatures.reindex(tasks)
    frame = frame.apply(pd.to_numeric, errors="coerce")
    frame.columns = frame.columns.astype(str)
    frame.insert(0, "task", tasks.astype(str))
    return pd.DataFrame(frame)


def _matrix(trials: pd.DataFrame, value: str, tasks: pd.Index, configurations: dict[str, Any]) -> pd.DataFrame:
    """Return the long trials as tasks × configurations; every known configuration has a column."""
    wide = trials.pivot_table(index="task", columns="configuration", values=value, aggfunc="last")
    columns = [*configurations, *(name for name in wide.columns if name not in configurations)]
    full: pd.DataFrame = wide.reindex(index=tasks, columns=pd.Index(columns)).astype(float)
    full.index.name = full.columns.name = None
    return full
