"""What a search is asked: one value object that the command line, the Python API and a resumed run share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from metaml.data import TaskType
from metaml.errors import UsageError
from portfolio import WARM_STARTERS

COMPRESS: dict[str, tuple[str, ...]] = {
    "none": (),
    "int8": ("int8",),
    "prune": ("prune",),
    "svd": ("svd",),
    "distill": ("distill",),
    "auto": ("prune", "svd", "distill", "int8"),
}
"""Value of ``--compress`` -> the attempts, in order. All but int8 need a single model, not an ensemble."""


ZERO_COST = ("synflow", "jacob_cov", "ntk", "regions", "parameters")
"""Values of ``--zero-cost``: names in `metaml.zero_cost.SCORES`."""


@dataclass(frozen=True)
class SearchRequest:
    """The options of a search; all are plain JSON values."""

    source: str | None = None
    """What was given as the task, to load it again; None for data in memory."""
    target: str | None = None
    task_type: TaskType | Literal["classification"] | None = None
    """None: told from the target."""
    device: str = "cpu"
    """``cpu`` or ``gpu`` for this machine, or the JSON file of a latency table."""
    uncertified: bool = False
    """Whether a table's file may be used although no validation vouches for it."""
    max_latency_ms: float | None = None
    batch: int = 1
    """Rows of one prediction, for latencies."""
    time_limit: float = 600.0
    """Seconds for everything: loading, search, refit, measurement, report."""
    trials: int | None = None
    """At most this many trials; None for as many as the time allows."""
    warm_start: str = "auto"
    seed: int = 0
    metric: str | None = None
    """None for the default of the task type."""
    zero_cost: str | None = None
    """Score of untrained networks that filters random ones: a name in `ZERO_COST`; None for no filter."""
    compress: str = "none"
    """How the delivered model is made smaller where its metric allows it: a name in `COMPRESS`."""
    ensemble: int = 5
    """At most this many trials are delivered together as one model; 1 for a single one."""
    workers: int = 1
    """Trials that run side by side, each on one thread."""
    store: str | None = None
    """URL of the metadata store; None for the run's own private one."""
    store_required: bool = False
    """Whether a store that cannot be opened ends the search, instead of letting it go on without past results."""

    def __post_init__(self) -> None:
        """Refuse values that make no sense, in one sentence each."""
        positive = {"time_limit": "--time", "batch": "--batch", "workers": "--workers", "ensemble": "--ensemble"}
        optional = {"max_latency_ms": "--max-latency-ms", "trials": "--trials"}
        for name, option in (positive | optional).items():
            value = getattr(self, name)
            if (value is not None or name in positive) and not value > 0:
                raise UsageError(f"{name} ({option}) must be above 0, however: {value}.")
        if self.compress not in COMPRESS:
            raise UsageError(f'No compression "{self.compress}"; use one of: {", ".join(COMPRESS)}.')
        if self.zero_cost is not None and self.zero_cost not in ZERO_COST:
            raise UsageError(f'No zero-cost score "{self.zero_cost}"; use one of: {", ".join(ZERO_COST)}.')
        if self.warm_start not in WARM_STARTERS:
            raise UsageError(f'No warm-starter "{self.warm_start}"; use one of: {", ".join(WARM_STARTERS)}.')

    @property
    def max_members(self) -> int:
        """Number of trials that may be delivered together."""
        return 1 if set(COMPRESS[self.compress]) - {"int8"} else self.ensemble

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SearchRequest:
        """Return the request that `to_json` described; what is unknown is passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in names})
