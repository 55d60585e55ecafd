"""The search spaces: for each kind of task one categorical `family`, and below it the hyperparameters of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace
from ConfigSpace import Configuration as SpaceConfiguration
from ConfigSpace.hyperparameters import Hyperparameter
from ConfigSpace.util import deactivate_inactive_hyperparameters

from metaml.data import Modality
from metaml.models import FAMILIES, Family
from metaml.trial import Configuration

_DELIMITER = ":"
STEP = 0.2
"""Standard deviation of the step to a neighbour, as a share of a number's range: that of SMAC's local search."""
FEW = 8
"""Where so few values are left, ConfigSpace returns all of them when asked for as many."""

_TRAINED_AS_BEFORE: dict[str, Any] = {
    "optimiser": "adamw",
    "schedule": "cosine",
    "label_smoothing": 0.0,
    "gradient_clipping": "none",
    "averaging": "none",
    "early_stopping": "none",
}
"""What the training of a network was before these were hyperparameters."""

_READ_AS_BEFORE: dict[str, Any] = {"preprocessing": "robust", "numeric_embedding": "none"}
"""What a network saw of the numbers of a table before there was a choice."""

TABULAR_1: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {},
    "linear": {},
    "mlp": _TRAINED_AS_BEFORE | _READ_AS_BEFORE,
    "resnet": _TRAINED_AS_BEFORE | _READ_AS_BEFORE,
}
"""Family of space ``tabular-1`` -> the hyperparameters that came later, with the values that change nothing."""


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """All configurations for one kind of task.

    >>> SPACES["tabular"].to_configuration(SPACES["tabular"].build().get_default_configuration())["family"]
    'hist_gradient_boosting'
    """

    modality: Modality
    version: str
    """Part of every configuration; results of another version are mixed with these only after an `upgrade`."""
    default_family: str
    """What SMAC's default configuration is of."""
    safe_family: str
    """The quickest to fit: what a search without a model and without much time turns to."""
    quick: Mapping[str, Any] = field(default_factory=dict)
    """What makes the default of that family quick, where it is not."""
    presets: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """(family, what differs from its default) of further first tries: smaller and larger ones."""
    n_screened: int = 400
    """Random configurations among which a fast enough one is looked for; fewer where a latency takes long to tell."""
    predecessors: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Older version -> family -> hyperparameters that it lacks, with the values that it meant."""
    left_out: frozenset[str] = frozenset()
    """Families that are not searched."""

    @cached_property
    def families(self) -> dict[str, Family]:
        """The families that can learn such tasks."""
        fitting = {name: family for name, family in FAMILIES.items() if family.modality == self.modality}
        return {name: family for name, family in fitting.items() if name not in self.left_out}

    def without(self, names: Collection[str]) -> SearchSpace:
        """Return the space without some of its families, of which one at least remains."""
        kept = [name for name in self.families if name not in names]
        return replace(
            self,
            default_family=self.default_family if self.default_family in kept else kept[0],
            safe_family=self.safe_family if self.safe_family in kept else kept[0],
            quick=self.quick if self.safe_family in kept else {},
            presets=tuple(preset for preset in self.presets if preset[0] in kept),
            left_out=self.left_out.union(names),
        )

    @cached_property
    def _joined(self) -> ConfigurationSpace:
        space = ConfigurationSpace(name=self.version)
        choice = CategoricalHyperparameter("family", list(self.families), default_value=self.default_family)
        space.add(choice)
        for name, family in self.families.items():
            parent = {"parent": choice, "value": name}
            space.add_configuration_space(name, family.space(), delimiter=_DELIMITER, parent_hyperparameter=parent)
        return space

    def build(self, seed: int = 0) -> ConfigurationSpace:
        """Return a fresh joined space with its own random state."""
        space = ConfigurationSpace.from_serialized_dict(self._joined.to_serialized_dict())
        space.seed(seed)
        return space

    def to_configuration(self, point: SpaceConfiguration) -> Configuration:
        """Return a point of the joined space as a plain dict with ``space`` and ``family``."""
        values = dict(point)
        family = values.pop("family")
        own = {key.removeprefix(f"{family}{_DELIMITER}"): _plain(value) for key, value in values.items()}
        return {"space": self.version, "family": str(family), **dict(sorted(own.items()))}

    def to_point(self, configuration: Mapping[str, Any], space: ConfigurationSpace | None = None) -> SpaceConfiguration:
        """Return a plain dict as a point of `space`, which `build` has made.

        Raises:
            ValueError: it is of another space, or a value is unknown, missing or out of range.
        """
        version, family = configuration.get("space"), configuration.get("family")
        if version != self.version:
            raise ValueError(f"the configuration must be of space {self.version}, however: space={version}")
        own = {key: value for key, value in configuration.items() if key not in ("space", "family")}
        values = {"family": family} | {f"{family}{_DELIMITER}{key}": value for key, value in own.items()}
        try:
            point = SpaceConfiguration(self._joined if space is None else space, values=values)
            point.check_valid_configuration()
        except Exception as error:  # ConfigSpace has no common base for its errors
            raise ValueError(f"not a point of space {self.version}: {error}") from error
        return point

    def upgrade(self, configuration: Mapping[str, Any]) -> Configuration:
        """Return the configuration of this version that is trained as one of an older version was.

        Raises:
            ValueError: it is neither of this version nor of one of its predecessors.
        """
        version, family = configuration.get("space"), str(configuration.get("family"))
        if version == self.version:
            return dict(configuration)
        added = self.predecessors.get(str(version), {}).get(family)
        if added is None:
            known = ", ".join([*self.predecessors, self.version])
            raise ValueError(f"a configuration must be of space {known}, however: space={version}, family={family}")
        own = {key: value for key, value in configuration.items() if key not in ("space", "family")}
        return {"space": self.version, "family": family, **dict(sorted((own | dict(added)).items()))}

    def is_legal(self, configuration: Mapping[str, Any]) -> bool:
        """Whether a plain dict is a point of this space."""
        try:
            self.to_point(configuration)
        except ValueError:
            return False
        return True

    def default(self, family: str) -> Configuration:
        """Return the default of a family."""
        return self._configuration(family, self.families[family].space().get_default_configuration())

    def safe(self) -> Configuration:
        """Return a configuration that is fitted quickly."""
        return self.default(self.safe_family) | dict(self.quick)

    def defaults(self) -> list[Configuration]:
        """Return what is tried without history: a quick one where no default is, each family's default, and presets."""
        quick = [self.safe()] if self.quick else []
        presets = [self.default(family) | dict(changes) for family, changes in self.presets]
        return [*quick, *(self.default(name) for name in self.families), *presets]

    def sample(self, n: int, seed: int, *, redrawn: float = 1.0) -> list[Configuration]:
        """Return `n` random configurations, each family equally often in turn.

        Args:
            n: how many.
            seed: fixes them; fewer are the beginning of more.
            redrawn: share of the hyperparameters that are random; the others keep their defaults.
        """
        rng = np.random.default_rng(seed)
        names, spaces = list(self.families), dict[str, ConfigurationSpace]()
        sampled = []
        for i in range(n):
            name = names[i % len(names)]
            if name not in spaces:
                spaces[name] = self.families[name].space()
                spaces[name].seed(int(rng.integers(2**31)))
            point = spaces[name].sample_configuration()
            sampled.append(self._configuration(name, point if redrawn == 1 else _mixed(point, redrawn, rng)))
        return sampled

    def neighbour(self, configuration: Mapping[str, Any], seed: int) -> Configuration:
        """Return a configuration of the same family that differs a little, in one or two hyperparameters.

        Numbers move by a Gaussian step of a fifth of their range, ordered values by one, others are redrawn.
        """
        rng = np.random.RandomState(seed)  # what ConfigSpace takes
        space = self.families[configuration["family"]].space()
        values = {name: configuration.get(name, hp.default_value) for name, hp in space.items()}
        movable = [name for name in configuration if name in space and space[name].size > 1]
        for name in rng.choice(movable, size=min(len(movable), rng.randint(1, 3)), replace=False):
            values[name] = _moved(space[name], values[name], rng)
        return self._configuration(configuration["family"], deactivate_inactive_hyperparameters(values, space))

    def _configuration(self, family: str, point: SpaceConfiguration) -> Configuration:
        values = {f"{family}{_DELIMITER}{key}": value for key, value in dict(point).items()}
        return self.to_configuration(SpaceConfiguration(self._joined, values={"family": family, **values}))


