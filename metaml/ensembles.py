"""Greedy selection of ensembles from validation predictions (Caruana et al. 2004), with a check on held-out rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from metaml.metrics import Metric, constant_prediction, evaluate_prediction, metric_value, normalised_error
from metaml.predictions import FoldPredictions

MAX_PICKS = 20
"""Picks with replacement: a weight is a multiple of one over their number."""
PATIENCE = 4
"""The selection ends when so many picks in a row brought nothing."""
MAX_CANDIDATES = 30
"""Members are chosen among so many of the best trials."""
MAX_ROWS = 8192
"""Rows of a fold that a selection looks at; more make no difference that could be told from noise."""

Allowed = Callable[[frozenset[int]], bool]
"""Whether a set of trials, by number, may be members together: it is fast enough and can be trained in time."""


@dataclass(frozen=True)
class Judge:
    """Scores predictions of validation rows exactly as a trial is scored: the normalised error over all folds."""

    metric: Metric
    truths: tuple[np.ndarray, ...]
    """Target of each fold's validation rows, ``(n,)``."""
    n_outputs: int
    """Number of classes, or 1 for regression."""

    @cached_property
    def _constants(self) -> list[dict[str, float]]:
        """Metrics of the best constant prediction of each fold."""
        width = (self.n_outputs,) if self.n_outputs > 1 else ()
        return self._scores([constant_prediction(y, np.empty((len(y), *width))) for y in self.truths])

    def error(self, folds: Sequence[np.ndarray]) -> float:
        """Return the normalised error of one prediction for each fold."""
        return normalised_error(self.metric, self._scores(folds), self._constants)

    def metrics(self, folds: Sequence[np.ndarray]) -> dict[str, float]:
        """Return the raw metrics that are defined in every fold, averaged over the folds."""
        scores = [evaluate_prediction(y, fold) for y, fold in zip(self.truths, folds, strict=True)]
        names = set.intersection(*(set(score) for score in scores))
        return {name: float(np.mean([score[name] for score in scores])) for name in sorted(names)}

    @property
    def unit(self) -> float:
        """What differences of predictions are measured in: the target's standard deviation, or 1 for probabilities."""
        return float(np.concatenate(self.truths).std()) or 1.0 if self.n_outputs == 1 else 1.0

    def rows(self, chosen: Sequence[np.ndarray]) -> Judge:
        """Return a judge of some rows of each fold."""
        return replace(self, truths=tuple(y[rows] for y, rows in zip(self.truths, chosen, strict=True)))

    def _scores(self, folds: Sequence[np.ndarray]) -> list[dict[str, float]]:
        name = self.metric.name
        values = [metric_value(name, y, fold) for y, fold in zip(self.truths, folds, strict=True)]
        return [{name: value} if np.isfinite(value) else {} for value in values]


@dataclass(frozen=True)
class Choice:
    """Members of an ensemble."""

    weights: Mapping[int, float]
    """Trial number -> weight, heaviest first; they sum to 1."""
    error: float
    """Normalised error on the validation rows that it was chosen on."""
    confirmed_gain: float
    """By how much it beats the best single trial on rows that neither was chosen on, as a share of its error."""


def average(predictions: Mapping[int, FoldPredictions], weights: Mapping[int, float]) -> FoldPredictions:
    """Return the weighted mean of predictions, fold by fold; the weights need not sum to 1."""
    total = sum(weights.values())
    folds = zip(*(predictions[number] for number in weights), strict=True)
    shares = [weight / total for weight in weights.values()]
    return tuple(np.tensordot(shares, np.stack(members), axes=1) for members in folds)


