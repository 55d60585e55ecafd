"""What travels between the search and its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metaml.halving import RungErrors, Rungs
from metaml.trial import Configuration, Curve, Status, Trial

if TYPE_CHECKING:  # workers are started before anything that takes long to import
    from hw_cost import LatencyTable
    from metaml.data import Split, Task


@dataclass(frozen=True)
class Assignment:
    """What a worker needs before its first job."""

    task: Task
    splits: tuple[Split, ...]
    metric: str


@dataclass(frozen=True)
class CompressionJob:
    """How a configuration is made smaller, and on what terms."""

    name: str
    """``distill``, or a name in `metaml.compression.COMPRESSIONS`."""
    table: LatencyTable
    """Says what a network costs."""
    batch: int
    tolerance: float
    first_to: Path
    """Where the compressed model of the first fold goes."""
    student: Configuration | None = None
    """The small configuration that the job's own one teaches."""
    target_error: float = float("inf")
    """Of a distillation: normalised error on the validation rows that the student must come near."""


@dataclass(frozen=True)
class Job:
    """One thing to do: evaluate a configuration, refit it on all rows and export it, or do that in a smaller form."""

    number: int
    kind: Literal["evaluate", "refit", "compress"]
    configuration: Configuration
    seconds: float
    """Time allowed."""
    budget: float = 1.0
    seed: int = 0
    hopeless: float = float("inf")
    """Error of the first fold above which the trial is pruned."""
    export_to: Path | None = None
    """Where the ONNX file goes: always for a refit; for an evaluation, the first fold's model if it is good enough."""
    export_below: float = float("inf")
    """An evaluation is exported if its error is below this."""
    rungs: Rungs | None = None
    """Where an evaluation may be left for now."""
    compression: CompressionJob | None = None
    """How a configuration is made smaller."""
    predictions_to: Path | None = None
    """Where predictions go: an evaluation's of all validation rows; a refit's of the first rows, as one fold."""
    epochs: int | None = None
    """After how many epochs a refit stops; None for those of the configuration."""
    threads: int = 1
    """Of a refit."""
    is_bagged: bool = False
    """Whether a refit is one on the training rows of each fold, whose mean is exported."""


@dataclass(frozen=True)
class Started:
    """Says that a worker has its imports behind it and begins with a job: from here on the job's time counts."""

    number: int
    pid: int
    """The worker's process."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended; the fields of a `metaml.trial.Trial` that the worker knows."""

    number: int
    status: Status
    error: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    n_parameters: int | None = None
    flops: int | None = None
    model_bytes: int | None = None
    epochs: int | None = None
    curve: Curve = ()
    message: str = ""
    reached: RungErrors = ()
    """Errors at the rungs that the trial reached; it is paused at the last one if its status is ``pruned``."""
    configuration: Configuration | None = None
    """What was fitted where the job's own configuration would have taken too long."""

    def as_trial(self, configuration: Configuration, source: str, **known: Any) -> Trial:
        """Return the record of the job's trial: what the worker knows, and what only its sender does.

        Args:
            configuration: what was to be evaluated, and was unless the outcome has another.
            source: who proposed it.
            known: further fields of `metaml.trial.Trial`, such as ``seed``, ``latency_ms`` and ``started``.
        """
        names = {field.name for field in fields(self)} - {"reached", "configuration"}
        own = {name: getattr(self, name) for name in names}
        return Trial(configuration=self.configuration or configuration, source=source, **own, **known)
