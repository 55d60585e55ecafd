"""A new device from a few measured networks, by way of devices that are known.

What a network costs is told as contributions: milliseconds of each group of operators on each known device, an array
``(n_networks, n_groups, n_devices)``. The last devices may be physical ones (FLOPs, bytes, number of kernels): corners
of a roofline instead of machines. The new device is taken to be

    latency = scale * (1 + slope * proxy + groups + factors + noise)

where *proxy* is one known device or their average, *groups* lets every group of operators be faster or slower than on
the average device (the additive model, as a residual), and *factors* lets all known devices have a say. Which proxy,
how much of each residual and how much noise is not chosen: every combination is a Bayesian linear regression, and all
of them are averaged by their evidence (Hoeting et al. 1999; Rasmussen & Williams 2006, eq. 2.30). The grid of
variances was chosen by leaving out families of devices among HELP's training devices (`experiments.latency_transfer`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

GROUP_VARIANCES = (0.01, 0.1)
"""Prior variance of the groups' deviation from the proxy, in units of its own spread over networks."""
FACTOR_VARIANCES = (0.0, 0.1, 1.0)
NOISE_VARIANCES = (1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0)
SLOPE_VARIANCE = 0.25
LEAST_QUAD = 0.1
"""Prior sum of squares of the scale: keeps the evidence finite when a candidate explains all samples exactly."""
MIN_SAMPLES = 3
LEVEL_Z = 1.645
"""Half width of a 90 % interval in standard deviations."""


