"""Long-lived worker processes with a watchdog on time and memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import psutil

from metaml.runners.jobs import Assignment, Job, Outcome, Started
from metaml.trial import Status

GRACE_SECONDS = 2.0
"""A worker that overruns its job's time by this much is killed."""
START_SECONDS = 20.0
"""A worker that has not begun with its first job after this long is killed: a busy machine imports slowly."""
TICK_SECONDS = 0.25
"""How often memory and time are looked at."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class _Worker:
    """One process, its socket, and the job it is busy with."""

    process: subprocess.Popen[bytes]
    connection: Connection
    is_assigned: bool = False
    job: Job | None = None
    job_started: float = field(default=0.0)
    is_up: bool = False
    """Whether it has begun with a job before: until then it may still import, which is not the job's time."""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


class WorkerPool:
    """Runs jobs side by side, each trial on one thread.

    Workers start at once, so that their imports overlap with whatever the caller does before `assign`. They are plain
    subprocesses, not forks: safe beside torch's threads, and the caller's main module is not run again.

    Args:
        n_workers: number of processes.
        memory_bytes: resident memory above which a worker's job ends as ``memout``; None for half of the machine's
            memory shared among the workers.
    """

    def __init__(self, n_workers: int = 1, *, memory_bytes: int | None = None) -> None:
        self._assignment: Assignment | None = None
        self._memory_bytes = memory_bytes or psutil.virtual_memory().total // 2 // n_workers
        self._workers = [self._start() for _ in range(n_workers)]

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
        if self._workers[position].process.poll() is not None:
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

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill()

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
            code = worker.process.wait()
            return self._end(position, "crashed", f"the worker process ended with code {code}")
        if isinstance(message, Started):
            worker.job_started, worker.is_up = time.monotonic(), True
            return None
        worker.job = None
        return message

    def _inspect(self, position: int) -> Outcome | None:
        """End a job that has overrun its time or memory."""
        worker = self._workers[position]
        if worker.job is None:
            return None
        elapsed = time.monotonic() - worker.job_started
        allowed = worker.job.seconds + GRACE_SECONDS if worker.is_up else max(worker.job.seconds, START_SECONDS)
        if elapsed > allowed:
            text = f"killed after {elapsed:.1f} s, allowed were {worker.job.seconds:.1f} s"
            return self._end(position, "timeout", text)
        used = _resident_bytes(worker.process.pid)
        if used > self._memory_bytes:
            text = f"killed at {used / 2**30:.1f} GiB of memory, allowed were {self._memory_bytes / 2**30:.1f} GiB"
            return self._end(position, "memout", text)
        return None

    def _end(self, position: int, status: Status, message: str) -> Outcome:
        worker = self._workers[position]
        assert worker.job is not None
        outcome = Outcome(worker.job.number, status, seconds=time.monotonic() - worker.job_started, message=message)
        self._replace(position)
        return outcome

    def _replace(self, position: int) -> None:
        self._workers[position].kill()
        self._workers[position] = self._start()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, "1") | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with theirs:
            command = [sys.executable, "-m", "metaml.runners.worker", str(theirs.fileno())]
            process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return _Worker(process, Connection(ours.detach()))


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
