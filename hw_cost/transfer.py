"""A new device from a few measured networks, by way of devices that are known.

What a network costs is told as contributions: milliseconds of each group of operators on each known device, an array
``(n_networks, n_groups, n_devices)``. The last devices may be physical ones (FLOPs, bytes, number of kernels): corners
of a roofline instead of machines. The new device is taken to be

    latency = scale * (1 + slope * proxy + groups + factors + level^growth * noise)

where *proxy* is one known device, be it a physical one, or the average machine, *groups* lets every group of operators
be faster or slower than on the average machine (the additive model, as a residual), and *factors* lets all known
devices have a say. The *level* is the network's latency on the average machine: errors are absolute or relative. Which
proxy, how much of each residual and of noise is not chosen: every combination is a Bayesian linear regression, and all
of them are averaged by their evidence (Hoeting et al. 1999; Rasmussen & Williams 2006, eq. 2.30). The grid of variances
was chosen by leaving out families of devices among HELP's training devices (`experiments.latency_transfer`).
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
NOISE_GROWTHS = (0.0, 1.0)
"""Exponent of the level in the noise: the same for all networks, or relative to what they cost."""
SLOPE_VARIANCE = 0.25
LEAST_QUAD = 0.1
"""Prior sum of squares of the scale: keeps the evidence finite when a candidate explains all samples exactly."""
LEAST_LEVEL = 0.05
"""No network counts as faster than this, relative to the mean one."""
LEAST_SHARE = 0.2
"""No prediction is below this share of what the average device foretells."""
MIN_SAMPLES = 2
LEVEL_Z = 1.645
"""Half width of a 90 % interval in standard deviations."""


@dataclass(frozen=True)
class Features:
    """Turns contributions into features with unit spread over the networks that it was made from."""

    center: np.ndarray
    """Mean contribution, ``(n_groups, n_devices)``."""
    spread: np.ndarray
    """Standard deviation of the whole networks on each device, ``(n_devices,)``, same unit as the contributions."""
    n_machines: int
    group_scale: float = 1.0
    factor_scale: float = 1.0

    @classmethod
    def of(cls, contributions: np.ndarray, n_machines: int | None = None) -> Features:
        """Return the features of reference networks.

        Args:
            contributions: ``(n_networks, n_groups, n_devices)``.
            n_machines: the devices that are machines, the first ones; all of them when None.
        """
        contributions = np.asarray(contributions, dtype=float)
        if contributions.ndim != 3 or len(contributions) < 2:
            raise ValueError(f"contributions must be (n_networks >= 2, groups, devices), got {contributions.shape}")
        spread = contributions.sum(axis=1).std(axis=0)
        raw = cls(contributions.mean(axis=0), np.where(spread > 0, spread, 1.0), n_machines or contributions.shape[2])
        _, groups, factors = raw.parts(contributions)
        return cls(raw.center, raw.spread, raw.n_machines, _root_mean_square(groups), _root_mean_square(factors))

    def parts(self, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features of proxies ``(n, 1 + n_devices)``, groups ``(n, n_groups)``, factors ``(n, n_devices)``."""
        relative = (contributions - self.center) / self.spread
        machines = relative[:, :, : self.n_machines]
        devices = relative.sum(axis=1)
        average = machines.mean(axis=2)
        proxies = np.column_stack([average.sum(axis=1), devices])
        return proxies, average / self.group_scale, devices / self.factor_scale

    def matrix(self, contributions: np.ndarray) -> np.ndarray:
        """Return a constant and all features, ``(n, n_features)``."""
        return np.column_stack([np.ones(len(contributions)), *self.parts(contributions)])

    def level(self, contributions: np.ndarray) -> np.ndarray:
        """Return the latency on the average machine relative to that of the mean reference network, ``(n,)``."""
        machines = slice(self.n_machines)
        ratios = contributions[:, :, machines].sum(axis=1) / self.center[:, machines].sum(axis=0)
        return np.asarray(np.maximum(ratios.mean(axis=1), LEAST_LEVEL))

    def proportional(self) -> np.ndarray:
        """Return the weight of each proxy with which a latency is proportional to the proxy's, ``(n_features,)``."""
        slopes = self.spread / self.center.sum(axis=0)
        n_others = self.center.shape[0] + self.center.shape[1]
        return np.concatenate([[0.0, slopes[: self.n_machines].mean()], slopes, np.zeros(n_others)])

    def priors(self) -> np.ndarray:
        """Return the prior variance of each weight under each candidate, ``(n_candidates, n_features)``."""
        n_groups, n_devices = self.center.shape
        rows = []
        for proxy, groups, factors in product(range(1 + n_devices), GROUP_VARIANCES, FACTOR_VARIANCES):
            slopes = SLOPE_VARIANCE * np.eye(1 + n_devices)[proxy]
            rows.append(np.concatenate([[1.0], slopes, np.full(n_groups, groups), np.full(n_devices, factors)]))
        return np.array(rows)


