"""A latency table: measured kernels of one device, and what they say about any network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hw_cost.correction import Correction, features, part_sums
from hw_cost.devices import Device
from hw_cost.graph import OpGraph
from hw_cost.kernels import Kernel, work_of
from hw_cost.kinds import unfused
from hw_cost.onnx_reader import OnnxModel
from hw_cost.regression import Fit, Measured, fit_kernels
from hw_cost.runtimes import Runtime
from hw_cost.table_format import Row, read_document, write_document

LEVEL_Z = 1.645
"""Half width of a 90 % interval in standard deviations."""
ENOUGH = 3
"""Kernels of an operator below which it counts as unseen."""
BATCH_SPREAD = 0.17
"""What batches above those of the correction's networks add to the spread."""
MOST_TOLD = 50_000
"""Kernels whose cost is remembered: networks of a search share many."""
UNSEEN_SPREAD = math.log(2)
"""Standard deviation of the logarithmic error of an operator that was never measured."""


@dataclass(frozen=True)
class KernelCost:
    """What a table says about one kernel."""

    kernel: Kernel
    latency_us: float
    spread: float
    """Standard deviation of its logarithmic error."""
    known: str
    """``measured`` (operator measured, sizes within its range), ``extrapolated`` or ``unseen``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        sizes = dict(self.kernel.sizes)
        return {"op": self.kernel.op, "sizes": sizes, "latency_us": self.latency_us, "known": self.known}


@dataclass(frozen=True)
class Cost:
    """Predicted latency of a network, with a 90 % interval."""

    latency_ms: float
    low_ms: float
    high_ms: float
    coverage: float
    """Share of the latency that comes from operators measured at such sizes, 0 … 1."""
    kernels: tuple[KernelCost, ...] = field(repr=False)

    @property
    def unseen(self) -> list[str]:
        """Operators that the table has no measurement of, sorted."""
        return sorted({cost.kernel.op for cost in self.kernels if cost.known == "unseen"})


@dataclass(frozen=True)
class LatencyTable:
    """Measured kernel latencies of one device, versioned and self-describing."""

    device: Device
    rows: tuple[Row, ...] = field(repr=False)
    correction: Correction = field(default_factory=Correction)
    reference_us: float = 0.0
    """Floor of the protocol's reference while the table was measured."""
    certificate: Mapping[str, float] | None = None
    """What `validate` found on networks that were used for nothing else; None without a validation."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a table.

        Raises:
            TableError: the file is damaged, or a row cannot be true; the row is named.
        """
        return cls(**read_document(path))

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        write_document(path, {field.name: getattr(self, field.name) for field in fields(self)})

    def predict(self, network: OpGraph | OnnxModel, batch: int = 1) -> Cost:
        """Predict the latency of a call with `batch` rows; of a graph it is never below that of a single row.

        Args:
            network: a graph, or an ONNX model; the device's runtime tells which kernels it executes.
            batch: rows in a call.
        """
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        cost = self.compose([self.kernel_cost(kernel) for kernel in self.runtime.kernels(network, batch)], batch)
        if batch == 1 or not isinstance(network, OpGraph):
            return cost
        latency_ms = max(cost.latency_ms, self.predict(network).latency_ms)
        raised = latency_ms / cost.latency_ms
        return replace(cost, latency_ms=latency_ms, low_ms=raised * cost.low_ms, high_ms=raised * cost.high_ms)

    def compose(self, costs: list[KernelCost], batch: int = 1) -> Cost:
        """Add kernels up and correct the sum.

        What remains uncertain is what networks alike have shown, and beside it what such networks do not have:
        extrapolated and unseen kernels, and larger batches.
        """
        sums = part_sums((cost.kernel, cost.latency_us) for cost in costs)
        alone_us = np.array([cost.latency_us for cost in costs])
        latency_ms = 1e-3 * self.correction.network([cost.kernel for cost in costs], alone_us)
        spread = self.correction.spread
        strange = strangeness(costs)
        experience = self.correction.experience
        if experience is None:
            spread = math.hypot(spread, strange)
        else:
            made_of = features(sums[None], np.array([len(costs)]))[0]
            latency_ms *= experience.factor(made_of)
            spread = experience.quantile / LEVEL_Z * math.hypot(experience.spread(made_of), strange)
        if batch > max(self.provenance.get("batches", [1])):
            spread = math.hypot(spread, BATCH_SPREAD)
        factor = math.exp(LEVEL_Z * spread)
        strangers = sum(cost.latency_us for cost in costs if cost.known != "measured")
        coverage = max(0.0, 1 - strangers / float(sums.sum()))
        return Cost(latency_ms, latency_ms / factor, latency_ms * factor, coverage, tuple(costs))

    def kernel_cost(self, kernel: Kernel) -> KernelCost:
        """Return the cost of one kernel from its operator's fit, or widely from those of its kind or from all."""
        if kernel not in self._told:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told[kernel] = self._kernel_cost(kernel)
        return self._told[kernel]

    def _kernel_cost(self, kernel: Kernel) -> KernelCost:
        fit = self._fit("op", kernel.op)
        enough = fit is not None and (fit.n >= ENOUGH or kernel in self._measured)
        if fit is not None and enough and fit.kind == kernel.kind:
            latency, excess = fit.tell(kernel.sizes)
            known = "measured" if excess <= 1.5 else "extrapolated"
            return KernelCost(kernel, latency, fit.spread + 0.1 * math.log(excess), known)
        related = self._fit("kind", kernel.kind)
        if related is not None:
            return KernelCost(kernel, related.predict(kernel.sizes), max(related.spread, UNSEEN_SPREAD / 2), "unseen")
        work = work_of(kernel) or {"flops": 0, "bytes": 0}
        return KernelCost(kernel, self._general_fit.predict(work), UNSEEN_SPREAD, "unseen")

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime of the table's device, with its settings."""
        return self.device.open_runtime()

    def spread_of(self, op: str) -> float:
        """Return the standard deviation of the logarithmic error on kernels of an operator; wide when it is unseen."""
        fit = self._fit("op", op)
        return UNSEEN_SPREAD if fit is None else fit.spread

    def _fit(self, of: str, name: str) -> Fit | None:
        """Return the fit to the rows of an operator (`of` is ``op``) or ``kind``, made when it is first asked for."""
        if (of, name) not in self._fits:
            rows = [row for row in self.rows if getattr(row.kernel, of) == name]
            own = [row for row in rows if row.kernel.kind == rows[0].kernel.kind]
            relatives = self._relatives(own[0].kernel) if of == "op" and own else []
            self._fits[of, name] = _fit(own, relatives) if own else None
        return self._fits[of, name]

    def _relatives(self, kernel: Kernel) -> list[Row]:
        """Return the rows of operators that compute the same as a kernel's but for what is fused into them."""
        kind, base = kernel.kind, unfused(kernel.op)
        others = [row for row in self.rows if row.kernel.kind == kind and row.kernel.op != kernel.op]
        return [row for row in others if unfused(row.kernel.op) == base]

    @cached_property
    def _told(self) -> dict[Kernel, KernelCost]:
        return {}

    @cached_property
    def _measured(self) -> set[Kernel]:
        return {row.kernel for row in self.rows}

    @cached_property
    def _fits(self) -> dict[tuple[str, str], Fit | None]:
        return {}

    @cached_property
    def _general_fit(self) -> Fit:
        """All kernels of which FLOPs or bytes can be told from their sizes: a roofline without a roof."""
        work = [(work_of(row.kernel), row.latency_us) for row in self.rows]
        known = [(sizes, latency) for sizes, latency in work if sizes is not None]
        known = known or [({"flops": 0, "bytes": 0}, row.latency_us) for row in self.rows]
        return fit_kernels("other", [sizes for sizes, _ in known], np.array([latency for _, latency in known]))


def strangeness(costs: Sequence[KernelCost]) -> float:
    """Return the spread of a network that comes from kernels which are extrapolated or unseen."""
    strange = sum(cost.latency_us * cost.spread for cost in costs if cost.known != "measured")
    return strange / sum(cost.latency_us for cost in costs)


def _fit(rows: Sequence[Row], relatives: Sequence[Row] = ()) -> Fit:
    (sizes, latencies), others = _measured(rows), _measured(relatives) if relatives else None
    return fit_kernels(rows[0].kernel.kind, sizes, latencies, relatives=others)


def _measured(rows: Sequence[Row]) -> Measured:
    return [row.kernel.sizes for row in rows], np.array([row.latency_us for row in rows])
