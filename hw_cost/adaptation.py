"""The latency table of a new device from networks measured there, by way of the tables that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hw_cost.calibration import MIN_NETWORKS, solve
from hw_cost.correction import GROUPS, PARTS, Correction, part_sums, parts_of
from hw_cost.graph import OpGraph
from hw_cost.kernels import Kernel, work_of
from hw_cost.networks import random_networks
from hw_cost.onnx_reader import ModelError, OnnxModel
from hw_cost.runtimes import RuntimeMissing
from hw_cost.table import LatencyTable
from hw_cost.transfer import Features, adapt_to, additive_baseline, best_proxy
from hw_cost.validation import spearman

REFERENCE_SEED, N_REFERENCE = 4_000, 60
"""Random networks that tell how far latencies spread over networks; none of them is measured."""


_BY_GROUP = np.array([[group == of for of in PARTS.values()] for group in GROUPS], dtype=float)
"""Adds parts of networks up to groups, ``(n_groups, n_parts)``."""


class Sample(NamedTuple):
    """A network measured on the new device."""

    network: OpGraph | OnnxModel
    latency_ms: float
    batch: int = 1


@dataclass(frozen=True)
class Agreement:
    """How a method foretells each sample from the others."""

    method: str
    median_ape: float
    """Percent."""
    spearman: float
    spread: float
    """Root mean square of the logarithmic errors."""


def adapt_tables(known: Sequence[LatencyTable], samples: Sequence[Sample]) -> tuple[LatencyTable, list[Agreement]]:
    """Return the known table nearest to the new device, corrected for it, and how well methods agree with the samples.

    The transfer (`hw_cost.transfer`) foretells random networks; the corrected table is the one that says the same.
    The device of the returned table is still the known one: the caller knows the new one.

    Args:
        known: tables of other devices; those whose runtime is not installed here, or cannot run one of the networks,
            play no part.
        samples: at least `MIN_NETWORKS` networks.

    Raises:
        ValueError: too few samples, impossible latencies, or no table that can be used.
    """
    if len(samples) < MIN_NETWORKS:
        raise ValueError(f"at least {MIN_NETWORKS} measured networks are needed to adapt, got {len(samples)}")
    told = _told([table for table in known if _is_usable(table)], samples)
    tables = [table for table, _ in told]
    measured = np.array([sample.latency_ms for sample in samples])
    runtimes = [table.runtime for table in tables]
    drawn = [network.graph for network in random_networks(N_REFERENCE, seed=REFERENCE_SEED)]
    random = [Sample(graph, 0.0) for graph in drawn if not any(runtime.unsupported(graph) for runtime in runtimes)]
    reference, contributions = _contributions([_ask(table, random) for table in tables]), _contributions(told)
    features = Features.of(np.concatenate([reference, contributions]), len(tables))
    adapted = adapt_to(features, contributions, measured)
    agreements = _leave_one_out(features, contributions, measured)
    nearest = int(np.argmax(adapted.proxy_weights[1 : 1 + len(tables)]))
    foretold, _ = adapted.predict(reference)
    sums = 1e3 * np.concatenate([reference, contributions])[:, :, nearest]
    base, factors = solve(sums, 1e3 * np.concatenate([foretold, measured]))
    spread = agreements[0].spread * (1 + 2 / len(samples))
    table, by_group = tables[nearest], dict(zip(GROUPS, factors.tolist(), strict=True))
    scales = {part: table.correction.scale(part) * by_group[group] for part, group in PARTS.items()}
    correction = Correction(base, scales, max(0.02, spread), len(samples))
    return LatencyTable(table.device, table.rows, correction, table.reference_us), agreements


def _is_usable(table: LatencyTable) -> bool:
    try:
        table.runtime.version()
    except RuntimeMissing:
        return False
    return True


Told = tuple[LatencyTable, list[list[Kernel]]]
"""A table, and the kernels that its runtime makes of each network."""


def _told(tables: Sequence[LatencyTable], samples: Sequence[Sample]) -> list[Told]:
    """Return the tables whose runtime can run all networks, each with the kernels of every network."""
    told, why = list[Told](), "No known latency table has a runtime that is installed here; please install one."
    for table in tables:
        try:
            told.append(_ask(table, samples))
        except ModelError as error:
            why = str(error)
    if not told:
        raise ValueError(why)
    return told


def _ask(table: LatencyTable, samples: Sequence[Sample]) -> Told:
    return table, [table.runtime.kernels(sample.network, sample.batch) for sample in samples]


def _contributions(told: Sequence[Told]) -> np.ndarray:
    """Return milliseconds by group on each known device, then FLOPs, bytes and kernels: ``(n, groups, devices + 3)``.

    Physical work is counted on the kernels of the first table's runtime.
    """
    columns = []
    for table, networks in told:
        scales = np.array([table.correction.scale(part) for part in PARTS])
        sums = [part_sums((k, table.kernel_cost(k).latency_us) for k in kernels) for kernels in networks]
        columns.append(1e-3 * (np.array(sums) * scales) @ _BY_GROUP.T)
    physics = np.array([_physics(kernels) for kernels in told[0][1]])
    return np.concatenate([np.stack(columns, axis=2), physics], axis=2)


def _physics(kernels: Sequence[Kernel]) -> np.ndarray:
    totals = np.zeros((len(GROUPS), 3))
    for kernel in kernels:
        (part, *_) = parts_of(kernel)
        work = work_of(kernel) or {"flops": 0, "bytes": 0}
        totals[GROUPS.index(PARTS[part])] += (work["flops"], work["bytes"], 1)
    return totals


def _leave_one_out(features: Features, contributions: np.ndarray, measured: np.ndarray) -> list[Agreement]:
    """Foretell each sample from the others by transfer, by an additive model, and by the best single device."""
    devices = contributions[:, :, : features.n_machines]
    groups, totals = devices.mean(axis=2), devices.sum(axis=1)
    foretold = {method: measured.copy() for method in ("transfer", "additive", "best proxy")}
    for k in range(len(measured)):
        others = np.arange(len(measured)) != k
        adapted = adapt_to(features, contributions[others], measured[others])
        foretold["transfer"][k] = adapted.predict(contributions[[k]])[0][0]
        base, weights = additive_baseline(groups[others], measured[others])
        foretold["additive"][k] = base + groups[k] @ weights
        proxy, intercept, slope = best_proxy(totals[others], measured[others])
        foretold["best proxy"][k] = np.exp(intercept + slope * np.log(totals[k, proxy]))
    return [_agreement(method, values, measured) for method, values in foretold.items()]


def _agreement(method: str, foretold: np.ndarray, measured: np.ndarray) -> Agreement:
    errors = np.abs(foretold / measured - 1)
    logs = np.log(np.maximum(foretold / measured, 0.01))
    return Agreement(
        method, 100 * float(np.median(errors)), spearman(foretold, measured), float(np.sqrt(np.mean(np.square(logs))))
    )
