"""SMAC behind two verbs, ask and tell: the only file that imports smac."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

from smac import HyperparameterOptimizationFacade, Scenario
from smac.acquisition.maximizer import LocalAndSortedRandomSearch
from smac.main.exceptions import ConfigurationSpaceExhaustedException
from smac.model.random_forest.random_forest import RandomForest
from smac.runhistory import StatusType, TrialInfo, TrialValue

from metaml.space import SearchSpace
from metaml.trial import WORST_ERROR, Configuration, configuration_id

RETRAIN_AFTER = 4
"""The surrogate is trained again after this many new configurations."""
CHALLENGERS = 1000
"""Random points that the acquisition function is tried on."""
LOCAL_SEARCHES = 5
"""Local searches that start from the best of them."""
MAX_LEAVES = 4096
"""More than there are ever trials."""
_MANY = 1_000_000


class Tuner:
    """Bayesian optimisation with a random forest (SMAC, Lindauer et al. 2022) over the joined space.

    It remembers nothing between processes: a resumed search tells it all its trials again.

    Args:
        space: the joined space; a copy of its own is used.
        seed: fixes what is asked.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        logging.getLogger("smac").setLevel(logging.ERROR)
        self._search_space, self._space = space, space.build(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="metaml-smac-")
        scenario = Scenario(
            self._space,
            deterministic=True,
            n_trials=_MANY,
            crash_cost=WORST_ERROR,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        facade = HyperparameterOptimizationFacade
        self._smac = facade(
            scenario,
            _never_called,
            model=_forest(scenario),
            initial_design=facade.get_initial_design(scenario, n_configs=0, additional_configs=[]),
            config_selector=facade.get_config_selector(scenario, retrain_after=RETRAIN_AFTER),
            acquisition_maximizer=LocalAndSortedRandomSearch(
                self._space,
                challengers=CHALLENGERS,
                local_search_iterations=LOCAL_SEARCHES,
                max_steps=20,
                seed=seed,
            ),
            logging_level=False,
            overwrite=True,
        )
        self._asked: dict[str, TrialInfo] = {}
        self._trial_seed: int | None = 0
        """SMAC evaluates all configurations under one seed: that of the first told trial, or its own."""

    def ask(self) -> Configuration | None:
        """Return a configuration worth trying, or None when the space is exhausted."""
        try:
            with warnings.catch_warnings():  # of numpy, about inactive hyperparameters
                warnings.simplefilter("ignore", RuntimeWarning)
                info = self._smac.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):
            return None
        configuration = self._search_space.to_configuration(info.config)
        self._asked[configuration_id(configuration)] = info
        self._trial_seed = info.seed
        return configuration

    def tell(self, configuration: Configuration, cost: float, *, seconds: float = 0.0) -> None:
        """Report the cost of a configuration, whether it was asked for or not; illegal ones are passed over."""
        info = self._asked.pop(configuration_id(configuration), None)
        if info is None:
            try:
                point = self._search_space.to_point(configuration, self._space)
            except ValueError:
                return
            info = TrialInfo(point, seed=self._trial_seed)
        self._smac.tell(info, TrialValue(cost=cost, time=seconds, status=StatusType.SUCCESS), save=False)

    def tell_all(self, results: Iterable[tuple[Configuration, float]]) -> None:
        """Report many results."""
        for configuration, cost in results:
            self.tell(configuration, cost)

    def close(self) -> None:
        """Remove SMAC's private folder."""
        self._folder.cleanup()


def _forest(scenario: Scenario) -> RandomForest:
    """Return the facade's own forest, 20 x as fast: on one thread, and with room for as many leaves as can occur.

    SMAC asks it for one point at a time, so that handing out the work to all cores takes longer than the work. Its
    limit of 2**20 leaves makes scikit-learn set aside 100 MB for every tree.
    """
    return RandomForest(
        scenario.configspace,
        n_trees=10,
        ratio_features=1.0,
        min_samples_split=2,
        min_samples_leaf=1,
        max_depth=2**20,
        max_leaf_nodes=MAX_LEAVES,
        bootstrapping=True,
        log_y=True,
        n_jobs=1,
        seed=scenario.seed,
    )


def _never_called(config: object, seed: int = 0) -> float:  # noqa: ARG001  SMAC wants it even for ask and tell
    raise RuntimeError("trials run in metaml.runners, not in SMAC")
