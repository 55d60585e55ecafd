"""A Gaussian model of one more row of the matrix of errors: prior from the store, posterior in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio.completion import complete
from portfolio.encoding import encode
from portfolio.scaling import Scaling, regret, shift_and_scale, warp_of
from portfolio.table import Floats, Ints, Table

NOISE = 0.1
"""Variance that no factor explains, in units of the store's mean variance, unless it was chosen on the store."""
OFFSET, COUPLING, LENGTH = 0.1, 0.3, 0.7
"""Variance of a shift of the whole task; share of what configurations with alike hyperparameters have in common instead
of by history; length of that kernel, in median distances."""
MOST_LANDMARKS, MOST_HYPOTHESES, SERIOUS = 96, 256, 1e-3
MOST_CELLS = 200_000
"""At most so many hypotheses × configurations are looked at, the most probable hypotheses first."""
LARGE = 3000
"""Above so many configurations fewer directions and landmarks are kept, for speed."""


@dataclass(frozen=True)
class Prior:
    """What is expected of a target before its first result."""

    mean: Floats
    """On the common (warped) scale, shape ``(c,)``."""
    log_weights: Floats
    """Log of the prior probability of each hypothesis of shift and scale, shape ``(h,)``."""


@dataclass(frozen=True)
class Posterior:
    """What is expected of a target after its results, in the target's own units."""

    mean: Floats
    """Expected error (where errors are warped: mean over hypotheses of the median), shape ``(c,)``."""
    deviation: Floats
    """Standard deviation of a new evaluation (where errors are warped: from its central 68 %), shape ``(c,)``."""
    improvement: Floats
    """Expected improvement on the best so far, shape ``(c,)``."""


