"""Generators that run in processes of their own."""

import os
import subprocess
import sys
import time

import pytest

from hw_cost.young import in_young_process


def squares(n):
    print("not a value")
    for k in range(n):
        yield k, k * k, os.getpid()


def broken():
    yield 1
    raise ValueError("no such kernel")


def killed():
    yield 1
    os._exit(9)


def endless():
    yield os.getpid()
    while True:
        time.sleep(0.01)
        yield 0


def test_values_come_one_by_one_from_another_process():
    told = list(in_young_process(squares, 3))
    assert [value[:2] for value in told] == [(0, 0), (1, 1), (2, 4)]
    assert os.getpid() not in {process for *_, process in told}


def test_each_time_the_process_is_new():
    assert len({next(in_young_process(squares, 1))[2] for _ in range(2)}) == 2


def test_an_error_there_is_raised_here():
    found = in_young_process(broken)
    assert next(found) == 1
    with pytest.raises(ValueError, match="no such kernel"):
        next(found)


def test_a_process_that_was_ended_is_told():
    found = in_young_process(killed)
    assert next(found) == 1
    with pytest.raises(RuntimeError, match="ended with code 9: it said nothing"):
        next(found)


def test_who_asks_no_more_ends_the_process():
    found = in_young_process(endless)
    process = next(found)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


ASKING = (
    "from tests.test_hw_cost.test_young import *; print(next(found := in_young_process(endless)), flush=True); [*found]"
)


def test_a_process_does_not_outlive_who_asked():
    with subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, text=True) as asking:
        process = int(asking.stdout.readline())
        asking.kill()
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(process, 0)
            time.sleep(0.05)
