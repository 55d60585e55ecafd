"""What the kernels of networks leave unexplained, shared out among them.

Only whole networks are timed: the error of a kernel is never seen, but the sum of many. To first order the logarithm of
a network's latency moves by the logarithmic errors of its kernels, each weighted with its share of the latency. With a
Gaussian process for each operator, on the logarithms of its sizes, such a weighted sum is one again (Rasmussen &
Williams 2006, section 9.4), so that networks tell the processes of their kernels in closed form. Each is held up by a
few kernels (the projected process, section 8.3.4). The shares follow the errors in a few rounds (Gauss and Newton).
Far from all kernels of an operator, what they have in common is left.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from hw_cost.kernels import Kernel, work_of
from hw_cost.residual import covariance

MOST_POINTS = 48
"""Kernels of an operator that hold its process up."""
LENGTHS = (1.0, 2.0, 4.0)
"""Standard deviations of a feature that are tried as its length."""
VARIANCES = (0.03, 0.1, 0.3)
"""Of the logarithmic error of a kernel, tried."""
NOISES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Variances of what is left of that of a network, tried."""
OFFSET = 0.02
"""Variance of the error that all kernels of an operator have in common."""
JITTER, LEAST_SCALE = 1e-6, 1e-6
ROUNDS = 3
MOST_TOLD = 50_000
"""Kernels whose error is remembered: networks of a search share many."""
OUTLIER = 3.0
"""Left-out errors above so many times their scale count less (Huber 1964, p. 74)."""
MOST = 3.0
"""No kernel's logarithmic error is foretold to be above."""


@dataclass(frozen=True)
class TimedNetwork:
    """A network that was measured."""

    kernels: Sequence[Kernel]
    latencies_us: np.ndarray
    """Foretold, of each kernel, ``(n_kernels,)``."""
    rest_us: float
    """What is foretold beside them."""
    measured_us: float
    variance: float = 0.0
    """Of the logarithm of what was measured."""


@dataclass(frozen=True)
class Process:
    """The logarithmic error of the kernels of one operator, as a function of their sizes."""

    centers: np.ndarray
    lengths: np.ndarray
    """Of each feature, in its own unit, ``(d,)``."""
    points: np.ndarray
    """Features of the kernels that hold it up, in units of their lengths, ``(m, d)``."""
    weights: np.ndarray
    """Of the points, ``(m,)``."""
    offset: float
    """What all kernels of the operator have in common."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the errors of ``(n, d)`` features, ``(n,)``."""
        near = covariance((features - self.centers) / self.lengths, self.points)
        result: np.ndarray = np.clip(near @ self.weights + self.offset, -MOST, MOST)
        return result


@dataclass(frozen=True)
class KernelResidual:
    """Processes of all operators that the measured networks have."""

    processes: Mapping[str, Process]

    def predict(self, kernels: Sequence[Kernel]) -> np.ndarray:
        """Return the logarithmic error of each kernel, ``(n,)``; 0 for unknown operators."""
        new = defaultdict[str, list[Kernel]](list)
        for kernel in dict.fromkeys(kernels):
            if kernel not in self._told:
                new[kernel.op].append(kernel)
        if len(self._told) > MOST_TOLD:
            self._told.clear()
            return self.predict(kernels)
        for op, own in new.items():
            process, rows = self.processes.get(op), np.array([features(kernel) for kernel in own])
            fits = process is not None and rows.shape[1] == len(process.centers)
            self._told.update(zip(own, process.predict(rows) if process and fits else np.zeros(len(own)), strict=True))
        return np.array([self._told[kernel] for kernel in kernels])

    @cached_property
    def _told(self) -> dict[Kernel, float]:
        return {}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            op: {name: np.round(values, 4).tolist() for name, values in vars(process).items()}
            for op, process in self.processes.items()
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Mapping[str, Any]]) -> KernelResidual:
        """Return what `to_json` described.

        Raises:
            TypeError, ValueError: it is damaged.
        """
        return cls({op: _process(**values) for op, values in told.items()})


def features(kernel: Kernel) -> list[float]:
    """Return the logarithms of a kernel's sizes, and of its FLOPs and bytes where these are known."""
    work = work_of(kernel) or {}
    return [math.log(max(0.5, value)) for value in (*kernel.sizes.values(), *work.values())]


def fit_kernel_residual(networks: Sequence[TimedNetwork]) -> tuple[KernelResidual, np.ndarray]:
    """Fit the processes of all operators; return them, and the error of each network when it is left out, ``(n,)``.

    Errors are logarithms of measured over foretold. Length, variance and noise are those of the greatest likelihood.
    """
    operators = _operators(networks)
    bases = {(op, length): own.basis(length) for op, own in operators.items() for length in LENGTHS}
    measured, trust = np.log([network.measured_us for network in networks]), np.ones(len(networks))
    known = np.array([network.variance for network in networks])
    errors = [np.zeros(len(network.kernels)) for network in networks]
    for _ in range(ROUNDS):
        shares, foretold = _shares(networks, errors)
        target = measured - foretold + [weights @ own for weights, own in zip(shares, errors, strict=True)]
        sums = _sums(networks, shares, operators)
        tried = []
        for length in LENGTHS:
            designs = {op: sums[op] @ bases[op, length] for op in operators}
            common = np.column_stack([sums[op].sum(axis=1) for op in operators])
            smooth, shared = sum(part @ part.T for part in designs.values()), OFFSET * common @ common.T
            for variance, noise in itertools.product(VARIANCES, NOISES):
                answer = _regress(variance * smooth + shared, (noise + known) / trust, target)
                tried.append((answer.likelihood, length, variance, answer, designs))
        _, length, variance, answer, designs = max(tried, key=lambda one: one[0])
        processes = {
            op: own.process(
                length, variance * designs[op].T @ answer.weights, OFFSET * sums[op].sum(axis=1) @ answer.weights
            )
            for op, own in operators.items()
        }
        residual = KernelResidual(processes)
        errors = [residual.predict(network.kernels) for network in networks]
        sizes = np.abs(answer.left_out)
        trust = np.minimum(1.0, OUTLIER * 1.4826 * np.median(sizes) / np.maximum(sizes, 1e-9))
    return residual, answer.left_out


