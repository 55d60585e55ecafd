"""A process that has imported what trials need, and forks a worker whenever it is asked to.

Imports take seconds of a processor; a fork of a process that has them behind it takes milliseconds and shares their
memory. It is a plain subprocess itself, on one thread, so that forking it is safe, and the caller's main module is not
run again. Where processes cannot be forked safely, as on macOS, it starts workers that import for themselves.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_REQUEST, _ANSWER = struct.Struct("q"), struct.Struct("q")
"""A process id to wait for, or 0 for a new worker at the socket sent along; the exit code of the process."""
_NEW = 0
ANSWER_SECONDS = 5.0
"""A nursery that does not answer for so long is given up."""
_FORKS = sys.platform == "linux"


class Nursery:
    """The process that starts workers, as its owner sees it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, "1") | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metaml.runners.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        ours.settimeout(ANSWER_SECONDS)
        self._control = ours

    @property
    def pid(self) -> int:
        """Process id of the nursery itself."""
        return self._process.pid

    def start(self) -> Connection:
        """Return the connection to a new worker, which listens once the imports are done.

        Raises:
            OSError: the nursery has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_REQUEST.pack(_NEW)], [theirs.fileno()])
        return Connection(ours.detach())

    def wait(self, pid: int) -> int | None:
        """Wait for the end of a worker and return its exit code, negative for a signal.

        A nursery that does not answer is closed; the code is None.
        """
        try:
            self._control.sendall(_REQUEST.pack(pid))
            code: int = _ANSWER.unpack(self._control.recv(_ANSWER.size))[0]
        except (OSError, struct.error):
            self.close()
            return None
        return code

    def close(self) -> None:
        """End the process; workers that are left notice and end as well."""
        self._process.kill()
        self._process.wait()
        self._control.close()


def main(descriptor: int) -> None:
    """Serve the owner at the other end of the socket until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's business
    control, parent = socket.socket(fileno=descriptor), os.getppid()
    if _FORKS:
        import metaml.runners.worker  # noqa: F401

        gc.freeze()  # a collection in a worker would copy all pages
    while os.getppid() == parent:
        if not select.select([control], [], [], 0.5)[0]:
            continue
        request, descriptors, *_ = socket.recv_fds(control, _REQUEST.size, 1)
        if not request:
            return
        if descriptors:
            _start_worker(descriptors[0], control)
        else:
            control.sendall(_ANSWER.pack(_exit_code(_REQUEST.unpack(request)[0])))


def _start_worker(descriptor: int, control: socket.socket) -> None:
    if not _FORKS:
        subprocess.Popen([sys.executable, "-m", "metaml.runners.worker", str(descriptor)], pass_fds=[descriptor])
    elif os.fork() == 0:
        from metaml.runners import worker

        control.close()
        code = 1
        try:
            worker.main(descriptor)
            code = 0
        finally:
            os._exit(code)
    os.close(descriptor)


def _exit_code(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]))
