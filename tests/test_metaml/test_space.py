"""The joined space and its plain-dict configurations."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaml.models import FAMILIES
from metaml.space import SPACES
from metaml.trial import configuration_id

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


def test_samples_are_a_prefix_of_more_samples():
    assert SPACE.sample(6, 1) == SPACE.sample(10, 1)[:6]


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