def choose(
    judge: Judge,
    predictions: Mapping[int, FoldPredictions],
    *,
    max_members: int,
    allowed: Allowed = lambda _: True,
    seconds: float = 10.0,
) -> Choice | None:
    """Return the ensemble of lowest validation error, and what it gains on rows that it was not chosen on.

    The gain is cross-fitted: ensemble and best single trial are both chosen on one half of the rows and compared on
    the other, both ways round. It is therefore free of the advantage that a choice has on its own rows.

    Args:
        judge: knows the validation rows.
        predictions: trial number -> its predictions.
        max_members: at most this many different trials.
        allowed: whether trials may be members together.
        seconds: time for all of this; the selection ends early when it is up.

    Returns:
        None when no single trial is allowed.
    """
    ends = time.monotonic() + seconds
    thinned = _thinned(judge.truths)
    halves = _halves([y[rows] for y, rows in zip(judge.truths, thinned, strict=True)])
    views = [thinned, *([rows[part] for rows, part in zip(thinned, half, strict=True)] for half in halves)]
    judges = [judge.rows(view) for view in views]
    seen = [{n: _take(folds, view) for n, folds in predictions.items()} for view in views]
    picks = [
        _select(j, p, max_members=max_members, allowed=allowed, ends=ends) for j, p in zip(judges, seen, strict=True)
    ]
    if not picks[0]:
        return None
    gains = [
        _gain(judges[other], seen[other], picks[own], _best(judges[own], seen[own], allowed))
        for own, other in ((1, 2), (2, 1))
        if picks[own]
    ]
    weights = _weights(picks[0])
    return Choice(weights, judge.error(average(predictions, weights)), float(np.mean(gains)) if gains else 0.0)


def _select(
    judge: Judge,
    predictions: Mapping[int, FoldPredictions],
    *,
    max_members: int,
    allowed: Allowed,
    ends: float,
) -> list[int]:
    """Return the picks of the best ensemble on the greedy path; [] when nothing is allowed."""
    picks: list[int] = []
    total: FoldPredictions = tuple(np.zeros_like(fold) for fold in next(iter(predictions.values())))
    best, best_error = list[int](), float("inf")
    while len(picks) < MAX_PICKS and len(picks) < len(best) + PATIENCE and time.monotonic() < ends:
        n = len(picks) + 1
        ranked = sorted(
            (judge.error([(sum_ + fold) / n for sum_, fold in zip(total, folds, strict=True)]), number)
            for number, folds in predictions.items()
            if number in picks or len(set(picks)) < max_members
        )
        possible = (pair for pair in ranked if pair[1] in picks or allowed(frozenset({*picks, pair[1]})))
        error, number = next(possible, (float("inf"), -1))
        if number < 0:
            break
        picks.append(number)
        total = tuple(sum_ + fold for sum_, fold in zip(total, predictions[number], strict=True))
        if error < best_error:
            best, best_error = list(picks), error
    return best


def _best(judge: Judge, predictions: Mapping[int, FoldPredictions], allowed: Allowed) -> int:
    """Number of the best single trial that is allowed."""
    return min((n for n in predictions if allowed(frozenset({n}))), key=lambda n: judge.error(predictions[n]))


def _gain(judge: Judge, predictions: Mapping[int, FoldPredictions], picks: list[int], single: int) -> float:
    """Share of the single trial's error that the ensemble saves on the judge's rows."""
    alone = judge.error(predictions[single])
    together = judge.error(average(predictions, _weights(picks)))
    return (alone - together) / alone if alone > 0 else 0.0


def _weights(picks: list[int]) -> dict[int, float]:
    return {number: count / len(picks) for number, count in Counter(picks).most_common()}


def _take(folds: FoldPredictions, rows: Sequence[np.ndarray]) -> FoldPredictions:
    return tuple(fold[chosen] for fold, chosen in zip(folds, rows, strict=True))


def _thinned(truths: Sequence[np.ndarray]) -> list[np.ndarray]:
    """At most ``MAX_ROWS`` rows of each fold, spread evenly over the sorted targets."""
    orders = [np.argsort(y, kind="stable") for y in truths]
    return [np.sort(order[:: -(-len(order) // MAX_ROWS)]) for order in orders]


def _halves(truths: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Two halves of the rows of each fold, alike in their targets."""
    orders = [np.argsort(y, kind="stable") for y in truths]
    return [[np.sort(order[start::2]) for order in orders] for start in (0, 1)]
