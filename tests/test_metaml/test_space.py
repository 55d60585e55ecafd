"""The joined space and its plain-dict configurations."""

import json

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaml.history import upgraded
from metaml.models import FAMILIES
from metaml.space import SPACES
from metaml.trial import configuration_id
from portfolio import History, load_default_history

SPACE = SPACES["tabular"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_point_to_dict_to_point_and_through_json(seed):
    space = SPACE.build(seed)
    configuration = SPACE.to_configuration(space.sample_configuration())
    again = json.loads(json.dumps(configuration))
    assert SPACE.is_legal(again)
    assert SPACE.to_configuration(SPACE.to_point(again, space)) == configuration
    assert configuration_id(again) == configuration_id(configuration)


def test_every_family_has_a_default_and_every_configuration_its_space():
    defaults = SPACE.defaults()
    assert [c["family"] for c in defaults] == [
        name for name, family in FAMILIES.items() if family.modality == "tabular"
    ]
    assert {c["space"] for c in defaults} == {SPACE.version}


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
@example(seed=110557)
def test_a_neighbour_is_another_point_of_the_same_family(space, seed):
    (configuration,) = space.sample(seed % 7 + 1, seed)[-1:]
    near = space.neighbour(configuration, seed)
    assert space.is_legal(near)
    assert near["family"] == configuration["family"]
    assert near == space.neighbour(configuration, seed)
    same = configuration.keys() & near.keys()
    assert sum(configuration[key] != near[key] for key in same) <= 2


def test_samples_are_a_prefix_of_more_samples():
    assert SPACE.sample(6, 1) == SPACE.sample(10, 1)[:6]


def test_variations_of_defaults_are_legal_and_nearer_to_them():
    defaults = {c["family"]: c for c in SPACE.defaults()}

    def moved(configurations: list) -> float:
        return sum(c[key] != defaults[c["family"]].get(key) for c in configurations for key in c)

    near, far = SPACE.sample(40, 1, redrawn=0.4), SPACE.sample(40, 1)
    assert all(map(SPACE.is_legal, near))
    assert 0 < moved(near) < 0.7 * moved(far)
    assert near[:10] == SPACE.sample(10, 1, redrawn=0.4)


@pytest.mark.parametrize(
    "change",
    [{"space": "tabular-0"}, {"family": "svm"}, {"l2": 77.0}, {"l2": None}, {"unknown": 1}, {"l2": "much"}],
    ids=str,
)
def test_illegal_configurations_are_told(change):
    linear = SPACE.default("linear")
    assert SPACE.is_legal(linear)
    assert not SPACE.is_legal(linear | change)


def test_missing_hyperparameter_is_illegal():
    mlp = SPACE.default("mlp")
    assert not SPACE.is_legal({key: value for key, value in mlp.items() if key != "width"})


def of_the_first_space(family: str) -> dict:
    """A configuration as space ``tabular-1`` had it: without the hyperparameters that came later."""
    later = SPACE.predecessors["tabular-1"][family]
    kept = {key: value for key, value in SPACE.default(family).items() if key not in later}
    return kept | {"space": "tabular-1"}


def test_the_shipped_history_is_of_points_of_this_space():
    history = load_default_history()
    assert all(SPACE.is_legal(c) and configuration_id(c) == name for name, c in history.configurations.items())
    assert history.errors.shape[1] == len(history.configurations)


def test_a_history_of_the_first_space_is_upgraded_and_changes_nothing_but_its_ids():
    old = {configuration_id(c): c for c in map(of_the_first_space, SPACE.predecessors["tabular-1"])}
    past = History(pd.DataFrame([[0.1, 0.2, float("nan"), 0.4]], index=["task"], columns=list(old)), old)
    history = upgraded(past, SPACE)
    assert all(SPACE.is_legal(c) and configuration_id(c) == name for name, c in history.configurations.items())
    assert not set(history.errors.columns) & set(old)
    assert history.errors.to_numpy(dtype=float).tobytes() == past.errors.to_numpy(dtype=float).tobytes()


def test_an_upgrade_adds_neutral_values_and_refuses_strangers():
    mlp = of_the_first_space("mlp")
    new = SPACE.upgrade(mlp)
    assert {key: new[key] for key in mlp if key != "space"} == {key: mlp[key] for key in mlp if key != "space"}
    assert new["optimiser"] == "adamw" and SPACE.upgrade(new) == new
    for stranger in (mlp | {"space": "tabular-0"}, mlp | {"family": "svm"}):
        with pytest.raises(ValueError, match="must be of space tabular-1, tabular-2"):
            SPACE.upgrade(stranger)