@dataclass(frozen=True)
class _Answer:
    likelihood: float
    weights: np.ndarray
    """Of the networks, ``(n,)``."""
    left_out: np.ndarray


def _regress(kernel: np.ndarray, noise: np.ndarray, target: np.ndarray) -> _Answer:
    """Return the regression on a covariance (Rasmussen & Williams 2006, eq. 2.25, 2.30 and 5.12)."""
    factor = cho_factor(kernel + np.diag(noise), lower=True)
    inverse = cho_solve(factor, np.eye(len(target)))
    weights = inverse @ target
    likelihood = -0.5 * float(target @ weights) - float(np.log(np.diag(factor[0])).sum())
    return _Answer(likelihood, weights, weights / np.diag(inverse))


@dataclass(frozen=True)
class _Operator:
    """The kernels of an operator that the networks have."""

    places: Mapping[str, int]
    """Kernel -> row of its features."""
    centers: np.ndarray
    scales: np.ndarray
    standard: np.ndarray
    """Features with mean 0 and variance 1, ``(u, d)``."""
    points: np.ndarray
    """Those that hold the process up, ``(m, d)``."""

    @classmethod
    def of(cls, kernels: Mapping[str, Kernel]) -> _Operator:
        rows = np.array([features(kernel) for kernel in kernels.values()])
        centers, scales = rows.mean(axis=0), rows.std(axis=0)
        scales[scales < LEAST_SCALE] = 1.0
        standard = (rows - centers) / scales
        return cls({name: k for k, name in enumerate(kernels)}, centers, scales, standard, _spread_out(standard))

    def basis(self, length: float) -> np.ndarray:
        """Return a process of unit variance at all kernels as a sum of independent normal numbers, ``(u, m)``."""
        near = covariance(self.points / length, self.standard / length)
        result: np.ndarray = solve_triangular(self._root(length), near, lower=True).T
        return result

    def process(self, length: float, numbers: np.ndarray, offset: float) -> Process:
        """Return the process that such numbers, ``(m,)``, make."""
        weights = solve_triangular(self._root(length), numbers, lower=True, trans="T")
        return Process(self.centers, self.scales * length, self.points / length, weights, float(offset))

    def _root(self, length: float) -> np.ndarray:
        points = self.points / length
        result: np.ndarray = cholesky(covariance(points, points) + JITTER * np.eye(len(points)), lower=True)
        return result


def _operators(networks: Sequence[TimedNetwork]) -> dict[str, _Operator]:
    kernels = defaultdict[str, dict[str, Kernel]](dict)
    for network in networks:
        for kernel in network.kernels:
            kernels[kernel.op][str(kernel)] = kernel
    return {op: _Operator.of(own) for op, own in kernels.items()}


def _spread_out(rows: np.ndarray) -> np.ndarray:
    """Return up to `MOST_POINTS` of the rows, each as far as can be from those before (Gonzalez 1985)."""
    chosen = [int(np.argmin(np.square(rows).sum(axis=1)))]
    distances = np.square(rows - rows[chosen[0]]).sum(axis=1)
    while len(chosen) < min(MOST_POINTS, len(rows)) and distances.max() > LEAST_SCALE:
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.square(rows - rows[chosen[-1]]).sum(axis=1))
    return rows[chosen]


def _shares(networks: Sequence[TimedNetwork], errors: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the share of each kernel in its network, and the logarithm of what is foretold of each network."""
    shares, foretold = [], []
    for network, own in zip(networks, errors, strict=True):
        latencies = network.latencies_us * np.exp(own)
        total = max(float(latencies.sum()) + network.rest_us, 0.5 * float(latencies.sum()))
        shares.append(latencies / total)
        foretold.append(math.log(total))
    return shares, np.array(foretold)


def _sums(
    networks: Sequence[TimedNetwork], shares: Sequence[np.ndarray], operators: Mapping[str, _Operator]
) -> dict[str, np.ndarray]:
    """Return for each operator the shares of its kernels in each network, ``(n, u)``."""
    sums = {op: np.zeros((len(networks), len(own.standard))) for op, own in operators.items()}
    for row, (network, weights) in enumerate(zip(networks, shares, strict=True)):
        for kernel, weight in zip(network.kernels, weights, strict=True):
            sums[kernel.op][row, operators[kernel.op].places[str(kernel)]] += weight
    return sums


def _process(**told: Any) -> Process:
    offset = float(told.pop("offset"))
    arrays = {name: np.array(values, dtype=float) for name, values in told.items()}
    return Process(**arrays, offset=offset)
