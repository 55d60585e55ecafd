"""A Gaussian model of one more row of the matrix of errors: prior from the store, posterior in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio.completion import complete
from portfolio.encoding import encode
from portfolio.improvement import expected_improvement
from portfolio.scaling import Scaling, shift_and_scale
from portfolio.table import Floats, Ints, Table

NOISE, OFFSET, COUPLING, LENGTH = 0.1, 0.1, 0.3, 0.7
"""Variances in units of the store's mean variance: what no factor explains; a shift of the whole task; what is shared
by configurations with alike hyperparameters instead of by history. LENGTH: kernel length, in median distances."""
LOCALITY = 0.5
"""How far a target's covariance leans on its similar tasks; 0 = all tasks alike."""
MOST_LANDMARKS, MOST_HYPOTHESES, SERIOUS = 96, 256, 1e-3
MOST_CELLS = 200_000
"""At most so many hypotheses × configurations are looked at, the most probable hypotheses first."""
LARGE = 3000
"""Above so many configurations fewer directions and landmarks are kept, for speed."""


@dataclass(frozen=True)
class Prior:
    """What is expected of a target before its first result, on the common scale."""

    mean: Floats
    """Shape ``(c,)``."""
    loadings: Floats
    """Covariance = ``loadings @ loadings.T`` + diagonal noise; shape ``(c, r)``."""
    variance: Floats
    """Diagonal of ``loadings @ loadings.T``, shape ``(c,)``."""
    log_weights: Floats
    """Log of the prior probability of each hypothesis of shift and scale, shape ``(h,)``."""


@dataclass(frozen=True)
class Posterior:
    """What is expected of a target after its results, in the target's own units."""

    mean: Floats
    """Expected error, shape ``(c,)``."""
    deviation: Floats
    """Standard deviation of a new evaluation, shape ``(c,)``."""
    improvement: Floats
    """Expected improvement on the best so far, shape ``(c,)``."""


class FactorModel:
    """Task rows are draws ``z ~ N(m, V S Vᵀ + K + D)`` seen through an unknown shift a and scale s: ``y = a + s z``.

    V are the principal directions of the completed store and S the (similarity-weighted) covariance of the stored
    tasks' coordinates, so that the prior of the task's factors depends on its metafeatures; K joins configurations by
    their hyperparameters (Nyström features of an RBF kernel) plus a common offset; D is diagonal. (a, s) is unknown
    for a new task: each stored task's pair is a hypothesis, weighted by its evidence, and all are averaged.
    """

    def __init__(self, table: Table, weights: Floats, *, scaling: Scaling = "regret", seed: int = 0) -> None:
        """Learn the store.

        Args:
            table: At least one task.
            weights: Weight of each task, shape ``(t,)``, sum 1.
            scaling: How errors of different tasks are made comparable.
            seed: Decides landmarks and hypotheses when there are many.
        """
        rng = np.random.default_rng(seed)
        encoding = encode(table.configurations)
        self.shift, self.scale = shift_and_scale(table.errors, scaling)
        scaled = (table.errors - self.shift[:, None]) / self.scale[:, None]
        filled, uncertain = complete(scaled, encoding)
        self.weights = weights
        self._centre = weights @ filled
        self.directions, self.coordinates = principal(filled - self._centre)
        spread = np.einsum("cr,rs,cs->c", self.directions, self._covariance(weights), self.directions)
        unit = max(float(spread.mean()), 1e-9)
        self.noise = NOISE * unit + uncertain
        amplitude = 0.5 * np.sqrt(spread) + 0.5 * np.sqrt(spread.mean())
        kernel = _landmark_features(encoding, rng)
        self.share = COUPLING if kernel.shape[1] else 0.0
        common = np.full((len(spread), 1), np.sqrt(OFFSET * unit))
        self.fixed = np.column_stack([np.sqrt(self.share) * amplitude[:, None] * kernel, common])
        self._hypotheses = _spread_out(len(weights), rng)

    def prior(self, weights: Floats) -> Prior:
        """Return the prior of a target to which the stored tasks are alike by ``weights``, shape ``(t,)``, sum 1."""
        covariance = self._covariance((1 - LOCALITY) * self.weights + LOCALITY * weights)
        values, vectors = np.linalg.eigh((1 - self.share) * covariance)
        keep = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
        root = vectors[:, keep] * np.sqrt(values[keep])
        loadings = np.column_stack([self.directions @ root, self.fixed])
        return Prior(
            mean=self._centre + self.directions @ (weights @ self.coordinates),
            loadings=loadings,
            variance=(loadings**2).sum(axis=1),
            log_weights=np.log(weights[self._hypotheses] + 1e-12),
        )

    def posterior(self, prior: Prior, seen: Ints, errors: Floats, best: float) -> Posterior:
        """Condition on results.

        Args:
            prior: Of the target.
            seen: Columns with a result, shape ``(o,)``; o may be 0.
            errors: Their errors, shape ``(o,)``.
            best: Best error so far in the target's units; inf if none.
        """
        shift, scale, log_weights = self._with_own_scale(prior, seen, errors)
        own = prior.loadings[seen]
        root = np.linalg.cholesky(own @ own.T + np.diag(self.noise[seen]))
        gain = np.linalg.solve(root, own) @ prior.loadings.T
        residual = (errors - shift[:, None]) / scale[:, None] - prior.mean[seen]
        whitened = np.linalg.solve(root, residual.T)
        # log evidence of N(a + s m, s² (B Bᵀ + D)), up to what all hypotheses share
        evidence = -0.5 * (whitened**2).sum(axis=0) - len(seen) * np.log(scale) + log_weights
        probability = np.exp(evidence - evidence.max())
        serious = np.argsort(-probability)[: max(MOST_CELLS // len(prior.mean), 4)]
        serious = serious[probability[serious] > SERIOUS * probability.sum()]
        p = probability[serious] / probability[serious].sum()
        a, s = shift[serious], scale[serious]
        means = prior.mean + whitened[:, serious].T @ gain
        variance = np.maximum(prior.variance - (gain**2).sum(axis=0), 0.0) + self.noise
        mean = p @ (a[:, None] + s[:, None] * means)
        second = p @ (s[:, None] ** 2 * (variance + means**2) + 2 * (a * s)[:, None] * means + (a**2)[:, None])
        target = (best - a) / s if np.isfinite(best) else np.full(len(p), float(means.mean(axis=0).min()))
        improvement = (p * s) @ expected_improvement(means, np.sqrt(variance)[None, :], target[:, None])
        return Posterior(mean, np.sqrt(np.maximum(second - mean**2, 1e-300)), improvement)

    def _covariance(self, weights: Floats) -> Floats:
        """Covariance of the stored tasks' coordinates around the store's centre, shape ``(r, r)``."""
        return np.asarray((self.coordinates * weights[:, None]).T @ self.coordinates)

    def _with_own_scale(self, prior: Prior, seen: Ints, errors: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the hypotheses (shift, scale, log weight), with one more that is read off the target's results.

        It has little weight; it matters when the target's errors lie on a scale that no stored task has.
        """
        shift, scale, log_weights = self.shift[self._hypotheses], self.scale[self._hypotheses], prior.log_weights
        if len(errors) < 3 or not errors.std() > 0:
            return shift, scale, log_weights
        typical = np.sqrt(prior.variance[seen].mean() + self.noise[seen].mean())
        own = float(errors.std() / typical)
        place = float(errors.mean() - own * prior.mean[seen].mean())
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
