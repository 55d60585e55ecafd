"""All that is known of a task before its first trial: shape, metafeatures, what similar tasks say, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import platformdirs

from hw_cost.runtimes import RuntimeMissing
from metaml.data import N_FOLDS, Split, Task, make_splits
from metaml.errors import UsageError
from metaml.history import history_of_space, upgraded
from metaml.latency import DeviceTable, LatencyModel
from metaml.metrics import Metric, metric_for
from metaml.proposals import LatencyLimit, Proposer
from metaml.request import SearchRequest
from metaml.space import SPACES, SearchSpace
from metaml.store import Store
from metaml.trial import Configuration
from metaml.views import DESCRIPTIONS, describe_task
from metaml.zero_cost import ZeroCost
from portfolio import WARM_STARTERS, History, WarmStarter, load_default_history


@dataclass(frozen=True)
class Context:
    """A task, ready to be searched."""

    task: Task
    metric: Metric
    splits: tuple[Split, ...]
    metafeatures: pd.Series[float]
    history: History
    starter: WarmStarter
    """Fitted on `history`."""
    device: DeviceTable
    latency: LatencyModel
    space: SearchSpace
    """What is searched: the families that can run on the device."""

    def ensemble_latency(self, configurations: Sequence[Configuration]) -> tuple[float, float]:
        """Return the predicted latency of configurations as one network, and its upper bound, ms."""
        cost = self.latency.predict_ensemble(configurations)
        return cost.latency_ms, cost.high_ms

    def latency_limit(self, limit_ms: float | None) -> LatencyLimit:
        """Return what rejects configurations before training."""
        model = self.latency

        def predict(configuration: Configuration) -> tuple[float, float]:
            cost = model.predict(configuration)
            return cost.latency_ms, cost.high_ms

        return LatencyLimit(predict, limit_ms)

    def _promise(self, request: SearchRequest) -> ZeroCost | None:
        """Return what scores untrained networks, if that is asked for."""
        return None if request.zero_cost is None else ZeroCost(request.zero_cost, self.task, seed=request.seed)

    def proposer(self, request: SearchRequest) -> Proposer:
        """Return what decides on the trials of a search."""
        return Proposer(
            self.starter,
            self.history,
            self.metafeatures,
            self.space,
            self.latency_limit(request.max_latency_ms),
            seed=request.seed,
            promise=self._promise(request),
        )


def prepare(request: SearchRequest, task: Task, store: Store | None, device: DeviceTable) -> Context:
    """Describe a task and fit the warm-starter on what is remembered of others.

    Args:
        request: metric, warm-starter, batch and seed are taken from it.
        task: what is to be searched; its own results are left out of the history.
        store: past searches, beside the default history; None for the latter alone.
        device: the latency table.

    Raises:
        UsageError: the metric does not fit, or nothing that could be found runs on the device.
    """
    metric = metric_for(task.type, request.metric)
    latency = LatencyModel(device, task, batch=request.batch)
    space = runnable(SPACES[task.modality], latency)
    history = remembered(store, space, exclude=task.fingerprint)
    starter = WARM_STARTERS[request.warm_start](seed=request.seed)
    starter.cache = Path(platformdirs.user_cache_dir("metaml")) / "warm-start"
    return Context(
        task=task,
        metric=metric,
        splits=task.splits or make_splits(task.y, task.type, seed=request.seed, n_folds=N_FOLDS[task.modality]),
        metafeatures=describe_task(task, store=store),
        history=history,
        starter=starter.fit(history),
        device=device,
        latency=latency,
        space=space,
    )


def runnable(space: SearchSpace, latency: LatencyModel) -> SearchSpace:
    """Return a search space without the families that the device's runtime cannot run for the task.

    Raises:
        UsageError: it can run none.
    """
    device, way_out = latency.device.table.device, "Please use the table of another runtime, such as --device cpu."
    if device.precision == "int8":
        raise UsageError(
            "The latency table is of int8 models, and a search trains models of fp32. Please give the table of fp32 of "
            "that device, and --compress int8 for an answer in int8."
        )
    try:
        missing = {name: set(latency.unsupported(space.default(name))) for name in space.families}
    except RuntimeMissing as error:
        raise UsageError(f"{error} Without it nothing tells which kernels a network becomes. {way_out}") from error
    strangers = [name for name, operators in missing.items() if operators]
    if len(strangers) < len(missing):
        return space.without(strangers) if strangers else space
    unknown = set.intersection(*missing.values()) or set.union(*missing.values())
    raise UsageError(f"{device.runtime} can run no model of this task, for {', '.join(sorted(unknown))}. {way_out}")


def remembered(store: Store | None, space: SearchSpace, *, exclude: str) -> History:
    """Return the default history and the store's of a space, without the task `exclude`; the store's results win."""
    shipped = upgraded(load_default_history().drop_tasks([exclude]), space)
    history = shipped if shipped.configurations else History.empty()
    if store is None:
        return history
    version = DESCRIPTIONS[space.modality]
    return history.merge(history_of_space(store, space, exclude=[exclude], metafeatures_version=version))