@dataclass(frozen=True)
class Adapted:
    """What few samples say about a new device."""

    features: Features
    scale: float
    """Latency of a network of level 1, in the samples' unit."""
    weights: np.ndarray
    """Posterior mean of the weights of the features, ``(n_features,)``."""
    covariance: np.ndarray
    """Posterior covariance of the weights, over all candidates."""
    noise: tuple[float, ...]
    """Variance of what the features do not explain, relative to the scale, for each of `NOISE_GROWTHS`."""
    proxy_weights: np.ndarray
    """Posterior probability of each proxy: the average machine first, then each device."""

    def predict(self, contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the latency of networks and its standard deviation, ``(n,)`` each, in the samples' unit.

        A latency is never below `LEAST_SHARE` of what the average device foretells: physics is positive.
        """
        matrix, level = self.features.matrix(contributions), self.features.level(contributions)
        latency = self.scale * np.maximum(1 + matrix @ self.weights, LEAST_SHARE * level)
        variance = np.einsum("nf,fg,ng->n", matrix, self.covariance, matrix)
        noise = sum(value * level ** (2 * growth) for value, growth in zip(self.noise, NOISE_GROWTHS, strict=True))
        return latency, self.scale * np.sqrt(np.maximum(variance, 0) + noise)

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
    level = features.level(contributions)
    scale = float(np.exp(np.log(latencies / level).mean()))
    matrix, priors = features.matrix(contributions), features.priors()
    prior_mean = features.proportional() * (latencies / scale).std() / max(level.std(), 1e-12)
    prior_mean = prior_mean * (priors > 0)  # the new device spreads networks as far as its samples show
    regression = _Regression(matrix, latencies / scale - 1, level)
    return regression.average(features, scale, prior_mean, priors)


@dataclass(frozen=True)
class _Regression:
    """The samples: features, latency relative to the scale less 1, and level."""

    matrix: np.ndarray
    relative: np.ndarray
    level: np.ndarray

    def average(self, features: Features, scale: float, prior_mean: np.ndarray, priors: np.ndarray) -> Adapted:
        """Regress under every prior of the weights, noise variance and growth, and average by evidence."""
        n, matrix = len(self.relative), self.matrix
        noises = np.array([(variance, growth) for growth in NOISE_GROWTHS for variance in NOISE_VARIANCES])
        prior_mean, priors = (np.repeat(values, len(noises), axis=0) for values in (prior_mean, priors))
        variances, growths = np.tile(noises, (len(priors) // len(noises), 1)).T
        noise = variances[:, None] * self.level ** (2 * growths[:, None])
        weighted = priors[:, :, None] * matrix.T  # candidates, features, samples
        kernels = matrix @ weighted + noise[:, :, None] * np.eye(n)
        residuals = self.relative - prior_mean @ matrix.T
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
        by_growth = tuple(float((share * unit * variances)[growths == growth].sum()) for growth in NOISE_GROWTHS)
        by_proxy = share.reshape(1 + features.center.shape[1], -1).sum(axis=1)
        return Adapted(features, scale, weights, covariance, by_growth, by_proxy)


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
