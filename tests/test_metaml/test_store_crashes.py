"""Real processes, really killed: nothing that was acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> dict:
    command = [sys.executable, str(ROOT / "tests" / "assets" / "store_writers.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("n", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path, n):
    told = run("kill", tmp_path / "store.sqlite", 0, n)
    assert sum(told["acknowledged"]) > 0


@pytest.mark.parametrize("n", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_creation_leaves_nothing_half_made(tmp_path, n):
    assert run("birth", tmp_path / "store.sqlite", 0, n)["killed"] == n


@pytest.mark.parametrize("n", [6, pytest.param(1000, marks=pytest.mark.slow)])
def test_eight_processes_write_into_one_store(tmp_path, n):
    assert run("crowd", tmp_path / "store.sqlite", 8, n)["median_ms"] > 0
