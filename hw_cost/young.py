"""Runs a generator in a new process: one that has opened hundreds of models measures the next ones wrongly.

What an old process allocates lies scattered in the holes of its heap. Quantised networks of 20 to 60 microseconds,
opened after 900 others, took up to 1.3 times as long as in a process of their own, while a reference opened at the
start took as long as ever. Users call a model from a process that has opened one.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")

_CHILD = "from hw_cost.young import _serve; _serve()"


def in_young_process(function: Callable[..., Iterator[T]], *arguments: Any) -> Iterator[T]:
    """Yield what a generator yields that runs in a new process of this interpreter.

    Args:
        function: a generator function of a module, with arguments and values that can be pickled.
        arguments: its arguments.

    Raises:
        Exception: whatever the generator raised.
        RuntimeError: its process was ended.
    """
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.close()
            while (told := _next(process.stdout)) is not None:
                value, error = told
                if error is not None:
                    raise error
                yield value
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        if code:
            complaints.seek(0)
            lines = complaints.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"a process that measured models ended with code {code}: {lines[-1]}")


def _next(values: IO[bytes]) -> tuple[Any, Exception | None] | None:
    """Return the next value or error of the process, or None when it has ended."""
    try:
        told: tuple[Any, Exception | None] = pickle.load(values)  # noqa: S301 (of our own process)
    except EOFError:
        return None
    return told


def _serve() -> None:
    """Run what comes by standard input; whatever else is printed here goes to standard error."""
    values = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 (of our own process)
    try:
        for value in _told(function, arguments):
            pickle.dump(value, values)
            values.flush()
    except (KeyboardInterrupt, BrokenPipeError):  # who asked has gone
        os._exit(1)


def _told(function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> Iterator[tuple[Any, Exception | None]]:
    """Yield the values of a generator, and the error that ends it if one does."""
    try:
        for value in function(*arguments):
            yield value, None
    except Exception as error:
        yield None, error
