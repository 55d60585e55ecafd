"""Trials that pause at a rung and go on: the rule, the evaluation, and whole searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaml.data import make_splits, make_task
from metaml.evaluation import Evaluator, PausedError
from metaml.halving import Halving, Rungs
from metaml.metrics import metric_for
from metaml.space import SPACES
from tests.conftest import mixed_table


@given(st.lists(st.floats(0, 2), min_size=1, max_size=40, unique=True))
def test_a_trial_goes_on_exactly_when_it_is_among_the_best_third(errors):
    halving = Halving(shares=(0.5,))
    for i, error in enumerate(errors):
        limit = halving.limits()[0][1]
        better = sum(other < error for other in errors[:i])
        assert (error <= limit) == (better < max(1, (i + 1) // 3))
        halving.record(i, [(0.5, error)], is_paused=error > limit)
    promoted = list(iter(halving.promote, None))
    best = set(np.argsort(errors)[: len(errors) // 3])
    assert set(promoted) <= best and halving.promote() is None
    assert [errors[number] for number in promoted] == sorted(errors[number] for number in promoted)


def test_a_rung_without_results_lets_everything_pass_and_higher_rungs_are_promoted_first():
    halving = Halving(shares=(0.1, 0.3))
    assert halving.limits() == ((0.1, math.inf), (0.3, math.inf))
    for number, error in enumerate([0.5, 0.4, 0.3]):
        halving.record(number, [(0.1, error), (0.3, error)], is_paused=True)
    halving.record(3, [(0.1, 0.1)], is_paused=True)
    assert [halving.promote(), halving.promote(), halving.promote()] == [2, 3, None]


@pytest.mark.parametrize("target", ["label", "value"])
def test_an_evaluation_that_was_paused_ends_as_one_that_was_not(target, tmp_path):
    table = mixed_table(n=200)
    task = make_task(table[["age", "income", "city"]], table[target])
    evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
    config = SPACES["tabular"].default("mlp") | {"epochs": 9, "width": 24}
    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(PausedError) as paused:
        evaluator.evaluate(config, seconds=60, rungs=Rungs(((1 / 9, 2.0), (1 / 3, 0.0)), checkpoint))
    assert [share for share, _ in paused.value.reached] == [1 / 9, 1 / 3]
    assert paused.value.error == paused.value.reached[-1][1]
    resumed = evaluator.evaluate(config, seconds=60, rungs=Rungs(((1 / 9, 0.0), (1 / 3, 0.0)), checkpoint))
    straight = evaluator.evaluate(config, seconds=60)
    assert (resumed.error, resumed.curve, resumed.reached) == (straight.error, straight.curve, ())
