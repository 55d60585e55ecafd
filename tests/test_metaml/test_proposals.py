"""What is tried next: order of sources, no repetition, latency limit."""

import pandas as pd

from metaml.proposals import MAX_WARM, LatencyLimit, Proposer
from metaml.space import SPACES
from metaml.trial import Trial, configuration_id
from portfolio import WARM_STARTERS, History


def history(n_configurations: int = 20, n_tasks: int = 6) -> History:
    configurations = {configuration_id(c): c for c in SPACES["tabular"].sample(n_configurations, 3)}
    errors = pd.DataFrame(
        [[(7 * i * j) % 11 / 11 for j in range(len(configurations))] for i in range(1, n_tasks + 1)],
        index=[f"t{i}" for i in range(n_tasks)],
        columns=list(configurations),
    )
    return History(errors=errors, configurations=configurations)


def proposer(past: History, name: str = "portfolio", latency: LatencyLimit | None = None) -> Proposer:
    starter = WARM_STARTERS[name](seed=0).fit(past)
    return Proposer(starter, past, None, SPACES["tabular"], latency or LatencyLimit(), seed=0)


def run(made: Proposer, n: int) -> list[Trial]:
    trials = []
    for number in range(n):
        proposal = made.next()
        trial = Trial(number, proposal.configuration, proposal.source, "ok", error=0.3 + 0.01 * (number % 5))
        made.observe(trial)
        trials.append(trial)
    made.close()
    return trials


def test_past_results_come_first_then_local_search_and_smac_in_turn_and_nothing_twice():
    trials = run(proposer(history()), MAX_WARM + 4)
    assert [t.source for t in trials] == ["portfolio"] * MAX_WARM + ["local", "smac"] * 2
    assert len({t.configuration_id for t in trials}) == len(trials)


def test_without_history_the_defaults_come_first():
    n_defaults = len(SPACES["tabular"].families)
    trials = run(proposer(History.empty(), "auto"), n_defaults + 2)
    assert [t.source for t in trials] == ["default"] * n_defaults + ["local", "smac"]


def test_cold_start_tries_defaults_whatever_is_remembered():
    n_defaults = len(SPACES["tabular"].families)
    assert {t.source for t in run(proposer(history(), "cold"), n_defaults + 2)} == {"default", "local", "smac"}


def test_local_search_steps_from_the_best_trial():
    trials = run(proposer(history()), MAX_WARM + 8)
    for position, trial in enumerate(trials):
        if trial.source == "local":
            best = min(trials[:position], key=lambda earlier: earlier.error).configuration
            changed = {k for k in best.keys() & trial.configuration.keys() if best[k] != trial.configuration[k]}
            assert trial.configuration["family"] == best["family"]
            assert len(changed) in (1, 2)


def test_too_slow_configurations_are_rejected_and_reported():
    def predict(configuration):
        latency = 5.0 if configuration["family"] in ("mlp", "resnet") else 0.5
        return latency, 1.2 * latency

    made = proposer(history(), latency=LatencyLimit(predict, 1.0))
    trials = run(made, 20)
    assert not {t.configuration["family"] for t in trials} & {"mlp", "resnet"}
    rejected = made.take_rejected()
    assert rejected
    assert all(proposal.latency_ms == 5.0 and excess == 6.0 for proposal, excess in rejected)
    assert made.take_rejected() == []


def test_impossible_limit_leaves_nothing_but_the_closest():
    made = proposer(history(), latency=LatencyLimit(lambda c: (len(str(c)), len(str(c))), 0.001))
    assert made.next() is None
    closest = made.closest()
    assert closest.source == "smallest"
    made.close()


def test_a_score_of_untrained_networks_chooses_every_second_one_among_the_fast():
    def promise(configuration):
        return configuration["width"]

    latency = LatencyLimit(lambda c: (c.get("width", 1.0),) * 2, 200.0)
    space, starter = SPACES["tabular"], WARM_STARTERS["cold"](seed=0).fit(History.empty())
    made = Proposer(starter, History.empty(), None, space, latency, promise=promise)
    trials = run(made, len(space.families) + 6)
    sources = [t.source for t in trials][-6:]
    assert sources.count("zero-cost") == 3
    chosen = [t.configuration for t in trials if t.source == "zero-cost"]
    assert all(100 < c["width"] <= 200 for c in chosen)
    assert len({t.configuration_id for t in trials}) == len(trials)


def test_configurations_of_another_space_are_passed_over():
    past = history()
    foreign = {name: c | {"space": "tabular-0"} for name, c in past.configurations.items()}
    trials = run(proposer(History(errors=past.errors, configurations=foreign)), 3)
    assert {t.source for t in trials} == {"default"}


def test_earlier_trials_of_a_resumed_run_are_not_tried_again():
    first = run(proposer(history()), 5)
    made = proposer(history())
    for trial in first:
        made.observe(trial)
    again = run(made, 10)
    assert not {t.configuration_id for t in first} & {t.configuration_id for t in again}
    assert sum(t.source == "portfolio" for t in again) == MAX_WARM - 5
