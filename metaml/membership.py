"""Which trials form the ensemble that is delivered: good together, fast enough together, and trained in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from metaml.ensembles import MAX_CANDIDATES, Choice, Judge, average, choose
from metaml.predictions import FoldPredictions, read_predictions
from metaml.refits import pays_bagged, refit_seconds
from metaml.run_folder import RunFolder
from metaml.trial import Configuration, Trial

MIN_GAIN = 0.0
"""Share of the single model's error that an ensemble must save on rows that it was not chosen on."""
CHOOSING_SHARE = 0.1
"""Share of the time left that choosing may take."""
BAGGING_SHARE = 0.8
"""Share of the time that training with bags may be foreseen to take: where one is late, none is left to fit once."""

Latency = Callable[[Sequence[Configuration]], tuple[float, float]]
"""Configurations of an ensemble's members -> predicted latency and its upper bound, ms."""


@dataclass(frozen=True)
class Ensemble:
    """Trials with their weights, and what is known of them together before they are trained again."""

    weights: Mapping[int, float]
    """Trial number -> weight, heaviest first."""
    error: float
    """Normalised error on the validation rows."""
    metrics: Mapping[str, float]
    """Raw metrics on the validation rows, averaged over the folds."""
    latency_ms: float
    """Predicted."""


@dataclass(frozen=True)
class Membership:
    """Chooses ensembles from a run's trials."""

    judge: Judge
    folder: RunFolder
    """Holds the validation predictions."""
    latency: Latency
    limit_ms: float | None
    max_members: int
    workers: int
    """Members that are trained side by side."""
    bags: bool = True
    """Whether members may be bagged."""

    def choose(self, trials: Sequence[Trial], seconds: float) -> Ensemble | None:
        """Return the ensemble to deliver, or None where a single model is as good.

        Args:
            trials: successful ones, best first.
            seconds: time for choosing and for training all members again.
        """
        by_number = {trial.number: trial for trial in trials}
        predictions = self._predictions(trials[:MAX_CANDIDATES])
        if len(predictions) < 2:
            return None
        choosing = CHOOSING_SHARE * seconds
        choice = choose(
            self.judge,
            predictions,
            max_members=self.max_members,
            allowed=self._rule(by_number, seconds - choosing),
            seconds=choosing,
        )
        if choice is None or not self._is_better(choice, trials[0]):
            return None
        return self._describe(choice.weights, predictions, by_number)

    def bagged(self, trials: Sequence[Trial], seconds: float) -> frozenset[int]:
        """Return the numbers of the members to train on the rows of each fold, where those are delivered together.

        The first ones first, as far as the latency limit and the time allow. On the few rows of a cross-validated task
        that helps most: docs/ensembles.md.
        """
        chosen, n_folds = frozenset[int](), len(self.judge.truths)
        for trial in trials if self.bags and n_folds > 1 else ():
            tried = chosen | {trial.number}
            times = [refit_seconds(other, n_folds, bagged=other.number in tried) for other in trials]
            in_time = max(max(times), sum(times) / self.workers) <= BAGGING_SHARE * seconds
            if in_time and pays_bagged(trial) and self._keeps(self.predicted(trials, tried)[1]):
                chosen = tried
        return chosen

    def predicted(self, trials: Sequence[Trial], bagged: Set[int]) -> tuple[float, float]:
        """Return the predicted latency of trials as one network, some of them bagged, and its upper bound, ms."""
        copies = {trial.number: len(self.judge.truths) if trial.number in bagged else 1 for trial in trials}
        return self.latency([trial.configuration for trial in trials for _ in range(copies[trial.number])])

    def without(self, ensemble: Ensemble, trials: Sequence[Trial], kept: set[int]) -> Ensemble | None:
        """Return what is left of an ensemble; None where that is no better than the best trial."""
        by_number = {trial.number: trial for trial in trials}
        weights = {number: weight for number, weight in ensemble.weights.items() if number in kept}
        if len(weights) < 2:
            return None
        total = sum(weights.values())
        shares = {number: weight / total for number, weight in weights.items()}
        left = self._describe(shares, self._predictions([by_number[number] for number in shares]), by_number)
        return left if left.error < (trials[0].error or 0.0) else None

    def _predictions(self, trials: Sequence[Trial]) -> dict[int, FoldPredictions]:
        k = self.judge.n_outputs
        shapes = [(len(y), k) if k > 1 else (len(y),) for y in self.judge.truths]
        read = {trial.number: read_predictions(self.folder.predictions(trial.number), shapes) for trial in trials}
        return {number: folds for number, folds in read.items() if folds is not None}

    def _rule(self, trials: Mapping[int, Trial], seconds: float) -> Callable[[frozenset[int]], bool]:
        known: dict[frozenset[int], bool] = {}
        n_folds = len(self.judge.truths)

        def allowed(numbers: frozenset[int]) -> bool:
            if numbers not in known:
                times = [refit_seconds(trials[number], n_folds) for number in numbers]
                in_time = max(max(times), sum(times) / self.workers) <= seconds
                known[numbers] = (in_time or len(numbers) == 1) and self._is_fast(numbers, trials)
            return known[numbers]

        return allowed

    def _is_fast(self, numbers: frozenset[int], trials: Mapping[int, Trial]) -> bool:
        """Whether the upper bound of the predicted latency keeps the limit; single trials have been checked before."""
        if len(numbers) == 1:
            return True
        return self._keeps(self.latency([trials[number].configuration for number in sorted(numbers)])[1])

    def _keeps(self, high_ms: float) -> bool:
        return math.isfinite(high_ms) and (self.limit_ms is None or high_ms <= self.limit_ms)

    def _is_better(self, choice: Choice, best: Trial) -> bool:
        return len(choice.weights) > 1 and choice.confirmed_gain > MIN_GAIN and choice.error < (best.error or 0.0)

    def _describe(
        self,
        weights: Mapping[int, float],
        predictions: Mapping[int, FoldPredictions],
        trials: Mapping[int, Trial],
    ) -> Ensemble:
        folds = average(predictions, weights)
        latency = self.latency([trials[number].configuration for number in weights])[0]
        return Ensemble(weights, self.judge.error(folds), self.judge.metrics(folds), latency)
