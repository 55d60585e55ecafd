"""Scaling and noise of the factor model, chosen on the store: those under which left-out families are most probable."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from portfolio.factor_model import NOISE, FactorModel
from portfolio.scaling import Scaling, shift_and_scale
from portfolio.selection import FOLDS, family_folds, sample, targets_of
from portfolio.table import Floats, Table

SCALINGS: tuple[Scaling, ...] = ("regret", "log-regret", "zscore", "raw")
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)
MOST_SEEN = 60
"""Results of a left-out task that are looked at, drawn at random."""


@dataclass(frozen=True)
class Calibration:
    """How the factor model sees errors."""

    scaling: Scaling = "regret"
    noise: float = NOISE
    """In units of the store's mean variance."""
    reason: str = "as asked for"


def calibrate(table: Table, *, seed: int = 0) -> Calibration:
    """Return the scaling and noise with the highest leave-one-out density on tasks of left-out families.

    The density of each result given the others of its task (closed form: Rasmussen & Williams 2006, eqs. 5.10 to 5.12),
    in the task's own units, so that scalings can be compared; mean over results, then over families.
    """
    rng = np.random.default_rng(seed)
    small = sample(table, rng)
    chosen = targets_of(small, rng)
    if len(np.unique(small.families)) < 4 or len(small.ids) < 3 or not len(chosen):
        return Calibration(reason="too few families to compare on")
    seen = [_some(np.flatnonzero(np.isfinite(small.errors[task])), rng) for task in chosen]
    folds = family_folds(small.families, FOLDS, seed)
    density = np.zeros((len(SCALINGS), len(NOISES), len(chosen)))
    for (k, scaling), fold in product(enumerate(SCALINGS), np.unique(folds[chosen])):
        rest = small.rows(folds != fold)
        model = FactorModel(rest, rest.task_weights, scaling=scaling, seed=seed)
        for place in np.flatnonzero(folds[chosen] == fold):
            density[k, :, place] = _density(model, small.errors[chosen[place]], seen[place], scaling)
    weights = small.task_weights[chosen]
    score = density @ (weights / weights.sum())
    best, noise = divmod(int(np.argmax(score)), len(NOISES))
    said = ", ".join(f"{scaling} {value:.2f}" for scaling, value in zip(SCALINGS, score.max(axis=1), strict=True))
    reason = f"log density of {len(chosen)} stored tasks with families left out: {said}"
    return Calibration(SCALINGS[best], NOISES[noise], reason)


def _some(columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return columns if len(columns) <= MOST_SEEN else np.sort(rng.choice(columns, MOST_SEEN, replace=False))


def _density(model: FactorModel, errors: Floats, seen: np.ndarray, scaling: Scaling) -> list[float]:
    """Return the mean log density of the seen results of one task, each given the others, for each of ``NOISES``."""
    shift, scale = shift_and_scale(errors[None, :], scaling)
    scaled = (errors[seen] - shift[0]) / scale[0]
    residual = model.warp.forward(scaled) - model.centre[seen]
    change = float(model.warp.log_slope(scaled).mean() - np.log(scale[0]))
    covariance = model.loadings[seen] @ model.loadings[seen].T
    densities = []
    for noise in NOISES:
        inverse = np.linalg.inv(covariance + np.diag(noise * model.unit + model.uncertain[seen]))
        variance = 1.0 / np.diag(inverse)
        squared = (inverse @ residual) ** 2 * variance
        densities.append(change - 0.5 * float((np.log(2 * np.pi * variance) + squared).mean()))
    return densities
