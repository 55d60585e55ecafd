"""What one trial is: the record that travels from the worker to the search, the run folder and the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Configuration = dict[str, Any]
"""One point of the search space: a plain dict with ``space`` (its version) and ``family`` among its keys."""

Status = Literal["ok", "infeasible", "pruned", "crashed", "diverged", "timeout", "memout"]

Curve = tuple[tuple[int, float], ...]
"""A learning curve: (epochs so far, validation loss), in order."""

WORST_ERROR = 2.0
"""Upper end of the normalised error, and the cost of every trial that has none."""


def configuration_id(configuration: Mapping[str, Any]) -> str:
    """Return the id of a configuration: the first 16 hex digits of the SHA-256 of its canonical JSON.

    >>> configuration_id({"b": 1, "a": 2.0}) == configuration_id({"a": 2.0, "b": 1})
    True
    """
    canonical = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Trial:
    """One evaluation of a configuration on a task at a budget and seed."""

    number: int
    """Position in the run, from 0."""
    configuration: Configuration
    source: str
    """Who proposed it: ``portfolio``, ``knn``, ``pmf``, ``smac``, ``random``, ``default``, …"""
    status: Status
    error: float | None = None
    """Normalised error on the validation rows: 0 perfect, 1 as good as a constant, 2 the worst.

    None unless the status is ok, or pruned (then of the first fold only).
    """
    budget: float = 1.0
    """Fraction of the training rows that was used."""
    seed: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Raw validation metrics by name (``roc_auc``, ``log_loss``, ``rmse``, …)."""
    seconds: float = 0.0
    """Wall time of the trial."""
    cpu_seconds: float = 0.0
    """Processor time of the trial, all threads together."""
    latency_ms: float | None = None
    """Predicted latency of one prediction on the run's device, or None without a latency table."""
    n_parameters: int | None = None
    flops: int | None = None
    """Floating-point operations of a one-row prediction; a fused multiply-add counts as two."""
    model_bytes: int | None = None
    """Bytes of the trained parameters."""
    epochs: int | None = None
    """Epochs after which the weights are best, by all folds; None for models without epochs."""
    curve: Curve = ()
    """Learning curve of the first fold: mean log loss, or mean squared error of the standardised target."""
    message: str = ""
    """Why it is not ok: one line, or a traceback."""
    started: str = ""
    """UTC time of the start, ISO 8601."""

    @property
    def configuration_id(self) -> str:
        """Id of the configuration."""
        return configuration_id(self.configuration)

    @property
    def cost(self) -> float:
        """What the optimiser is told: the error (of the first fold if pruned), or the worst one where there is none."""
        return WORST_ERROR if self.error is None else self.error
