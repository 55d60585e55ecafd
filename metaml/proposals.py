"""Decides what to try next; never what is too slow.

Past results come first, then the families' defaults; then neighbours of the best trial and SMAC take turns. Local
search is hard to beat where good configurations lie together (White et al. 2021), SMAC sees the whole space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import pandas as pd

from metaml.models import TorchFamily
from metaml.space import SearchSpace
from metaml.trial import WORST_ERROR, Configuration, Trial, configuration_id
from metaml.tuner import Tuner
from portfolio import History, Target, WarmStarter

MAX_WARM = 12
"""At most this many configurations come from past results before SMAC takes over."""
MIN_WARM = 4
"""The families' defaults are tried as well when past results gave fewer than this."""
ASKS = 24
"""How often SMAC is asked for a configuration that is fast enough before random ones are screened."""
STEPS = 8
"""Neighbours of the best trial that are looked at for one that is new and fast enough."""
FILTERED = 16
"""Random networks of which a zero-cost score keeps the best."""


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, who proposed it, and its predicted latency in ms (None without a latency table)."""

    configuration: Configuration
    source: str
    latency_ms: float | None = None


@dataclass(frozen=True)
class LatencyLimit:
    """Predicts (latency, upper bound) in ms, and the limit that the upper bound must keep; None for no limit.

    An infinite upper bound, of a network that cannot run on the device, keeps none.
    """

    predict: Callable[[Configuration], tuple[float, float]] | None = None
    limit_ms: float | None = None

    def check(self, configuration: Configuration) -> tuple[float | None, float]:
        """Return the predicted latency, and the factor by which its upper bound exceeds the limit (at most 1: fine)."""
        if self.predict is None:
            return None, 0.0
        latency, high = self.predict(configuration)
        return latency, high / (self.limit_ms or math.inf) if math.isfinite(high) else math.inf


class Proposer:
    """Proposes configurations one by one; each is proposed once.

    Args:
        starter: a warm-starter fitted on `history`.
        history: past results of other tasks.
        metafeatures: those of the task.
        space: what is searched.
        latency: what is too slow.
        seed: of the optimiser, and of random configurations.
        promise: scores untrained networks, for every second configuration after past results; None for no such filter.
    """

    def __init__(
        self,
        starter: WarmStarter,
        history: History,
        metafeatures: pd.Series | None,
        space: SearchSpace,
        latency: LatencyLimit,
        *,
        seed: int = 0,
        promise: Callable[[Configuration], float] | None = None,
    ) -> None:
        self._promise, self._is_filtered, self._is_local = promise, False, False
        self._starter, self._history, self._metafeatures = starter, history, metafeatures
        self._space = space
        self._tuner: Tuner | None = None
        self._latency, self._seed = latency, seed
        self._seen: set[str] = set()
        self._trials: list[Trial] = []
        self._n_warm = 0
        self._defaults: list[Configuration] | None = None
        self._rejected: list[tuple[Proposal, float]] = []
        self.why = ""
        """Why the last warm-started configuration was proposed."""

    def next(self) -> Proposal | None:
        """Return a configuration that nobody tried yet and that is fast enough; None when there is none left."""
        for step in (
            self._from_past,
            self._from_defaults,
            self._from_filter,
            self._from_neighbours,
            self._from_tuner,
            self._from_random,
        ):
            proposal = step()
            if proposal is not None:
                return proposal
        return None

    def observe(self, trial: Trial, asked: Configuration | None = None) -> None:
        """Learn from a trial that ended; also from those of an interrupted run.

        Args:
            trial: what ended.
            asked: what was proposed, where the trial is of a shorter one: it would have come to the same.
        """
        self._seen.add(trial.configuration_id)
        self._trials.append(trial)
        if trial.source in ("portfolio", "knn", "pmf") and trial.status != "infeasible":
            self._n_warm += 1
        if self._tuner is not None:
            self._tuner.tell(trial.configuration, trial.cost, seconds=trial.seconds)
            if asked is not None and asked != trial.configuration:
                self._tuner.tell(asked, trial.cost, seconds=trial.seconds)

    def take_rejected(self) -> list[tuple[Proposal, float]]:
        """Return, once, the configurations that were too slow to be tried, with the factor by which they were."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def safe(self) -> Proposal | None:
        """Return the default of the quickest family, for a search that has no model and little time; once."""
        return self._accept(self._space.safe(), "default")

    def closest(self) -> Proposal | None:
        """Return the untried configuration of lowest predicted latency, for a limit that nothing seems to keep."""
        candidates = [c for c in self._screen() if configuration_id(c) not in self._seen]
        priced = [(self._latency.check(c)[0] or 0.0, c) for c in candidates]
        if not priced:
            return None
        latency, configuration = min(priced, key=lambda pair: pair[0])
        self._seen.add(configuration_id(configuration))
        return Proposal(configuration, "smallest", latency)

    def close(self) -> None:
        """Give back what the optimiser holds."""
        if self._tuner is not None:
            self._tuner.close()

    def _accept(self, configuration: Configuration, source: str) -> Proposal | None:
        """Return the proposal if it is new, legal and fast enough; note it as rejected if it is too slow."""
        name = configuration_id(configuration)
        if name in self._seen or not self._space.is_legal(configuration):
            return None
        self._seen.add(name)
        latency, excess = self._latency.check(configuration)
        proposal = Proposal(configuration, source, latency)
        if excess <= 1:
            return proposal
        self._rejected.append((proposal, excess))
        if self._tuner is not None:
            self._tuner.tell(configuration, _cost_of_excess(excess))
        return None

    def _from_past(self) -> Proposal | None:
        observed = {trial.configuration_id: trial.cost for trial in self._trials if trial.error is not None}
        target = Target(metafeatures=self._metafeatures, observed=observed)
        if self._n_warm >= MAX_WARM or self._starter.hand_over(target):
            return None
        pending = self._seen.intersection(self._history.configurations).difference(observed)
        ids = self._starter.propose(target, n=len(pending) + 1)
        sources = self._starter.sources(ids)
        for name in ids:
            proposal = self._accept(self._history.configurations[name], sources[name])
            if proposal is not None:
                self.why = self._starter.explain()
                return proposal
        return None

    def _from_defaults(self) -> Proposal | None:
        if self._defaults is None:
            self._defaults = self._space.defaults() if self._n_warm < MIN_WARM else []
        while self._defaults:
            proposal = self._accept(self._defaults.pop(0), "default")
            if proposal is not None:
                return proposal
        return None

    def _from_filter(self) -> Proposal | None:
        """Every second time, the most promising of some random networks that are fast enough."""
        self._is_filtered = self._promise is not None and not self._is_filtered
        if self._promise is None or not self._is_filtered:
            return None
        random = self._space.sample(self._space.n_screened, self._seed + len(self._seen))
        fast = (c for c in self._networks(random) if self._latency.check(c)[1] <= 1)
        scored = [(self._promise(configuration), configuration) for configuration in islice(fast, FILTERED)]
        return self._accept(max(scored, key=lambda pair: pair[0])[1], "zero-cost") if scored else None

    def _networks(self, configurations: list[Configuration]) -> list[Configuration]:
        is_network = {name: isinstance(family, TorchFamily) for name, family in self._space.families.items()}
        return [c for c in configurations if is_network[c["family"]] and configuration_id(c) not in self._seen]

    def _from_neighbours(self) -> Proposal | None:
        """Every second time, a step from the best trial."""
        ok = [trial for trial in self._trials if trial.status == "ok"]
        self._is_local = bool(ok) and not self._is_local
        if not self._is_local:
            return None
        best = min(ok, key=lambda trial: trial.cost)
        for step in range(STEPS):
            near = self._space.neighbour(best.configuration, self._seed + len(self._seen) + step)
            proposal = self._accept(near, "local")
            if proposal is not None:
                return proposal
        return None

    def _from_tuner(self) -> Proposal | None:
        if self._tuner is None:
            self._tuner = Tuner(self._space, seed=self._seed)
            self._tuner.tell_all((trial.configuration, trial.cost) for trial in self._trials)
            self._tuner.tell_all((slow.configuration, _cost_of_excess(excess)) for slow, excess in self._rejected)
        for _ in range(ASKS):
            configuration = self._tuner.ask()
            if configuration is None:
                return None
            proposal = self._accept(configuration, "smac")
            if proposal is not None:
                return proposal
        return None

    def _from_random(self) -> Proposal | None:
        for configuration in self._screen():
            if configuration_id(configuration) not in self._seen and self._latency.check(configuration)[1] <= 1:
                return self._accept(configuration, "random")
        return None

    def _screen(self) -> list[Configuration]:
        return self._space.defaults() + self._space.sample(self._space.n_screened, self._seed + len(self._seen))


def _cost_of_excess(excess: float) -> float:
    """Return what the optimiser is told of a configuration that is `excess` times too slow: worse the slower."""
    return min(WORST_ERROR, 1 + math.log10(excess))
