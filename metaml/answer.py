"""The answer of a search, what it says as plain JSON values, and which of two stays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaml.context import Context
from metaml.data import Task
from metaml.delivery import Delivered
from metaml.files import write_atomic
from metaml.predictor import Predictor
from metaml.run_folder import RunFolder
from metaml.trial import Trial


def describe_task(task: Task, context: Context) -> dict[str, Any]:
    """Return what the answer says of the task."""
    return {
        "name": task.name,
        "source": task.source,
        "fingerprint": task.fingerprint,
        "type": task.type,
        "target": task.target,
        "rows": len(task.y),
        "columns": task.n_features,
        "extent": task.extent,
        "classes": len(task.classes),
        "metric": context.metric.name,
        "validation": f"{len(context.splits)}-fold cross-validation" if len(context.splits) > 1 else "holdout",
    }


def describe_members(model: Delivered) -> list[dict[str, Any]] | None:
    """The members of an ensemble, heaviest first; None for a single model."""
    if len(model.members) == 1:
        return None
    return [
        {
            "number": member.trial.number,
            "weight": member.weight,
            "configuration": member.trial.configuration,
            "source": member.trial.source,
            "error": member.trial.error,
        }
        for member in model.members
    ]


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return what the answer says of a trial."""
    return {
        "number": trial.number,
        "configuration": trial.configuration,
        "source": trial.source,
        "status": trial.status,
        "error": trial.error,
        "budget": trial.budget,
        "seconds": round(trial.seconds, 4),
        "latency_ms": trial.latency_ms,
        "metrics": dict(trial.metrics),
        "parameters": trial.n_parameters,
        "curve": trial.curve,
        "message": trial.message,
    }


def finite(content: dict[str, Any]) -> dict[str, Any]:
    """Return the same values as plain JSON: numpy scalars become numbers, nan becomes null."""
    plain = json.dumps(content, default=_plain)
    parsed: dict[str, Any] = json.loads(plain, parse_constant=lambda _: None)
    return parsed


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


@dataclass(frozen=True)
class Answer:
    """The model that an earlier sitting of a run delivered."""

    best: Mapping[str, Any]
    model: bytes

    @classmethod
    def of(cls, folder: RunFolder) -> Answer | None:
        """Return what lies in a run's folder; None where it has no answer yet, or its file is gone."""
        result = folder.result
        return cls(result["best"], folder.model.read_bytes()) if result and folder.model.exists() else None

    def is_as_good_as(self, best: Mapping[str, Any]) -> bool:
        """Whether another answer is not better: by keeping the limit, then by error, then by all rows in training."""
        return _rank(self.best) <= _rank(best)

    def restore(self, folder: RunFolder) -> dict[str, Any]:
        """Make it the answer again."""
        write_atomic(folder.model, self.model)
        return dict(self.best)


def _rank(best: Mapping[str, Any]) -> tuple[float, float, bool]:
    latency, error = best["latency_ms"], best["error"]
    excess = max(1.0, latency["judged"] / latency["limit"]) if latency["limit"] else 1.0
    return excess, math.inf if error is None else error, best["trained_on"] != "all rows"


@dataclass(frozen=True)
class SearchResult:
    """The answer of a search. All of it is plain data from the run folder's ``result.json``."""

    folder: Path
    summary: dict[str, Any]
    """What ``metaml search --json`` prints."""

    @property
    def best(self) -> dict[str, Any]:
        """Configuration, metrics, error, latency and model file of the delivered model."""
        best: dict[str, Any] = self.summary["best"]
        return best

    @property
    def model_path(self) -> Path:
        """The delivered ONNX file."""
        return self.folder / "model.onnx"

    @property
    def meets_limit(self) -> bool:
        """Whether the latency, or the upper end of a foretold one, is within the limit (True without a limit)."""
        limit = self.best["latency_ms"]["limit"]
        return limit is None or self.best["latency_ms"]["judged"] <= limit

    @property
    def was_interrupted(self) -> bool:
        """Whether Ctrl-C or a signal ended the search early."""
        return bool(self.summary["interrupted"])

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial."""
        return pd.DataFrame(self.summary["trials"])

    @cached_property
    def predictor(self) -> Predictor:
        """The delivered model, ready to predict."""
        return Predictor(self.model_path)
