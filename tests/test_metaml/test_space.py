"""The joined space and its plain-dict configurations."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaml.models import FAMILIES
from metaml.space import (
    SPACE_VERSION,
    build_space,
    default_configurations,
    from_configuration,
    is_legal,
    sample_configurations,
    to_configuration,
)
from metaml.trial import configuration_id


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_point_to_dict_to_point_and_through_json(seed):
    space = build_space(seed)
    configuration = to_configuration(space.sample_configuration())
    again = json.loads(json.dumps(configuration))
    assert is_legal(again)
    assert to_configuration(from_configuration(again, space)) == configuration
    assert configuration_id(again) == configuration_id(configuration)


def test_every_family_has_a_default_and_every_configuration_its_space():
    defaults = default_configurations()
    assert [c["family"] for c in defaults] == list(FAMILIES)
    assert {c["space"] for c in defaults} == {SPACE_VERSION}


def test_samples_are_a_prefix_of_more_samples():
    assert sample_configurations(6, 1) == sample_configurations(10, 1)[:6]


@pytest.mark.parametrize(
    "change",
    [{"space": "tabular-0"}, {"family": "svm"}, {"l2": 77.0}, {"l2": None}, {"unknown": 1}, {"l2": "much"}],
    ids=str,
)
def test_illegal_configurations_are_told(change):
    linear = next(c for c in default_configurations() if c["family"] == "linear")
    assert is_legal(linear)
    assert not is_legal(linear | change)


def test_missing_hyperparameter_is_illegal():
    mlp = next(c for c in default_configurations() if c["family"] == "mlp")
    assert not is_legal({key: value for key, value in mlp.items() if key != "width"})
