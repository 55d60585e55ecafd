"""Whatever a search may produce comes back from the store as it went in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from metaml.errors import StoreError
from metaml.store import RunRecord, Store, TaskRecord
from metaml.store.records import trial_from_json, trial_to_json
from metaml.trial import Trial

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = texts.filter(bool)
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), finite, texts)
configurations = st.dictionaries(names.filter(lambda name: name != "space"), values, max_size=5)
trials = st.builds(
    Trial,
    number=st.just(0),
    configuration=configurations,
    source=names,
    status=st.sampled_from(["ok", "crashed", "infeasible"]),
    error=st.floats(0, 2),
    budget=st.floats(0.01, 1),
    seed=st.integers(0, 2**32 - 1),
    metrics=st.dictionaries(names, st.floats(allow_nan=False), max_size=4),
    seconds=st.floats(0, 1e6),
    cpu_seconds=st.floats(0, 1e6),
    latency_ms=st.one_of(st.none(), st.floats(0, 1e6)),
    n_parameters=st.one_of(st.none(), st.integers(0, 2**62)),
    message=texts,
    started=texts,
    epochs=st.one_of(st.none(), st.integers(1, 1000)),
    curve=st.sampled_from([(), ((1, 0.5),), ((3, 0.25), (6, 1e-6))]),
)


@settings(max_examples=20, deadline=None)
@given(trials, names, names)
def test_trials_runs_and_tasks_come_back(trial, run_id, fingerprint):
    with Store.open(":memory:") as store:
        store.add_task(TaskRecord(fingerprint, run_id, "binary", source=trial.message))
        run = RunRecord(run_id, fingerprint, "space", "metric", options=dict(trial.configuration), host=trial.message)
        store.add_run(run)
        store.add_trial(run_id, trial)
        assert store.trials(run_id) == [trial]
        assert store.run(run_id) == run
        assert store.tasks().index.tolist() == [fingerprint]
        assert store.verify() == []


@settings(max_examples=40)
@given(trials)
def test_a_trial_comes_back_from_a_line_of_json(trial):
    line = trial_to_json(trial)
    assert "\n" not in line and trial_from_json(line) == trial


@settings(max_examples=20, deadline=None)
@given(st.text())
def test_any_text_is_kept_or_refused(text):
    with Store.open(":memory:") as store:
        try:
            store.add_task(TaskRecord(text, text, text or "t", source=text, group=text))
        except StoreError:
            assert not text or "\0" in text or not text.isprintable()
        assert store.verify() == []
