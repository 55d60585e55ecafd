"""From the sums of kernels to a network: what whole networks measured on the device have shown.

Kernels of a network do not take quite what they take alone, and neither do all sorts of them alike. Each part of a
network has a scale, and what is left is a smooth function of what the network is made of: networks of like parts err
alike. How far it errs is told by those near to it, each left out of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw_cost.kernel_residual import KernelResidual
from hw_cost.kernels import Kernel
from hw_cost.residual import Residual

GROUPS = ("dense", "trees", "conv", "small")
"""Kernels that few measured networks can tell apart: those of three kinds, and all others."""
PARTS = {
    "call": "small",
    "row": "dense",
    "rows": "dense",
    "products": "small",
    "trees for a row": "trees",
    "trees for rows": "trees",
    **dict.fromkeys(("convolutions", "pointwise", "depthwise", "stems", "plain convolutions"), "conv"),
    **dict.fromkeys(("pools", "layouts", "copies", "others"), "small"),
}
"""Kernels that many measured networks can tell apart -> their group."""
_OF_OPERATOR = {
    **dict.fromkeys(("NchwcConv", "QLinearConv", "Convolution"), "convolutions"),
    **dict.fromkeys(("NchwcPointwise", "QLinearPointwise"), "pointwise"),
    **dict.fromkeys(("NchwcDepthwise", "QLinearDepthwise", "Depthwise", "GroupConvolution"), "depthwise"),
    **dict.fromkeys(("NchwcStem", "QLinearStem"), "stems"),
}
_OF_KIND = {
    "call": "call",
    "conv": "plain convolutions",
    **dict.fromkeys(("product", "batched"), "products"),
    **{"pool": "pools", "reorder": "layouts", "copy": "copies"},
}
SENSITIVITY = 20.0
"""Shares of a network are told apart from about its inverse on."""
PRIOR_NETWORKS = 5.0
"""Networks that the error of all together counts for beside those near to one."""


def parts_of(kernel: Kernel) -> dict[str, float]:
    """Return the parts that a kernel belongs to, and how much of it; one on few rows is between two."""
    if kernel.kind in {"dense", "trees"}:
        one, several = ("row", "rows") if kernel.kind == "dense" else ("trees for a row", "trees for rows")
        alone = 1 / max(1, kernel.sizes["rows"])
        return {one: alone, several: 1 - alone}
    return {_OF_OPERATOR.get(kernel.op.split(":")[0], _OF_KIND.get(kernel.kind, "others")): 1.0}


def part_sums(latencies_us: Iterable[tuple[Kernel, float]]) -> np.ndarray:
    """Return the microseconds of each of `PARTS`, ``(n_parts,)``."""
    sums = dict.fromkeys(PARTS, 0.0)
    for kernel, latency in latencies_us:
        for part, share in parts_of(kernel).items():
            sums[part] += share * latency
    return np.array(list(sums.values()))


def features(sums: np.ndarray, n_kernels: np.ndarray) -> np.ndarray:
    """Return what a network is made of: its logarithmic latency, the shares of its parts, its number of kernels.

    **Shape**
    - sums: ``(n, n_parts)``, n_kernels: ``(n,)``; result: ``(n, n_parts + 2)``
    """
    totals = sums.sum(axis=1, keepdims=True)
    return np.column_stack([np.log(totals), np.log1p(SENSITIVITY * sums / totals), np.log(n_kernels)])


@dataclass(frozen=True)
class Experience:
    """Networks that were measured, and how far each was off."""

    residual: Residual
    """Logarithmic error of a network by what it is made of: it tells which networks are near to one. Older tables,
    which know no errors of kernels, foretell by it as well."""
    quantile: float
    """Nine in ten errors are below so many times what the networks nearby show."""
    kernels: KernelResidual | None = None
    """Logarithmic errors of kernels in the scaled sum."""

    def factor(self, made_of: np.ndarray) -> float:
        """Return what a network of ``(d,)`` features takes, relative to the sum of its kernels."""
        if self.kernels is not None:
            return 1.0
        return math.exp(float(self.residual.predict(made_of[None])[0]))

    def spread(self, made_of: np.ndarray) -> float:
        """Return the logarithmic error that networks nearby show."""
        points = (made_of - self.residual.centers) / self.residual.lengths
        return float(nearby_errors(points[None], self.residual.points, self.residual.left_out)[0])


def nearby_errors(at: np.ndarray, points: np.ndarray, errors: np.ndarray, *, but_itself: bool = False) -> np.ndarray:
    """Return the root mean square of errors, those near to a point counting most.

    **Shape**
    - at: ``(m, d)``, points: ``(n, d)``, errors: ``(n,)``; result: ``(m,)``
    """
    squares = np.square(at[:, None] - points[None]).sum(axis=2)
    weights = np.exp(-0.5 * squares) * (1 - np.eye(len(at)) if but_itself else 1.0)
    total = weights @ np.square(errors) + PRIOR_NETWORKS * np.mean(np.square(errors))
    result: np.ndarray = np.sqrt(total / (weights.sum(axis=1) + PRIOR_NETWORKS))
    return result


@dataclass(frozen=True)
class Correction:
    """From the kernels to a network: latency = (base + sum of scale * kernel * its experience) * that of the network.

    Fitted on networks that were measured end to end.
    """

    base_us: float = 0.0
    scales: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(GROUPS, 1.0))
    """Part of a network, or one of `GROUPS` of them -> factor."""
    spread: float = 0.25
    """Standard deviation of the logarithmic error that remains, over all networks."""
    networks: int = 0
    """Networks behind the fit; 0 means that nothing was corrected."""
    experience: Experience | None = None
    """None where there were too few networks to tell them apart."""

    def scale(self, part: str) -> float:
        """Return the factor of a part; tables of few networks know its group alone, or even less."""
        return next(self.scales[name] for name in (part, PARTS[part], "small") if name in self.scales)

    def scaled(self, kernels: Sequence[Kernel], latencies_us: np.ndarray) -> np.ndarray:
        """Return microseconds of the kernels in a network from those that each takes alone, ``(n,)``."""
        scales = {part: self.scale(part) for part in PARTS}
        factors = [sum(share * scales[part] for part, share in parts_of(kernel).items()) for kernel in kernels]
        result: np.ndarray = latencies_us * np.array(factors)
        return result

    def network(self, kernels: Sequence[Kernel], latencies_us: np.ndarray) -> float:
        """Return microseconds of a network from those that each of its kernels takes alone.

        It is never less than half of their sum.
        """
        scaled = self.scaled(kernels, latencies_us)
        if self.experience is not None and self.experience.kernels is not None:
            scaled = scaled * np.exp(self.experience.kernels.predict(kernels))
        return float(max(0.5 * latencies_us.sum(), self.base_us + scaled.sum()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        told: dict[str, Any] = {"base_us": self.base_us, "scales": dict(self.scales), "spread": self.spread}
        told["networks"] = self.networks
        if self.experience is not None:
            residual = {name: np.round(values, 5).tolist() for name, values in vars(self.experience.residual).items()}
            told["experience"] = {"quantile": self.experience.quantile, **residual}
            if self.experience.kernels is not None:
                told["experience"]["kernels"] = self.experience.kernels.to_json()
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Correction:
        """Return the correction that `to_json` described.

        Raises:
            TypeError, KeyError, ValueError: it is damaged.
        """
        rest = {name: value for name, value in told.items() if name != "experience"}
        if told.get("experience") is None:
            return cls(**rest)
        experience = dict(told["experience"])
        kernels = experience.pop("kernels", None)
        arrays = {name: np.array(value, dtype=float) for name, value in experience.items()}
        quantile = float(arrays.pop("quantile"))
        of_kernels = None if kernels is None else KernelResidual.from_json(kernels)
        return cls(**rest, experience=Experience(Residual(**arrays), quantile, of_kernels))
