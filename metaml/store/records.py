"""What goes into the store and comes out of it: plain values, and how each becomes a row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from metaml.errors import StoreError
from metaml.trial import Curve, Trial

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TaskRecord:
    """What is known of a task: its shape and where it came from, never its rows."""

    fingerprint: str
    """Hash of the content; the identity of the task."""
    name: str
    type: str
    """``binary``, ``multiclass`` or ``regression``."""
    modality: str = "tabular"
    n_rows: int = 0
    n_features: int = 0
    n_classes: int | None = None
    """Number of classes; None for a regression."""
    group: str | None = None
    """Family of near-duplicate tasks, or None when the task is its own family."""
    source: str = ""
    """Where the data came from, as the user named it."""


@dataclass(frozen=True)
class RunRecord:
    """One search or one import: what its trials have in common, and their provenance."""

    run_id: str
    fingerprint: str
    """Fingerprint of the task, which must be in the store already."""
    space: str
    """Name and version of the search space."""
    metric: str
    """The metric behind the normalised error of the trials."""
    device: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    """UTC time, ISO 8601."""


@dataclass(frozen=True)
class DeviceRecord:
    """A machine with its runtime, as the latencies of the store name it."""

    name: str
    runtime: str | None = None
    threads: int | None = None
    precision: str | None = None
    batch: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the machine: processor, governor, versions, …"""


@dataclass(frozen=True)
class LatencyRecord:
    """The latency of a configuration's network on a device; milliseconds for one batch."""

    run_id: str
    configuration_id: str
    device: str
    batch: int = 1
    predicted_ms: float | None = None
    measured_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    """Confidence interval of the measurement."""
    measured_at: str = ""
    """UTC time, ISO 8601."""


def key(text: str, what: str) -> str:
    """Return a text that identifies something, unchanged; refuse what a database cannot keep.

    Raises:
        StoreError: The text is empty, or has a NUL character or a lone surrogate in it.
    """
    if not text or "\0" in text or not _encodable(text):
        msg = f"the {what} must be a non-empty text without NUL characters, but it is {text!r}"
        raise StoreError(msg)
    return text


def free_text(text: str) -> str:
    """Return a text that only people read; what a database cannot keep becomes ``\ufffd`` or ``?``."""
    if _encodable(text) and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def number(value: Any) -> float | None:
    """Return a plain finite float, or None for None, nan and infinities (numpy scalars are no database types)."""
    return None if value is None or not math.isfinite(value) else float(value)


def integer(value: Any) -> int | None:
    """Return a plain int, or None."""
    return None if value is None else int(value)


def dump_numbers(values: Mapping[str, Any]) -> str:
    """Return a mapping of numbers as strict JSON: nan is null, infinities are strings.

    >>> dump_numbers({"rmse": float("inf"), "r2": float("nan"), "mae": 1})
    '{"rmse":"inf","r2":null,"mae":1.0}'
    """
    return "{" + ",".join([f"{_quoted(name)}:{_number_text(float(value))}" for name, value in values.items()]) + "}"


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    return json.dumps(str(name))


def _number_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "null" if math.isnan(value) else f'"{value}"'


def load_numbers(text: str) -> dict[str, float]:
    """Return what `dump_numbers` wrote."""
    return {k: math.nan if v is None else float(v) for k, v in json.loads(text).items()}


def load_table(texts: Sequence[str]) -> pd.DataFrame:
    """Return what `dump_numbers` wrote, one row a text: (texts, names), nan where a text has not a name.

    >>> load_table(['{"a":1.0,"b":"inf"}', '{"b":null}']).to_numpy().tolist()
    [[1.0, inf], [nan, nan]]
    """
    documents = json.loads(f"[{','.join(texts)}]")
    names = list(dict.fromkeys(chain.from_iterable(documents)))
    numbers = np.array([[document.get(name) for name in names] for document in documents], dtype=float)
    return pd.DataFrame(numbers.reshape(len(texts), len(names)), columns=names)


def dump_json(value: Any) -> str:
    """Return anything as JSON; what JSON does not know becomes its text."""
    return json.dumps(value, separators=(",", ":"), default=str)


def dump_configuration(configuration: Mapping[str, Any]) -> str:
    """Return a configuration as the canonical JSON that its id is a hash of."""
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)


TRIAL_COLUMNS = (
    *("number", "source", "status", "error", "budget", "seed", "metrics", "seconds", "cpu_seconds", "latency_ms"),
    *("n_parameters", "flops", "model_bytes", "message", "started", "epochs", "curve"),
)
"""Columns of a trial that do not point to another table, in the order of `trial_values`."""


def trial_values(trial: Trial) -> tuple[Any, ...]:
    """Return the values of a trial for `TRIAL_COLUMNS`."""
    return (
        int(trial.number),
        trial.source,
        trial.status,
        number(trial.error),
        float(trial.budget),
        int(trial.seed),
        dump_numbers(trial.metrics),
        float(trial.seconds),
        float(trial.cpu_seconds),
        number(trial.latency_ms),
        integer(trial.n_parameters),
        integer(trial.flops),
        integer(trial.model_bytes),
        free_text(trial.message),
        trial.started,
        integer(trial.epochs),
        dump_curve(trial.curve),
    )


def dump_curve(curve: Curve) -> str | None:
    """Return a learning curve as JSON, its losses to 6 digits; None for an empty one.

    >>> dump_curve(((3, 0.12345678),))
    '[[3,0.123457]]'
    """
    rounded = [[epoch, float(f"{loss:.6g}")] for epoch, loss in curve]
    return json.dumps(rounded, separators=(",", ":")) if rounded else None


def load_curve(text: str | None) -> Curve:
    """Return what `dump_curve` wrote."""
    return tuple((int(epoch), float(loss)) for epoch, loss in json.loads(text)) if text else ()


def trial_from_row(row: Row, configuration: dict[str, Any]) -> Trial:
    """Return the trial that `trial_values` took apart."""
    values: dict[str, Any] = {name: row.get(name) for name in TRIAL_COLUMNS}
    values |= {"metrics": load_numbers(row["metrics"]), "curve": load_curve(row.get("curve"))}
    return Trial(configuration=configuration, **values)


def run_from_row(row: Row) -> RunRecord:
    """Return the run of a row that has the fingerprint of its task and the name of its device joined in."""
    names = ("run_id", "fingerprint", "space", "metric", "device", "seed", "host", "started")
    options, versions = json.loads(row["options"]), json.loads(row["versions"])
    return RunRecord(**{name: row[name] for name in names}, options=options, versions=versions)


def configuration_row(digest: str, configuration: Mapping[str, Any], space: str) -> dict[str, Any]:
    """Return the row of a configuration of a space."""
    family = configuration.get("family")
    row = {"hash": digest, "space": space, "family": None if family is None else str(family)}
    return row | {"configuration": dump_configuration(configuration)}


def trial_to_json(trial: Trial) -> str:
    """Return a trial as one line of strict JSON.

    >>> trial_from_json(trial_to_json(Trial(0, {"x": 1}, "knn", "ok", error=0.5))).error
    0.5
    """
    values = dict(zip(TRIAL_COLUMNS, trial_values(trial), strict=True))
    return json.dumps({"configuration": trial.configuration, **values}, separators=(",", ":"), allow_nan=False)


def trial_from_json(line: str) -> Trial:
    """Return the trial that `trial_to_json` wrote."""
    values = json.loads(line)
    return trial_from_row(values, values["configuration"])
