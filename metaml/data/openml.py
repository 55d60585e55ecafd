"""OpenML datasets and tasks: the only file that imports openml, which needs the network (or its own cache)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openml
import pandas as pd
from requests.adapters import HTTPAdapter

from metaml.errors import DataError

TIMEOUT_S = 20.0
"""A server that is silent for longer is given up."""


def load_openml(identifier: str | int) -> tuple[pd.DataFrame, str, str]:
    """Fetch a dataset, by its number (``31``), or that of a task (``task/31``).

    Returns:
        The table with its target, the name of the target, and the name of the dataset.

    Raises:
        DataError: it does not exist, has no single target, or the server is silent for ``TIMEOUT_S``.
    """
    kind, _, number = str(identifier).rpartition("/")
    if kind not in ("", "data", "task") or not number.isdigit():
        raise DataError(f'"openml:{identifier}" is no OpenML source: write openml:ID or openml:task/ID.')
    what = f"OpenML {'task' if kind == 'task' else 'dataset'} {number}"
    try:
        with _impatience(TIMEOUT_S):
            dataset, target = _fetch(kind, int(number))
            frame = dataset.get_data(dataset_format="dataframe")[0]
    except OSError as error:  # what requests raises is a kind of it
        raise DataError(
            f"{what} cannot be fetched, the server does not answer: check the network or use a file."
        ) from error
    except Exception as error:  # openml raises its own, parsers' and pickle's errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{what} cannot be loaded ({reason}): check the number or use a file.") from error
    if not target or target not in frame.columns:
        raise DataError(f"{what} has no single target column: save it as a file and name the target.")
    return frame, target, str(dataset.name)


def _fetch(kind: str, number: int) -> tuple[Any, str | None]:
    """Return the dataset and the name of its target."""
    if kind == "task":
        task = openml.tasks.get_task(number, download_splits=False)
        return task.get_dataset(), getattr(task, "target_name", None)
    dataset = openml.datasets.get_dataset(number, download_data=True, download_qualities=False)
    return dataset, dataset.default_target_attribute


@contextmanager
def _impatience(seconds: float) -> Iterator[None]:
    """Give every request without a time limit this one, and no second try: openml itself would wait for ever."""
    send, n_retries = HTTPAdapter.send, openml.config.connection_n_retries

    def send_with_limit(*args: Any, **options: Any) -> Any:
        return send(*args, **{**options, "timeout": options.get("timeout") or seconds})

    HTTPAdapter.send = send_with_limit  # type: ignore[method-assign]
    openml.config.connection_n_retries = 1
    try:
        yield
    finally:
        HTTPAdapter.send = send  # type: ignore[method-assign]
        openml.config.connection_n_retries = n_retries
