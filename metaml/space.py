"""The search space: one categorical `family`, and below it the hyperparameters of each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace
from ConfigSpace import Configuration as SpaceConfiguration

from metaml.models import FAMILIES
from metaml.trial import Configuration

SPACE_VERSION = "tabular-1"
"""Part of every configuration; results of another version are never mixed with these."""

_DELIMITER = ":"


@cache
def _joined() -> ConfigurationSpace:
    space = ConfigurationSpace(name=SPACE_VERSION)
    choice = CategoricalHyperparameter("family", list(FAMILIES), default_value="hist_gradient_boosting")
    space.add(choice)
    for name, family in FAMILIES.items():
        parent = {"parent": choice, "value": name}
        space.add_configuration_space(name, family.space(), delimiter=_DELIMITER, parent_hyperparameter=parent)
    return space


def build_space(seed: int = 0) -> ConfigurationSpace:
    """Return a fresh joined space with its own random state."""
    space = ConfigurationSpace.from_serialized_dict(_joined().to_serialized_dict())
    space.seed(seed)
    return space


def to_configuration(point: SpaceConfiguration) -> Configuration:
    """Return a point of the joined space as a plain dict with ``space`` and ``family``.

    >>> to_configuration(build_space().get_default_configuration())["family"]
    'hist_gradient_boosting'
    """
    values = dict(point)
    family = values.pop("family")
    own = {key.removeprefix(f"{family}{_DELIMITER}"): _plain(value) for key, value in values.items()}
    return {"space": SPACE_VERSION, "family": str(family), **dict(sorted(own.items()))}


def from_configuration(configuration: Mapping[str, Any], space: ConfigurationSpace) -> SpaceConfiguration:
    """Return a plain dict as a point of `space`.

    Raises:
        ValueError: it is of another space, or a value is unknown, missing or out of range.
    """
    version, family = configuration.get("space"), configuration.get("family")
    if version != SPACE_VERSION:
        raise ValueError(f"the configuration must be of space {SPACE_VERSION}, however: space={version}")
    own = {key: value for key, value in configuration.items() if key not in ("space", "family")}
    values = {"family": family} | {f"{family}{_DELIMITER}{key}": value for key, value in own.items()}
    try:
        point = SpaceConfiguration(space, values=values)
        point.check_valid_configuration()
    except Exception as error:  # ConfigSpace has no common base for its errors
        raise ValueError(f"not a point of space {SPACE_VERSION}: {error}") from error
    return point


def is_legal(configuration: Mapping[str, Any]) -> bool:
    """Whether a plain dict is a point of the current space."""
    try:
        from_configuration(configuration, _joined())
    except ValueError:
        return False
    return True


def default_configurations() -> list[Configuration]:
    """Return the default of each family: what is tried without any history."""
    return [
        to_configuration(SpaceConfiguration(_joined(), values={"family": name, **_defaults(name)})) for name in FAMILIES
    ]


def sample_configurations(n: int, seed: int) -> list[Configuration]:
    """Return `n` random configurations, each family equally often in turn."""
    rng = np.random.default_rng(seed)
    names, spaces = list(FAMILIES), {}
    sampled = []
    for i in range(n):
        name = names[i % len(names)]
        if name not in spaces:
            spaces[name] = FAMILIES[name].space()
            spaces[name].seed(int(rng.integers(2**31)))
        values = {f"{name}{_DELIMITER}{key}": value for key, value in dict(spaces[name].sample_configuration()).items()}
        sampled.append(to_configuration(SpaceConfiguration(_joined(), values={"family": name, **values})))
    return sampled


def _defaults(family: str) -> dict[str, Any]:
    values = dict(FAMILIES[family].space().get_default_configuration())
    return {f"{family}{_DELIMITER}{key}": value for key, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a JSON value; floats are rounded to 6 significant digits, so that ids survive any round trip."""
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.6g}") if isinstance(value, float) else value
