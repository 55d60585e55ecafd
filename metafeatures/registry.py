"""What a metafeature is, and the list of all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metafeatures.columns import FloatArray
from metafeatures.table import Table


class Compute(Protocol):
    """The function behind a metafeature: one number, or one per column, class, pair, … to be summarised."""

    __name__: str
    __module__: str

    def __call__(self, table: Table, /) -> float | FloatArray:
        """Compute the feature of ``table``; nan where undefined."""
        ...


SUMMARIES: dict[str, Callable[[FloatArray], float]] = {
    "mean": lambda values: float(values.mean()) if values.size else np.nan,
    "sd": lambda values: float(values.std(ddof=1)) if values.size > 1 else np.nan,
    "min": lambda values: float(values.min()) if values.size else np.nan,
    "max": lambda values: float(values.max()) if values.size else np.nan,
}
"""How several values become one; non-finite ones are left out before. ``sd`` divides by n - 1."""

MEAN_SD = ("mean", "sd")
ALL_SUMMARIES = tuple(SUMMARIES)


@dataclass(frozen=True)
class Metafeature:
    """A named property of a table."""

    name: str
    group: str
    source: str
    """Where it is defined in the literature."""
    function: Compute
    summaries: tuple[str, ...] = ()
    """Keys of `SUMMARIES` for a feature of several values, empty for a number."""

    @property
    def names(self) -> tuple[str, ...]:
        """The entries of the vector that it fills: its name, or its name with each summary, as in ``skewness.sd``."""
        return tuple(f"{self.name}.{summary}" for summary in self.summaries) or (self.name,)

    def compute(self, table: Table) -> dict[str, float]:
        """Its entries for ``table``; nan wherever the result is not finite."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that something is undefined is said by nan
            value = np.asarray(self.function(table), dtype=np.float64)
            if self.summaries:
                value = value[np.isfinite(value)]
                results = [SUMMARIES[summary](value) for summary in self.summaries]
            else:
                results = [float(value)]
        return {name: x if np.isfinite(x) else np.nan for name, x in zip(self.names, results, strict=True)}


REGISTRY: dict[str, Metafeature] = {}
"""All metafeatures by name, in the order in which the package lists its groups."""


def metafeature(
    *, source: str, summaries: tuple[str, ...] = (), name: str | None = None, group: str | None = None
) -> Callable[[Compute], Compute]:
    """Register a function of a `Table` as a metafeature; the file that it stands in is its group.

    Args:
        source: where it is defined.
        summaries: for a function that returns several values, how they are summarised.
        name: its name, where that is not the function's own.
        group: its group, where that is not the file of the function.
    """

    def register(function: Compute) -> Compute:
        own = name or function.__name__
        if own in REGISTRY:
            raise ValueError(f"two metafeatures are named {own!r}; names must differ")
        REGISTRY[own] = Metafeature(own, group or function.__module__.rpartition(".")[2], source, function, summaries)
        return function

    return register
