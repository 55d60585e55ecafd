"""The command line: help, exit codes, one clear line for every mistake."""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from metaml.cli import COMMANDS, cli
from metaml.cli.report import report
from metaml.report import write_report
from tests.conftest import mixed_table


def metaml(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "metaml", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_one_clear_line(ran: subprocess.CompletedProcess, *words: str) -> None:
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("Error: ")
    for word in words:
        assert word in lines[-1]


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "members.csv"
    mixed_table(1000).drop(columns="value").to_csv(path, index=False)
    return path


class TestMistakes:
    def test_mistyped_target(self, table):
        assert_one_clear_line(metaml("search", "--task", table, "--target", "labl"), "labl", "Did you mean", "label")

    def test_missing_file(self):
        assert_one_clear_line(metaml("search", "--task", "nowhere.csv", "--target", "y"), "nowhere.csv")

    def test_empty_file(self, tmp_path):
        path = tmp_path / "empty.csv"
        path.touch()
        assert_one_clear_line(metaml("search", "--task", path, "--target", "y"), "empty.csv")

    def test_target_of_one_class(self, tmp_path):
        path = tmp_path / "one.csv"
        pd.DataFrame({"x": np.arange(50.0), "y": "same"}).to_csv(path, index=False)
        assert_one_clear_line(metaml("search", "--task", path, "--target", "y"), "y")

    def test_metric_that_does_not_fit(self, table, device_table):
        ran = metaml(
            "search", "--task", table, "--target", "label", "--metric", "rmse", "--no-store", "--device", device_table
        )
        assert_one_clear_line(ran, "rmse", "roc_auc")

    def test_unknown_device(self, table):
        ran = metaml("search", "--task", table, "--target", "label", "--device", "toaster", "--no-store")
        assert_one_clear_line(ran, "toaster", "metaml latency build")

    @pytest.mark.parametrize("duration", ["10x", "-5s", "0", "soon"])
    def test_time_that_is_none(self, table, duration):
        ran = CliRunner().invoke(cli, ["search", "--task", str(table), f"--time={duration}"])
        assert ran.exit_code == 2

    def test_store_that_is_no_store(self, table, tmp_path, device_table):
        path = tmp_path / "notes.txt"
        path.write_text("these are my notes, not a store " * 50)
        arguments = ["search", "--task", table, "--target", "label", "--store", path, "--device", device_table]
        arguments += ["--out", tmp_path / "run", "--time", "60s", "--trials", 1]
        refused = metaml(*arguments, "--store-required", "--out", tmp_path / "refused")
        assert refused.returncode == 3
        assert "Traceback" not in refused.stderr
        cold = metaml(*arguments)
        assert cold.returncode == 0, cold.stderr
        assert "goes on without it" in cold.stderr
        assert (tmp_path / "run" / "model.onnx").exists()
        assert path.read_text() == "these are my notes, not a store " * 50

    def test_report_of_no_run(self, tmp_path):
        ran = CliRunner().invoke(report, [str(tmp_path)])
        assert ran.exception is not None
        assert "not a run folder" in str(ran.exception)


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += all_commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", all_commands(cli), ids=" ".join)
class TestEveryCommand:
    def test_has_help_and_json(self, path):
        ran = CliRunner().invoke(cli, [*path, "--help"])
        assert ran.exit_code == 0
        assert "--json" in ran.output

    def test_is_in_the_readme(self, path):
        readme = (Path(__file__).parents[2] / "README.md").read_text()
        assert f"metaml {path[0]}" in readme
        if len(path) > 1:
            assert path[1] in readme


def test_help_lists_every_command_without_importing_torch():
    script = "import sys; from metaml.cli import cli\ntry: cli.main(['--help'])\nfinally: print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("False")
    assert all(name in ran.stdout for name in COMMANDS)


def test_metafeatures_command(table):
    ran = metaml("metafeatures", "--task", table, "--target", "label", "--json")
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)["metafeatures"]) > 20


def test_suggest_command_needs_no_evaluation(table, device_table):
    started = time.monotonic()
    ran = metaml(
        "suggest", "--task", table, "--target", "label", "--device", device_table, "--no-store", "-n", 3, "--json"
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert len(answer["suggestions"]) == 3
    assert answer["why"]
    assert time.monotonic() - started < 60


def test_store_info_of_no_store_is_a_store_problem(tmp_path):
    assert metaml("store", "info", "--store", tmp_path / "none.sqlite").returncode == 3


def test_report_escapes_what_comes_from_the_data(tmp_path):
    nasty = "</title><script>alert(1)</script>"
    latency = {"predicted": 0.1, "measured": None, "judged": 0.2, "interval": [0.1, 0.2], "limit": 1.0, "batch": 1}
    latency |= {"device": nasty}
    configuration = {"space": "s", "family": nasty}
    trial = {"number": 0, "configuration": configuration, "source": nasty, "status": "ok", "error": 0.5, "seconds": 1.0}
    trial |= {"latency_ms": 0.1, "metrics": {nasty: 0.5}, "message": nasty}
    trial |= {"curve": [[1, None], [2, 0.5], [3, 0.4]]}
    best = {"configuration": configuration, "metrics": {nasty: 0.5}, "error": 0.5, "latency_ms": latency}
    task = {
        "name": nasty,
        "type": "binary",
        "target": nasty,
        "extent": nasty,
        "validation": "x",
        "metric": nasty,
    }
    summary = {"task": task, "best": best | {"model_bytes": 10}, "trials": [trial], "pareto": [trial]}
    write_report(summary | {"seconds": 1.0, "notes": [nasty]}, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "Learning curves" in page
    no_curve = [trial | {"curve": [[1, None], [2, None]]}]
    write_report(summary | {"seconds": 1.0, "notes": [], "trials": no_curve}, tmp_path / "report.html")
    assert "Learning curves" not in (tmp_path / "report.html").read_text()