class FactorModel:
    """Task rows are draws ``z ~ N(m, V S Vᵀ + K + D)`` seen through an unknown shift a and scale s: ``y = a + s w(z)``.

    V are the principal directions of the completed store, S the covariance of the stored tasks' coordinates; m leans
    towards similar tasks, so that the prior of the task's factors depends on its metafeatures; K joins configurations
    by their hyperparameters (Nyström features of an RBF kernel) plus a common offset; D is diagonal; w undoes the
    warping of the scaling. (a, s) is unknown for a new task: each stored task's pair is a hypothesis, weighted by its
    evidence, and all are averaged.
    """

    def __init__(
        self, table: Table, weights: Floats, *, scaling: Scaling = "regret", noise: float = NOISE, seed: int = 0
    ) -> None:
        """Learn the store.

        Args:
            table: At least one task.
            weights: Weight of each task, shape ``(t,)``, sum 1.
            scaling: How errors of different tasks are made comparable.
            noise: Variance that no factor explains, in units of the store's mean variance.
            seed: Decides landmarks and hypotheses when there are many.
        """
        rng = np.random.default_rng(seed)
        encoding = encode(table.configurations)
        self.warp = warp_of(scaling)
        self.shift, self.scale = shift_and_scale(table.errors, scaling)
        scaled = self.warp.forward((table.errors - self.shift[:, None]) / self.scale[:, None])
        filled, self.uncertain = complete(scaled, encoding)
        self.weights = weights
        self.centre = weights @ filled
        self.directions, self.coordinates = principal(filled - self.centre)
        root = _root((self.coordinates * weights[:, None]).T @ self.coordinates)
        linear = self.directions @ root
        spread = (linear**2).sum(axis=1)
        self.unit = max(float(spread.mean()), 1e-9)
        self.noise = noise * self.unit + self.uncertain
        amplitude = 0.5 * np.sqrt(spread) + 0.5 * np.sqrt(spread.mean())
        kernel = _landmark_features(encoding, rng)
        self.share = COUPLING if kernel.shape[1] else 0.0
        common = np.full((len(spread), 1), np.sqrt(OFFSET * self.unit))
        self.fixed = np.column_stack([np.sqrt(self.share) * amplitude[:, None] * kernel, common])
        self.loadings = np.column_stack([np.sqrt(1 - self.share) * linear, self.fixed])
        self.hypotheses = _spread_out(len(weights), rng)

    @property
    def loadings(self) -> Floats:
        """Covariance = ``loadings @ loadings.T`` + diagonal noise; shape ``(c, r)``."""
        return self._loadings

    @loadings.setter
    def loadings(self, loadings: Floats) -> None:
        self._loadings = loadings
        self._variance = (loadings**2).sum(axis=1)

    def prior(self, weights: Floats) -> Prior:
        """Return the prior of a target to which the stored tasks are alike by ``weights``, shape ``(t,)``, sum 1."""
        mean = self.centre + self.directions @ (weights @ self.coordinates)
        return Prior(mean, np.log(weights[self.hypotheses] + 1e-12))

    def posterior(self, prior: Prior, seen: Ints, errors: Floats, best: float) -> Posterior:
        """Condition on results.

        Args:
            prior: Of the target.
            seen: Columns with a result, shape ``(o,)``; o may be 0.
            errors: Their errors, shape ``(o,)``.
            best: Best error so far in the target's units; inf if none.
        """
        shift, scale, log_weights = self._with_own_scale(prior, seen, errors)
        own = self.loadings[seen]
        root = np.linalg.cholesky(own @ own.T + np.diag(self.noise[seen]))
        gain = np.linalg.solve(root, own) @ self.loadings.T
        scaled = (errors - shift[:, None]) / scale[:, None]
        whitened = np.linalg.solve(root, (self.warp.forward(scaled) - prior.mean[seen]).T)
        # log density of the errors under a + s w(z), up to what all hypotheses share
        change = self.warp.log_slope(scaled).sum(axis=1) - len(seen) * np.log(scale)
        evidence = -0.5 * (whitened**2).sum(axis=0) + change + log_weights
        probability = np.exp(evidence - evidence.max())
        serious = np.argsort(-probability)[: max(MOST_CELLS // len(prior.mean), 4)]
        serious = serious[probability[serious] > SERIOUS * probability.sum()]
        p = probability[serious] / probability[serious].sum()
        a, s = shift[serious], scale[serious]
        means = prior.mean + whitened[:, serious].T @ gain
        deviation = np.sqrt(np.maximum(self._variance - (gain**2).sum(axis=0), 0.0) + self.noise)
        expected, width = self.warp.inverse(means), self._width(means, deviation)
        mean = p @ (a[:, None] + s[:, None] * expected)
        spread = p @ ((s[:, None] * width) ** 2 + (a[:, None] + s[:, None] * expected - mean) ** 2)
        target = (best - a) / s if np.isfinite(best) else np.full(len(p), float(expected.mean(axis=0).min()))
        improvement = (p * s) @ self.warp.improvement(means, deviation[None, :], target[:, None])
        return Posterior(mean, np.sqrt(spread), improvement)

    def _width(self, means: Floats, deviation: Floats) -> Floats:
        """Return half the width of the central 68 % on the scale before warping."""
        return np.asarray((self.warp.inverse(means + deviation) - self.warp.inverse(means - deviation)) / 2)

    def _with_own_scale(self, prior: Prior, seen: Ints, errors: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the hypotheses (shift, scale, log weight), with one more that is read off the target's results.

        It has little weight; it matters when the target's errors lie on a scale that no stored task has.
        """
        shift, scale, log_weights = self.shift[self.hypotheses], self.scale[self.hypotheses], prior.log_weights
        if len(errors) < 3 or not errors.std() > 0:
            return shift, scale, log_weights
        typical = np.sqrt(self._variance[seen] + self.noise[seen])
        own = float(errors.std() / max(float(self._width(prior.mean[seen], typical).mean()), 1e-9))
        place = float(errors.mean() - own * self.warp.inverse(prior.mean[seen]).mean())
        return np.append(shift, place), np.append(scale, own), np.append(log_weights, np.log(1e-3))


def principal(residual: Floats) -> tuple[Floats, Floats]:
    """Return orthonormal directions ``(c, r)`` and coordinates ``(t, r)``: ``coordinates @ directions.T`` ≈ residual.

    Exact (r = full rank, at most 256) up to ``LARGE`` configurations, the 48 leading directions above.
    """
    t, c = residual.shape
    most = 256 if c <= LARGE else 48
    if t <= c:
        values, left = np.linalg.eigh(residual @ residual.T)
        order = np.argsort(-values)[:most]
        order = order[values[order] > 1e-12 * max(float(values.max()), 1e-300)]
        root = np.sqrt(values[order])
        return residual.T @ left[:, order] / root, left[:, order] * root
    values, right = np.linalg.eigh(residual.T @ residual)
    directions = right[:, np.argsort(-values)[:most]]
    return directions, residual @ directions


def profiles(table: Table) -> Floats:
    """Return how each task rates configurations: coordinates of its regrets, leading directions first, ``(t, r)``."""
    loss = regret(table.errors)
    filled = np.where(np.isfinite(loss), loss, np.nanmean(loss))
    return principal(filled - table.task_weights @ filled)[1]


def _root(covariance: Floats) -> Floats:
    """Return B with ``B @ B.T`` = covariance, without the directions in which nothing varies."""
    values, vectors = np.linalg.eigh(covariance)
    keep = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
    return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def _landmark_features(encoding: Floats, rng: np.random.Generator) -> Floats:
    """Return Nyström features ``(c, m)`` of an RBF kernel on hyperparameters (Williams & Seeger 2001); m may be 0."""
    if encoding.shape[1] == 0:
        return np.zeros((len(encoding), 0))
    distinct = np.unique(encoding, axis=0)
    most = MOST_LANDMARKS if len(encoding) <= LARGE else MOST_LANDMARKS // 4
    chosen = distinct[rng.permutation(len(distinct))[:most]]
    between = _squared_distances(chosen, chosen)
    median = float(np.median(between[between > 0])) if (between > 0).any() else 1.0
    kernel = np.exp(-between / (2 * LENGTH**2 * median)) + 1e-6 * np.eye(len(chosen))
    cross = np.exp(-_squared_distances(encoding, chosen) / (2 * LENGTH**2 * median))
    return np.asarray(np.linalg.solve(np.linalg.cholesky(kernel), cross.T).T)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T, 0.0))


def _spread_out(count: int, rng: np.random.Generator) -> Ints:
    """Return which stored tasks lend their shift and scale as hypotheses."""
    if count <= MOST_HYPOTHESES:
        return np.arange(count)
    return np.sort(rng.choice(count, MOST_HYPOTHESES, replace=False))
