"""The delivered model made smaller, with real workers and files, and what happens when that does not work."""

import numpy as np
import pytest

from metaml import reduction
from metaml.data import make_splits, make_task
from metaml.delivery import Finisher, Workbench
from metaml.ensembles import Judge
from metaml.latency import open_device
from metaml.merge import run_model
from metaml.metrics import metric_for
from metaml.reduction import Reducer
from metaml.refits import Refitter
from metaml.run_folder import RunFolder
from metaml.runners import Assignment, Job, WorkerPool
from metaml.space import SPACES
from metaml.trial import Trial
from tests.conftest import mixed_table

SPACE = SPACES["tabular"]
WIDE = SPACE.default("mlp") | {"width": 512, "epochs": 4}


@pytest.fixture(scope="module")
def task():
    table = mixed_table(n=1000, n_classes=3)
    return make_task(table[["age", "income", "city"]], table["label"])


@pytest.fixture(scope="module")
def pool(task):
    with WorkerPool(1) as pool:
        pool.assign(Assignment(task, make_splits(task.y, task.type, seed=0), "log_loss"))
        yield pool


class Case:
    """A delivered wide network, and all that is needed to make it smaller."""

    def __init__(self, folder, pool, task, device_table):
        run = RunFolder.create(folder / "run", "t", {})
        pool.submit(Job(0, "evaluate", WIDE, 60.0, export_to=run.candidate(0)))
        outcomes = []
        while not outcomes:
            outcomes = pool.wait(60)
        self.trials = [outcomes[0].as_trial(WIDE, "smac", latency_ms=1.0)]
        self.bench = Workbench(run, task.inputs, open_device(device_table), None)
        splits = make_splits(task.y, task.type, seed=0)
        judge = Judge(metric_for(task.type), tuple(task.y[split.valid] for split in splits), 3)
        self.model = Finisher(Refitter(pool, run, seed=0), self.bench).deliver(self.trials, lambda: 60.0)
        self.reducer = Reducer(pool, self.bench, judge, splits[0], seed=0)

    def answer(self, task):
        return run_model(self.bench.folder.model.read_bytes(), task.inputs)


@pytest.fixture(scope="module")
def case(tmp_path_factory, pool, task, device_table):
    return Case(tmp_path_factory.mktemp("case"), pool, task, device_table)


def test_int8_file_takes_the_place_and_says_what_it_gained(case, task):
    plain = case.answer(task)
    model, (record,) = case.reducer.reduce(case.model, "int8", case.trials, lambda: 60.0)
    small = case.answer(task)
    if record.accepted:
        assert record.error <= record.error_before * 1.02
        assert record.bytes == case.bench.folder.model.stat().st_size < 0.35 * record.bytes_before
        assert not np.array_equal(plain, small)
    else:
        assert "keep their class" in record.why or "error" in record.why
        assert np.array_equal(plain, small)
    assert record.latency_ms > 0
    case.bench.place(case.model.path)


def test_pruned_network_is_accepted_only_if_it_measures_faster(case, task):
    model, (record,) = case.reducer.reduce(case.model, "prune", case.trials, lambda: 60.0)
    assert "parameters" in record.why or "nothing could be saved" in record.why
    assert record.accepted == (model is not case.model)
    if record.accepted:
        assert record.latency_ms < record.latency_ms_before
        assert record.error <= record.error_before * 1.02
        assert model.error == record.error
    case.bench.place(case.model.path)


def test_a_failing_attempt_costs_itself_alone(case, task, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(reduction, "to_int8", broken)
    before = case.bench.folder.model.read_bytes()
    model, (record,) = case.reducer.reduce(case.model, "int8", case.trials, lambda: 60.0)
    assert model is case.model
    assert not record.accepted
    assert "no such operator" in record.why
    assert case.bench.folder.model.read_bytes() == before


def test_without_time_nothing_is_tried(case):
    model, records = case.reducer.reduce(case.model, "auto", case.trials, lambda: 1.0)
    assert model is case.model
    assert [(record.name, record.why) for record in records] == [
        (name, "no time was left") for name in ("prune", "svd", "distill", "int8")
    ]


def test_an_attempt_that_takes_too_long_is_ended(case, pool):
    slow = Trial(1, WIDE | {"epochs": 128, "batch_size": 32}, "smac", "ok", error=0.1)
    (member,) = case.model.members
    model = reduction.replace(case.model, members=(reduction.replace(member, trial=slow),))
    found, (record,) = case.reducer.reduce(model, "prune", case.trials, lambda: 4.2)
    assert found is model
    assert not record.accepted
    assert pool.n_idle == 1


def test_no_smaller_network_among_the_trials_is_said(case):
    _, (record,) = case.reducer.reduce(case.model, "distill", case.trials, lambda: 60.0)
    assert "no trial's network is clearly faster" in record.why