def _moved(hyperparameter: Hyperparameter[Any, Any], value: Any, rng: np.random.RandomState) -> Any:
    """Return another value nearby; any other one where, rarely, all of ConfigSpace's draws were the value itself."""
    try:
        return rng.choice(hyperparameter.neighbors_values(value, 1, std=STEP, seed=rng))
    except ValueError:
        return rng.choice(hyperparameter.neighbors_values(value, FEW, std=STEP, seed=rng))


SPACES: dict[Modality, SearchSpace] = {
    "tabular": SearchSpace(
        "tabular",
        "tabular-2",
        default_family="hist_gradient_boosting",
        safe_family="linear",
        predecessors={"tabular-1": TABULAR_1},
    ),
    "image": SearchSpace(
        "image",
        "image-1",
        default_family="mbconv",
        safe_family="mbconv",
        quick={
            "width": 16,
            "stem_stride": 2,
            "epochs": 12,
            "flip": "none",
            "cutout": 0.0,
            "mixup": 0.0,
            "resolution": 0.75,
        },
        presets=(
            ("mbconv", {"width": 48, "activation": "silu"}),
            ("mbconv", {"width": 24, "expansion": 2}),
        ),
        n_screened=48,
    ),
}
"""Kind of task -> what is searched for it."""


def _mixed(point: SpaceConfiguration, share: float, rng: np.random.Generator) -> SpaceConfiguration:
    """Return the space's default with about a share of its hyperparameters from a point."""
    space, drawn = point.config_space, dict(point)
    values = {
        name: drawn.get(name, hyperparameter.default_value) if rng.random() < share else hyperparameter.default_value
        for name, hyperparameter in space.items()
    }
    return deactivate_inactive_hyperparameters(values, space)


def _plain(value: Any) -> Any:
    """Return a JSON value; floats are rounded to 6 significant digits, so that ids survive any round trip."""
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.6g}") if isinstance(value, float) else value