@dataclass(frozen=True)
class Features:
    """Turns contributions into features with unit spread over the networks that it was made from."""

    center: np.ndarray
    """Mean contribution, ``(n_groups, n_devices)``."""
    spread: np.ndarray
    """Standard deviation of the whole networks on each device, ``(n_devices,)``, same unit as the contributions."""
    n_proxies: int
    group_scale: float = 1.0
    factor_scale: float = 1.0

    @classmethod
    def of(cls, contributions: np.ndarray, n_proxies: int | None = None) -> Features:
        """Return the features of reference networks.

        Args:
            contributions: ``(n_networks, n_groups, n_devices)``.
            n_proxies: the devices that are machines, the first ones; all of them when None.
        """
        contributions = np.asarray(contributions, dtype=float)
        if contributions.ndim != 3 or len(contributions) < 2:
            raise ValueError(f"contributions must be (n_networks >= 2, groups, devices), got {contributions.shape}")
        spread = contributions.sum(axis=1).std(axis=0)
        raw = cls(contributions.mean(axis=0), np.where(spread > 0, spread, 1.0), n_proxies or contributions.shape[2])
        _, groups, factors = raw.parts(contributions)
        return cls(raw.center, raw.spread, raw.n_proxies, _root_mean_square(groups), _root_mean_square(factors))

    def parts(self, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features of proxies ``(n, 1 + n_proxies)``, groups ``(n, n_groups)``, factors ``(n, n_devices)``."""
        relative = (contributions - self.center) / self.spread
        machines = relative[:, :, : self.n_proxies]
        devices = relative.sum(axis=1)
        average = machines.mean(axis=2)
        proxies = np.column_stack([average.sum(axis=1), devices[:, : self.n_proxies]])
        return proxies, average / self.group_scale, devices / self.factor_scale

    def matrix(self, contributions: np.ndarray) -> np.ndarray:
        """Return a constant and all features, ``(n, n_features)``."""
        return np.column_stack([np.ones(len(contributions)), *self.parts(contributions)])

    def priors(self) -> np.ndarray:
        """Return the prior variance of each weight under each candidate, ``(n_candidates, n_features)``."""
        n_groups, n_devices = self.center.shape
        rows = []
        for proxy, groups, factors in product(range(1 + self.n_proxies), GROUP_VARIANCES, FACTOR_VARIANCES):
            slopes = SLOPE_VARIANCE * np.eye(1 + self.n_proxies)[proxy]
            rows.append(np.concatenate([[1.0], slopes, np.full(n_groups, groups), np.full(n_devices, factors)]))
        return np.array(rows)


@dataclass(frozen=True)
class Adapted:
    """What few samples say about a new device."""

    features: Features
    scale: float
    """Mean latency of the samples, in their unit."""
    weights: np.ndarray
    """Posterior mean of the weights of the features, ``(n_features,)``."""
    covariance: np.ndarray
    """Posterior covariance of the weights, over all candidates."""
    noise: float
    """Standard deviation of what the features do not explain, relative to the scale."""
    proxy_weights: np.ndarray
    """Posterior probability of each proxy: their average first, then each known machine."""

    def predict(self, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the latency of networks and its standard deviation, ``(n,)`` each, in the samples' unit.

        A latency is never below a twentieth of the mean sample: the model is linear, physics is positive.
        """
        matrix = self.features.matrix(contributions)
        latency = self.scale * np.maximum(1 + matrix @ self.weights, 0.05)
        variance = np.einsum("nf,fg,ng->n", matrix, self.covariance, matrix)
        return latency, self.scale * np.sqrt(np.maximum(variance, 0) + self.noise**2)

    def interval(self, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the 90 % interval, ``(n,)`` each; positive."""
        latency, deviation = self.predict(contributions)
        factor = np.exp(LEVEL_Z * np.minimum(deviation / latency, math.log(4)))
        return latency / factor, latency * factor


def adapt_to(features: Features, contributions: np.ndarray, latencies: np.ndarray) -> Adapted:
    """Learn a new device.

    Args:
        features: made from reference networks on the known devices.
        contributions: of the measured networks, ``(n_samples, n_groups, n_devices)``.
        latencies: as measured on the new device, ``(n_samples,)``, positive, any unit.

    Raises:
        ValueError: too few samples, or latencies that are not positive.
    """
    latencies = np.asarray(latencies, dtype=float)
    n = len(latencies)
    if n < MIN_SAMPLES:
        raise ValueError(f"at least {MIN_SAMPLES} measured networks are needed to adapt, got {n}")
    if not (np.isfinite(latencies).all() and (latencies > 0).all()):
        raise ValueError("every measured latency must be a positive number")
    scale = float(latencies.mean())
    relative = latencies / scale - 1
    matrix, priors = features.matrix(contributions), features.priors()
    prior_mean = np.zeros_like(priors)
    slopes = slice(1, 2 + features.n_proxies)
    prior_mean[:, slopes] = relative.std() * (priors[:, slopes] > 0)  # it spreads networks as far as the samples show
    priors, prior_mean = (np.repeat(values, len(NOISE_VARIANCES), axis=0) for values in (priors, prior_mean))
    noises = np.resize(NOISE_VARIANCES, len(priors))
    return _average(features, scale, matrix, relative, (prior_mean, priors, noises))


def _average(
    features: Features,
    scale: float,
    matrix: np.ndarray,
    relative: np.ndarray,
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Adapted:
    """Regress under every candidate (prior mean and variance of the weights, noise) and average by evidence."""
    prior_mean, priors, noises = candidates
    n = len(relative)
    weighted = priors[:, :, None] * matrix.T  # candidates, features, samples
    kernels = matrix @ weighted + noises[:, None, None] * np.eye(n)
    residuals = relative - prior_mean @ matrix.T
    solved = np.linalg.solve(kernels, residuals[:, :, None])[:, :, 0]
    quad = np.einsum("cn,cn->c", residuals, solved) + LEAST_QUAD
    evidence = -0.5 * np.linalg.slogdet(kernels)[1] - 0.5 * (n + 1) * np.log(quad)
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    means = prior_mean + np.einsum("cfn,cn->cf", weighted, solved)
    weights = share @ means
    unit = quad / (n + 1)  # variance that a candidate's unit stands for
    shrinkage = np.einsum("c,cfn,cgn->fg", share * unit, weighted, np.linalg.solve(kernels, weighted.mT).mT)
    covariance = np.diag((share * unit) @ priors) - shrinkage
    covariance += np.einsum("c,cf,cg->fg", share, means - weights, means - weights)
    by_proxy = share.reshape(1 + features.n_proxies, -1).sum(axis=1)
    return Adapted(features, scale, weights, covariance, math.sqrt(share @ (unit * noises)), by_proxy)


def additive_baseline(features: np.ndarray, latencies: np.ndarray, ridge: float = 1e-3) -> tuple[float, np.ndarray]:
    """Return base and weights of latency = base + features @ weights, fitted to the samples alone.

    **Shape**
    - features: ``(n_samples, n_groups)``, latencies: ``(n_samples,)``
    """
    scale = np.maximum(np.abs(features).max(axis=0), 1e-12)
    design = np.column_stack([np.ones(len(features)), features / scale])
    penalty = ridge * len(features) * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ latencies)
    return float(solution[0]), solution[1:] / scale


def best_proxy(devices: np.ndarray, latencies: np.ndarray) -> tuple[int, float, float]:
    """Return the known device that alone explains the samples best, and intercept and slope of the logarithms.

    **Shape**
    - devices: latencies on known devices, ``(n_samples, n_devices)``, latencies: ``(n_samples,)``
    """
    logs, target = np.log(devices), np.log(latencies)
    fits = list[tuple[float, int, float, float]]()
    for device in range(devices.shape[1]):
        design = np.column_stack([np.ones(len(target)), logs[:, device]])
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        error = float(np.square(design @ solution - target).sum())
        fits.append((error, device, float(solution[0]), float(solution[1])))
    _, device, intercept, slope = min(fits)
    return device, intercept, slope


def most_informative(features: Features, contributions: np.ndarray, n: int, noise: float = 0.1) -> list[int]:
    """Return the networks to measure that tell most: greedily the one of which the earlier ones know least.

    A D-optimal design under the average proxy (Fedorov 1972): each choice maximises the determinant of the kernel.
    """
    matrix = features.matrix(contributions) * np.sqrt(features.priors().mean(axis=0))
    variances, directions = np.square(matrix).sum(axis=1), np.empty((len(matrix), 0))
    chosen: list[int] = []
    for _ in range(min(n, len(matrix))):
        best = int(np.argmax(np.where(np.isin(np.arange(len(matrix)), chosen), -np.inf, variances)))
        covariances = matrix @ matrix[best] - directions @ directions[best]
        direction = covariances / math.sqrt(variances[best] + noise)
        directions = np.column_stack([directions, direction])
        variances = variances - np.square(direction)
        chosen.append(best)
    return chosen


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).sum(axis=1).mean())) or 1.0
