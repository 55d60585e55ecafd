"""OpenML datasets and tasks: the only file that imports openml, which needs the network (or its own cache)."""

from __future__ import annotations

import socket
from typing import Any

import openml
import pandas as pd

from metaml.errors import DataError

TIMEOUT_S = 30.0
"""A server that is silent for longer is given up."""


def load_openml(identifier: str | int) -> tuple[pd.DataFrame, str, str]:
    """Fetch a dataset, by its number (``31``), or that of a task (``task/31``).

    Returns:
        The table with its target, the name of the target, and the name of the dataset.

    Raises:
        DataError: it does not exist, has no target, or cannot be reached within ``TIMEOUT_S``.
    """
    kind, _, number = str(identifier).rpartition("/")
    if kind not in ("", "data", "task") or not number.isdigit():
        raise DataError(f'"openml:{identifier}" is no OpenML source: write openml:ID or openml:task/ID.')
    try:
        dataset, target = _fetch(kind, int(number))
        frame, _, _, _ = dataset.get_data(dataset_format="dataframe")
    except Exception as error:  # openml raises its own, requests', parsers' and file errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"OpenML {kind or 'dataset'} {number} cannot be loaded ({reason}): check the network or use a file."
        ) from error
    if not target or target not in frame.columns:
        raise DataError(f"OpenML dataset {number} has no single target column: save it as a file and name the target.")
    return frame, target, str(dataset.name)


def _fetch(kind: str, number: int) -> tuple[Any, str | None]:
    """Download the data with a bound on the time that the server may be silent."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    retries = openml.config.connection_n_retries
    openml.config.set_retry_policy("human", n_retries=1)
    try:
        if kind == "task":
            task = openml.tasks.get_task(number, download_splits=False)
            return task.get_dataset(), getattr(task, "target_name", None)
        dataset = openml.datasets.get_dataset(number, download_data=True, download_qualities=False)
        return dataset, dataset.default_target_attribute
    finally:
        openml.config.set_retry_policy("human", n_retries=retries)
        socket.setdefaulttimeout(before)
