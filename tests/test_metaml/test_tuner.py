"""The SMAC adapter under the known pitfalls of SMAC 2.4."""

import math

import pytest

from metaml.space import SPACES
from metaml.trial import WORST_ERROR, configuration_id
from metaml.tuner import Tuner

SPACE = SPACES["tabular"]


@pytest.fixture
def tuner():
    made = Tuner(SPACE, seed=0)
    yield made
    made.close()


def test_asks_legal_distinct_configurations_without_any_result(tuner):
    asked = [tuner.ask() for _ in range(3)]
    for configuration in asked:
        assert SPACE.is_legal(configuration)
        tuner.tell(configuration, 0.5)
    assert len({configuration_id(c) for c in asked}) == 3


def test_told_results_of_others_are_learned_from_not_run_again(tuner):
    told = SPACE.defaults() + SPACE.sample(24, 0)
    tuner.tell_all((c, 0.1 if c["family"] == "mlp" else 0.9) for c in told)
    asked = [tuner.ask() for _ in range(12)]
    assert not {configuration_id(c) for c in asked} & {configuration_id(c) for c in told}
    assert sum(c["family"] == "mlp" for c in asked) > 6


def test_failed_trials_have_a_finite_cost_and_end_nothing(tuner):
    for i in range(12):
        configuration = tuner.ask()
        tuner.tell(configuration, WORST_ERROR if i % 2 else 0.4)
    assert tuner.ask() is not None


def test_every_trial_failing_ends_nothing(tuner):
    for _ in range(10):
        tuner.tell(tuner.ask(), WORST_ERROR)
    assert math.isfinite(WORST_ERROR)
    assert tuner.ask() is not None


def test_illegal_configuration_is_passed_over(tuner):
    tuner.tell({"space": "tabular-0", "family": "mlp"}, 0.1)
    assert tuner.ask() is not None


def test_same_seed_same_questions():
    def ask_some(seed: int) -> list[str]:
        tuner = Tuner(SPACE, seed=seed)
        names = []
        for i in range(10):
            configuration = tuner.ask()
            names.append(configuration_id(configuration))
            tuner.tell(configuration, (i * 7 % 5) / 5)
        tuner.close()
        return names

    assert ask_some(1) == ask_some(1)
    assert ask_some(1) != ask_some(2)


def test_optimisers_do_not_share_a_random_state():
    expected = SPACE.to_configuration(SPACE.build(5).sample_configuration())
    space = SPACE.build(5)
    Tuner(SPACE, seed=99).close()
    assert SPACE.to_configuration(space.sample_configuration()) == expected


def test_nothing_is_written_into_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuner = Tuner(SPACE, seed=0)
    tuner.tell(tuner.ask(), 0.3)
    tuner.close()
    assert list(tmp_path.iterdir()) == []
