"""Long-lived worker processes with a watchdog on time and memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import psutil

from metaml.runners.jobs import Assignment, Job, Outcome, Started
from metaml.runners.nursery import Nursery
from metaml.trial import Status

GRACE_SECONDS = 2.0
"""A worker that overruns its job's time by this much is killed."""
START_SECONDS = 20.0
"""A worker that has not begun with its first job after this long is killed: a busy machine imports slowly."""
TICK_SECONDS = 0.25
"""How often memory and time are looked at."""


@dataclass
class _Worker:
    """One process, its socket, and the job it is busy with."""

    connection: Connection
    pid: int | None = None
    """None until it begins with its first job: until then it may still import, which is not the job's time."""
    is_assigned: bool = False
    job: Job | None = None
    job_started: float = field(default=0.0)

    @property
    def is_dead(self) -> bool:
        """Whether the process of an idle worker has ended: it says nothing unless it has a job."""
        return self.connection.poll()

    def kill(self, nursery: Nursery) -> int | None:
        """End the process, if it has not ended yet, and return its exit code."""
        self.connection.close()  # one that still imports ends when it finds this
        if self.pid is None:
            return None
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return nursery.wait(self.pid)


def default_workers() -> int:
    """Return how many trials run side by side: one for each core, as far as each has a GiB of memory."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(n_cores, _memory_for_workers() // 2**30))


def _memory_for_workers() -> int:
    """Half of the machine's memory, in bytes."""
    return int(psutil.virtual_memory().total // 2)


class WorkerPool:
    """Runs jobs side by side, each trial on one thread.

    Workers start at once, so that their imports overlap with whatever the caller does before `assign`. They are forks
    of a `Nursery`, not of this process: safe beside torch's threads, and the caller's main module is not run again.

    Args:
        n_workers: number of processes; None for `default_workers`.
        memory_bytes: resident memory above which a worker's job ends as ``memout``; None for half of the machine's
            memory shared among the workers.
    """

    def __init__(self, n_workers: int | None = None, *, memory_bytes: int | None = None) -> None:
        self.n_workers = n_workers or default_workers()
        self._assignment: Assignment | None = None
        self._memory_bytes = memory_bytes or _memory_for_workers() // self.n_workers
        self._nursery = Nursery()
        self._workers = self._start_all()

    def assign(self, assignment: Assignment) -> None:
        """Give all workers their task; once, before the first `submit`."""
        self._assignment = assignment

    @property
    def n_idle(self) -> int:
        """Number of workers without a job."""
        return sum(worker.job is None for worker in self._workers)

    @property
    def is_busy(self) -> bool:
        """Whether any job is running."""
        return self.n_idle < len(self._workers)

    def submit(self, job: Job) -> None:
        """Start a job on an idle worker.

        Raises:
            RuntimeError: every worker is busy, or `assign` was not called.
        """
        if self._assignment is None:
            raise RuntimeError("the pool must be assigned a task before a job is submitted")
        position = next((i for i, worker in enumerate(self._workers) if worker.job is None), None)
        if position is None:
            raise RuntimeError("a job may be submitted only while a worker is idle, however: all are busy")
        if self._workers[position].is_dead:
            self._replace(position)
        worker = self._workers[position]
        if not worker.is_assigned:
            worker.connection.send(self._assignment)
            worker.is_assigned = True
        worker.connection.send(job)
        worker.job, worker.job_started = job, time.monotonic()

    def wait(self, seconds: float) -> list[Outcome]:
        """Return the outcomes that arrive within `seconds`: as soon as there is one, and [] if there is none."""
        deadline = time.monotonic() + seconds
        while True:
            outcomes = self._collect(max(0.0, min(TICK_SECONDS, deadline - time.monotonic())))
            if outcomes or not self.is_busy or time.monotonic() >= deadline:
                return outcomes

    def cancel(self) -> None:
        """Kill all running jobs; their workers are started anew."""
        for position, worker in enumerate(self._workers):
            if worker.job is not None:
                self._replace(position)

    @contextmanager
    def away(self) -> Iterator[None]:
        """End all processes, none of which has a job, and start them anew afterwards: for a measurement's silence."""
        self.close()
        try:
            yield
        finally:
            self._nursery = Nursery()
            self._workers = self._start_all()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill(self._nursery)
        self._workers = []
        self._nursery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _collect(self, seconds: float) -> list[Outcome]:
        busy = {worker.connection: i for i, worker in enumerate(self._workers) if worker.job is not None}
        ready = wait(list(busy), timeout=seconds)
        received = [self._receive(busy[connection]) for connection in ready if isinstance(connection, Connection)]
        inspected = [self._inspect(i) for i in range(len(self._workers))]
        return [outcome for outcome in (*received, *inspected) if outcome is not None]

    def _receive(self, position: int) -> Outcome | None:
        worker = self._workers[position]
        assert worker.job is not None
        try:
            message: Started | Outcome = worker.connection.recv()
        except (EOFError, OSError):
            return self._end(position, "crashed")
        if isinstance(message, Started):
            worker.job_started, worker.pid = time.monotonic(), message.pid
            return None
        worker.job = None
        return message

    def _inspect(self, position: int) -> Outcome | None:
        """End a job that has overrun its time or memory."""
        worker = self._workers[position]
        if worker.job is None:
            return None
        elapsed = time.monotonic() - worker.job_started
        is_up = worker.pid is not None
        allowed = worker.job.seconds + GRACE_SECONDS if is_up else max(worker.job.seconds, START_SECONDS)
        if elapsed > allowed:
            if all(other.pid is None for other in self._workers):
                self._nursery.close()  # it is what hangs
            text = f"killed after {elapsed:.1f} s, allowed were {worker.job.seconds:.1f} s"
            return self._end(position, "timeout", text)
        used = _resident_bytes(worker.pid) if worker.pid is not None else 0
        if used > self._memory_bytes:
            text = f"killed at {used / 2**30:.1f} GiB of memory, allowed were {self._memory_bytes / 2**30:.1f} GiB"
            return self._end(position, "memout", text)
        return None

    def _end(self, position: int, status: Status, message: str | None = None) -> Outcome:
        worker = self._workers[position]
        assert worker.job is not None
        seconds = time.monotonic() - worker.job_started
        code = self._replace(position)
        message = message or f"the worker process ended with code {code}"
        return Outcome(worker.job.number, status, seconds=seconds, message=message)

    def _start_all(self) -> list[_Worker]:
        return [_Worker(self._nursery.start()) for _ in range(self.n_workers)]

    def _replace(self, position: int) -> int | None:
        """Start another worker in the place of one; return the exit code of the old one."""
        code: int | None = self._workers[position].kill(self._nursery)
        try:
            self._workers[position] = _Worker(self._nursery.start())
        except OSError:  # the nursery itself is gone, and with it all workers
            self._nursery.close()
            self._nursery = Nursery()
            self._workers[position] = _Worker(self._nursery.start())
        return code


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
