"""The quality experiment at a tiny size."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from experiments.quality_scores import Result, page, summarise
from experiments.quality_tables import LARGE, STRATA, choose, split
from experiments.tabular_quality import main, read
from metaml.collect import TaskEntry, read_manifest
from portfolio import load_default_history
from tests.conftest import mixed_table

CHOSEN = (
    "credit_g oil_spill scat ncbirths segment qsar_biodeg olive_region arrhythmia reg_servo reg_socmob "
    "income_bay_area mammography hpc_data stackoverflow_remote pmlb_led24 nass_cds kr_vs_kp "
    "reg_space_ga yrbss reg_house8L"
)
"""A default history that learns one of their families would change the choice: leave these out when building one."""


def entry(name, family, rows, kind="classification") -> TaskEntry:
    return TaskEntry(name, None, "y", kind, family, rows)


def test_tables_are_drawn_by_a_rule_one_of_each_family_and_none_that_is_known():
    sizes = (100, LARGE)
    entries = [
        entry(f"{kind[0]}{rows}_{i}", f"{kind[0]}{rows}_{i // 2}", rows, kind)
        for kind in ("classification", "regression")
        for rows in sizes
        for i in range(20)
    ]
    chosen = choose(entries, {"c100_0", "r3000_1"})
    assert [(e.rows >= LARGE, e.type) for e in chosen] == [(large, kind) for large, kind, n in STRATA for _ in range(n)]
    families = [e.family for e in chosen]
    assert len(set(families)) == 20
    assert not {"c100_0", "r3000_1"} & set(families)
    assert choose(entries[::-1], {"c100_0", "r3000_1"}) == chosen
    assert choose(entries, {"c100_0", "r3000_1"}, seed=1) != chosen


def test_real_tables_are_twenty_that_the_default_history_does_not_know(real_data):
    known = set(load_default_history().groups)
    chosen = choose(read_manifest(real_data / "tabular"), known)
    assert not known & {e.family for e in chosen}
    assert " ".join(e.name for e in chosen) == CHOSEN


def test_summary_by_hand():
    errors = {"a": (0.2, 0.5, 0.6), "b": (0.4, 0.502, 0.1)}
    results = [Result(f"t{i}", s, error=e, latency_ms=i) for s, row in errors.items() for i, e in enumerate(row)]
    results.append(Result("only a", "a", error=0.0))
    summary = summarise(results, "a")
    assert summary.loc["b", ["wins", "ties", "losses"]].tolist() == [1, 1, 1]
    assert summary.loc["b", "gap"] == pytest.approx((0.2 + 0.002 - 0.5) / 3)
    assert summary.loc["b", "low"] <= summary.loc["b", "gap"] <= summary.loc["b", "high"]
    assert summary.loc["a", "mean rank"] == pytest.approx((1 + 1 + 2) / 3)
    assert summary.index.tolist() == ["b", "a"]
    assert summary.loc["a", "median latency [ms]"] == 1


def test_page_tells_failures():
    results = [Result("t", "a", error=0.5), Result("t", "b", failure="no memory")]
    assert "- b on t: no memory" in page(results, "a", "What was done.")


@pytest.fixture
def tables(tmp_path):
    frame = mixed_table(1400)
    frame["age"] = frame["age"].astype(float)
    rows = []
    for target, kind, other in (("label", "classification", "value"), ("value", "regression", "label")):
        frame.drop(columns=[other]).to_csv(tmp_path / f"{target}.csv", index=False)
        rows.append((target, f"{target}.csv", target, kind, target, 1400))
    columns = ["name", "file", "target", "task", "family", "rows"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def test_parts_share_no_row_and_classes_keep_their_shares(tables):
    parts = split(read_manifest(tables)[0])
    assert len(parts.train) == 1050
    assert not set(parts.train.index) & set(parts.test.index)
    assert "label" not in parts.test
    assert abs(np.mean(parts.y_test) - np.mean(parts.task.y)) < 0.05


def test_experiment_runs_goes_on_and_writes_its_page(tables, tmp_path, device_table):
    out, where = tmp_path / "results.jsonl", tmp_path / "quality.md"
    options = [
        str(out),
        "--data",
        str(tables),
        "--seconds",
        "40",
        "--trials",
        "2",
        "--cores",
        "1",
        "--device",
        device_table,
    ]
    names = ["metaml within 0.2 ms", "hist_gradient_boosting"]
    chosen = ["--systems", ",".join(names), "--n", "1", "--page", str(where)]
    result = CliRunner().invoke(main, [*options, *chosen], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [r.system for r in read(out)] == names
    assert not [r.failure for r in read(out) if r.failure]
    assert all(r.error < 1 and r.latency_ms > 0 for r in read(out))
    assert "| metaml within 0.2 ms |" in where.read_text()
    chosen = ["--systems", "hist_gradient_boosting"]
    CliRunner().invoke(main, [*options, *chosen], catch_exceptions=False)
    assert [(r.table, r.system) for r in read(out)][2:] == [("value", "hist_gradient_boosting")]
    assert json.loads(out.read_text().splitlines()[-1])["metric"] == "rmse"


def test_peer_that_is_not_there_is_a_failure_that_counts_as_the_constant(tables, tmp_path):
    out = tmp_path / "results.jsonl"
    options = [str(out), "--data", str(tables), "--systems", "flaml", "--n", "1", "--peers-python", "/nowhere/python"]
    CliRunner().invoke(main, options, catch_exceptions=False)
    (result,) = read(out)
    assert result.error == 1.0
    assert "/nowhere/python" in result.failure
