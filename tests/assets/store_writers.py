"""Processes that write into one store, for the tests: run as a program, says as JSON what happened.

``kill PATH SEED N`` writes trial after trial in a process that is killed at a random moment, N times, and looks at the
store after each. ``birth PATH SEED N`` kills processes that create a store. ``crowd URL PROCESSES TRIALS`` writes from
several processes at once, and each trial of a shared run from all of them.
"""

import json
import os
import random
import signal
import statistics
import struct
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from metaml.store import RunRecord, Store, TaskRecord
from metaml.trial import Trial


def prepare(url: str, *runs: str) -> None:
    with Store.open(url) as store:
        store.add_task(TaskRecord("f", "iris", "multiclass"))
        for run in runs:
            store.add_run(RunRecord(run, "f", "toy-1", "log_loss"))


def trial(number: int) -> Trial:
    return Trial(number, {"x": number % 7}, "smac", "ok", error=0.5, metrics={"log_loss": 0.1}, message="m" * 100)


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return pid


def write_until_killed(url: str, pipe: int, first: int) -> None:
    with Store.open(url) as store:
        for number in count(first):
            store.add_trial("r", trial(number))
            os.write(pipe, struct.pack("q", number))  # acknowledged


def kill(url: str, seed: int, n: int) -> dict:
    """Each acknowledged trial is there after the kill, the store is sound, and at most one more trial is there."""
    prepare(url, "r")
    rng, first, written = random.Random(seed), 0, []
    for _ in range(n):
        read, write = os.pipe()
        pid = fork(lambda: write_until_killed(url, write, first))  # noqa: B023
        os.close(write)
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged = set()
        with os.fdopen(read, "rb") as pipe:
            acknowledged = {number for (number,) in struct.iter_unpack("q", pipe.read())}
        with Store.open(url) as store:
            assert store.verify() == []
            numbers = [t.number for t in store.trials("r")]
        assert numbers == list(range(len(numbers)))
        assert acknowledged <= set(numbers)
        assert len(numbers) <= first + len(acknowledged) + 1
        written.append(len(acknowledged))
        first = len(numbers)
    return {"acknowledged": written, "trials": first}


def birth(url: str, seed: int, n: int) -> dict:
    """A store whose creation was killed is either not there or complete."""
    rng, there = random.Random(seed), 0
    for i in range(n):
        path = f"{url}-{i}"
        pid = fork(lambda: Store.open(path).close())  # noqa: B023
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        there += Path(path).exists()
        with Store.open(path) as store:
            assert store.verify() == []
    return {"complete": there, "killed": n}


def write_some(url: str, run: str, n: int, out: int) -> None:
    seconds = []
    with Store.open(url) as store:
        for number in range(n):
            start = time.perf_counter()
            store.add_trial(run, trial(number))
            seconds.append(time.perf_counter() - start)
            store.add_trial("shared", trial(number))
    os.write(out, (json.dumps(seconds) + "\n").encode())  # the processes share the place at which they write


def crowd(url: str, processes: int, n: int) -> dict:
    """Every process creates, opens and writes; nothing is lost, nothing is there twice."""
    runs = [f"r{i}" for i in range(processes)]
    for pid in [fork(lambda: prepare(url, *runs, "shared")) for _ in runs]:
        assert os.waitpid(pid, 0)[1] == 0
    out = os.memfd_create("seconds")
    start = time.perf_counter()
    pids = [fork(lambda run=run: write_some(url, run, n, out)) for run in runs]
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    wall = time.perf_counter() - start
    with Store.open(url) as store:
        assert store.verify() == []
        for run in [*runs, "shared"]:
            assert [t.number for t in store.trials(run)] == list(range(n)), run
        assert store.info()["counts"]["trials"] == (processes + 1) * n
    os.lseek(out, 0, os.SEEK_SET)
    with os.fdopen(out) as file:
        seconds = [second for line in file for second in json.loads(line)]
    return {"wall_s": wall, "median_ms": 1e3 * statistics.median(seconds), "max_ms": 1e3 * max(seconds)}


if __name__ == "__main__":
    name, url, first, second = sys.argv[1:]
    print(json.dumps({"kill": kill, "birth": birth, "crowd": crowd}[name](url, int(first), int(second))))
