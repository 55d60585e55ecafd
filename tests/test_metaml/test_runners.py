"""Worker processes and their watchdog, with real signals."""

import os
import signal
import time

import psutil
import pytest

from metaml.data import make_splits, make_task
from metaml.halving import Rungs
from metaml.runners import Assignment, Job, WorkerPool
from metaml.space import SPACES
from tests.conftest import mixed_table

DEFAULTS = {c["family"]: c for c in SPACES["tabular"].defaults()}


def assignment() -> Assignment:
    table = mixed_table(n=200)
    task = make_task(table[["age", "income", "city"]], table["label"])
    return Assignment(task, make_splits(task.y, task.type, seed=0), "roc_auc")


def job(number: int, family: str = "linear", seconds: float = 60.0, **more) -> Job:
    return Job(number, "evaluate", DEFAULTS[family] | more.pop("change", {}), seconds, **more)


@pytest.fixture(scope="module")
def shared_pool():
    with WorkerPool(1) as pool:
        pool.assign(assignment())
        yield pool


def outcome_of(pool: WorkerPool, work: Job):
    pool.submit(work)
    (outcome,) = pool.wait(90)
    return outcome


class TestOutcomes:
    def test_good_trial(self, shared_pool, tmp_path):
        path = tmp_path / "model.onnx"
        outcome = outcome_of(shared_pool, job(0, export_to=path))
        assert outcome.status == "ok"
        assert 0 < outcome.error < 1
        assert {"roc_auc", "log_loss", "error_rate", "balanced_error"} <= set(outcome.metrics)
        assert outcome.n_parameters > 0
        assert outcome.flops > 0
        assert path.stat().st_size > 0

    def test_model_that_is_not_good_enough_is_not_exported(self, shared_pool, tmp_path):
        path = tmp_path / "model.onnx"
        assert outcome_of(shared_pool, job(1, export_to=path, export_below=0.0)).status == "ok"
        assert not path.exists()

    def test_divergence(self, shared_pool):
        outcome = outcome_of(shared_pool, job(2, "mlp", change={"learning_rate": 1e30}))
        assert outcome.status == "diverged"
        assert outcome.error is None

    def test_time_limit_is_foreseen(self, shared_pool):
        started = time.monotonic()
        outcome = outcome_of(shared_pool, job(3, "mlp", seconds=2.0, change={"epochs": 100_000}))
        assert outcome.status == "timeout"
        assert time.monotonic() - started < 4

    def test_hopeless_trial_is_pruned_after_one_fold(self, shared_pool):
        outcome = outcome_of(shared_pool, job(4, hopeless=0.0))
        assert outcome.status == "pruned"
        assert outcome.error > 0

    def test_a_trial_is_paused_at_a_rung_and_goes_on(self, shared_pool, tmp_path):
        checkpoint = tmp_path / "state.safetensors"
        paused = outcome_of(shared_pool, job(6, "mlp", rungs=Rungs(((1 / 9, 2.0), (1 / 3, 0.0)), checkpoint)))
        assert (paused.status, [share for share, _ in paused.reached]) == ("pruned", [1 / 9, 1 / 3])
        assert paused.error == paused.reached[-1][1] and "33% of the training" in paused.message
        resumed = outcome_of(shared_pool, job(7, "mlp", rungs=Rungs(((1 / 9, 0.0), (1 / 3, 0.0)), checkpoint)))
        straight = outcome_of(shared_pool, job(8, "mlp"))
        assert (resumed.status, resumed.error, resumed.epochs) == ("ok", straight.error, straight.epochs)

    def test_exception_carries_its_traceback(self, shared_pool):
        outcome = outcome_of(shared_pool, job(5, "mlp", change={"activation": "no such"}))
        assert outcome.status == "crashed"
        assert "Traceback" in outcome.message


class TestWatchdog:
    """A worker that dies, hangs or grows ends as a status; the next job runs."""

    def start(self, pool: WorkerPool) -> int:
        pool.assign(assignment())
        assert outcome_of(pool, job(0)).status == "ok"
        return pool._workers[0].pid

    def test_killed_worker_is_a_crash(self):
        with WorkerPool(1) as pool:
            pid = self.start(pool)
            pool.submit(job(1, "mlp", change={"epochs": 100_000}, seconds=1e6))
            os.kill(pid, signal.SIGKILL)
            (outcome,) = pool.wait(10)
            assert outcome.status == "crashed"
            assert outcome_of(pool, job(2)).status == "ok"

    def test_hanging_worker_is_killed_at_its_limit(self):
        with WorkerPool(1) as pool:
            pid = self.start(pool)
            pool.submit(job(1, seconds=0.5))
            os.kill(pid, signal.SIGSTOP)
            started = time.monotonic()
            (outcome,) = pool.wait(30)
            assert outcome.status == "timeout"
            assert time.monotonic() - started < 6

    def test_imports_of_a_slow_machine_are_not_the_time_of_the_first_job(self):
        with WorkerPool(1) as pool:
            pid = pool._nursery.pid
            os.kill(pid, signal.SIGSTOP)
            pool.assign(assignment())
            pool.submit(job(0, seconds=1.0))
            assert pool.wait(4.0) == []
            os.kill(pid, signal.SIGCONT)
            (outcome,) = pool.wait(60)
            assert outcome.status == "ok"

    def test_memory_limit(self):
        with WorkerPool(1, memory_bytes=1) as pool:
            pool.assign(assignment())
            pool.submit(job(1, "mlp", change={"epochs": 100_000}, seconds=1e6))
            (outcome,) = pool.wait(30)
            assert outcome.status == "memout"

    def test_no_worker_outlives_the_pool(self):
        pool = WorkerPool(1)
        processes = [psutil.Process(pid) for pid in (self.start(pool), pool._nursery.pid)]
        pool.close()
        pool.close()
        assert not any(process.is_running() for process in processes)

    def test_a_worker_of_its_own_nursery_starts_at_once(self):
        with WorkerPool(1) as pool:
            os.kill(self.start(pool), signal.SIGKILL)
            assert pool._workers[0].connection.poll(5)
            started = time.monotonic()
            assert outcome_of(pool, job(1)).status == "ok"
            assert time.monotonic() - started < 3

    def test_nothing_runs_while_the_pool_is_away(self):
        with WorkerPool(1) as pool:
            processes = [psutil.Process(pid) for pid in (self.start(pool), pool._nursery.pid)]
            with pool.away():
                assert not any(process.is_running() for process in processes)
            assert outcome_of(pool, job(1)).status == "ok"

    def test_killed_nursery_is_replaced(self):
        with WorkerPool(1) as pool:
            pid = self.start(pool)
            os.kill(pool._nursery.pid, signal.SIGKILL)
            psutil.Process(pid).wait(5)
            assert outcome_of(pool, job(1)).status == "ok"
