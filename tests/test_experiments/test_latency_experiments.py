"""The experiments on latencies at a tiny size."""

import numpy as np
import pandas as pd
from click.testing import CliRunner

from experiments.latency_limits import Outcome, append, read
from experiments.latency_transfer import CELL_OPS, family, main, middle


def test_the_middle_leaves_a_tenth_out_at_either_end():
    latencies = np.arange(20.0)[::-1]
    assert sorted(middle(latencies, np.arange(10))) == list(range(1, 9))


def test_settings_of_one_machine_are_one_family():
    assert family("1080ti_1") == family("1080ti_256")
    assert family("silver_4114") != family("silver_4210r")


def test_transfer_runs_on_made_up_cells(tmp_path):
    random = np.random.default_rng(0)
    ids = random.integers(len(CELL_OPS), size=(1900, 6))
    edges = [[f"{CELL_OPS[op]}~{source}" for op, source in zip(cell, (0, 0, 1, 0, 1, 2), strict=True)] for cell in ids]
    cells = [f"|{e[0]}|+|{e[1]}|{e[2]}|+|{e[3]}|{e[4]}|{e[5]}|" for e in edges]
    known = ["1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3"]
    devices = [*known, "essential_ph_1", "samsung_s7"]
    devices += ["titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"]
    prices = random.uniform(0.1, 1, (len(CELL_OPS), len(devices)))
    latencies = pd.DataFrame(1 + prices[ids].sum(axis=1), columns=devices)
    latencies.insert(0, "arch", cells)
    latencies.to_csv(tmp_path / "nasbench201_ms.csv.gz", index=False)
    result = CliRunner().invoke(main, ["--data", str(tmp_path), "--seeds", "1"], catch_exceptions=False)
    means = result.output.splitlines()[-4:]
    transfer = next(line for line in means if line.startswith("transfer "))
    assert float(transfer.split()[1]) > 0.95


def test_searches_with_limits_are_kept_in_a_file(tmp_path):
    outcomes = [
        Outcome(0, "a.csv", 0.1, 1, True, 0.09, 0.09, 0.11, 0.105),
        Outcome(1, "b.csv", 0.1, 32, failure="no trial ended"),
        Outcome(2, "a.csv", 0.1, 1, False, 0.2, 0.2, 0.2, 0.19),
    ]
    for outcome in outcomes:
        append(tmp_path / "limits.csv", outcome)
    assert read(tmp_path / "limits.csv") == outcomes
    assert [outcome.broken for outcome in outcomes] == [True, False, False]
    assert outcomes[0].clearly_broken
