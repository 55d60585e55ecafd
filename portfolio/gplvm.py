"""GP-LVM: the factor model with a kernel on latent positions of the configurations instead of linear factors."""

from __future__ import annotations

import numpy as np

from portfolio.factor import Factorization
from portfolio.factor_model import FactorModel
from portfolio.table import Floats, Table

DIMENSIONS, MOST_LEARNED = 8, 600


class GpLvm(Factorization):
    """Fusi, Sheth & Elibol (2018) with the prior, the unknown scale and the acquisition of ``Factorization``."""

    name = "gplvm"

    def _build(self, table: Table) -> FactorModel:
        model = super()._build(table)
        return LatentModel(model, self.seed) if len(table.ids) > 1 and len(table.tasks) > 1 else model


class LatentModel(FactorModel):
    """A factor model whose covariance is an RBF kernel on learned latent positions, the same for every target.

    Positions start from the leading directions. Above ``MOST_LEARNED`` configurations the likelihood sees a random
    part of them, and the others keep their linear positions, scaled like the learned ones.
    """

    def __init__(self, linear: FactorModel, seed: int) -> None:
        """Take over what ``linear`` has learned and replace its covariance."""
        from portfolio.gplvm_torch import fit_latents  # torch takes a second to import: only who asks for it waits

        self.__dict__.update(linear.__dict__)
        rows = (linear.coordinates @ linear.directions.T) * np.sqrt(linear.weights * len(linear.weights))[:, None]
        start = linear.directions[:, :DIMENSIONS] * np.sqrt(len(linear.directions))
        count = len(start)
        learned = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_LEARNED])
        positions = start.copy()
        positions[learned], signal, noise = fit_latents(start[learned], rows[:, learned])
        self.noise = linear.noise - linear.noise.min() + max(noise, 1e-3 * float(linear.noise.min()))
        latent = np.sqrt((1 - self.share) * signal) * _features(positions, learned)
        self.loadings = np.column_stack([latent, self.fixed])


def _features(positions: Floats, learned: np.ndarray) -> Floats:
    """Return features ``(c, m)`` whose inner products are the RBF kernel (exact on up to 300 landmarks)."""
    marks = positions[learned[:: max(1, len(learned) // 300)]]

    def kernel(a: Floats) -> Floats:
        square = (a**2).sum(1)[:, None] + (marks**2).sum(1)[None, :] - 2 * a @ marks.T
        return np.asarray(np.exp(-0.5 * np.maximum(square, 0.0)))

    root = np.linalg.cholesky(kernel(marks) + 1e-6 * np.eye(len(marks)))
    return np.asarray(np.linalg.solve(root, kernel(positions).T).T)
