"""The experiment at its tiny size, and the peers' recipes under the contract of warm-starters."""

import numpy as np
import pandas as pd
import pytest

from experiments import warm_vs_cold
from experiments.warmstart_data import DATA
from experiments.warmstart_peers import PEERS
from experiments.warmstart_speed import synthetic, time_it
from portfolio import WARM_STARTERS, Target


@pytest.mark.parametrize("name", sorted(PEERS))
def test_peers_propose_distinct_unobserved_ids(name):
    history = synthetic(12, 9, fill=0.8)
    starter = PEERS[name](seed=0).fit(history)
    features = history.metafeatures.iloc[0]
    for observed in ({}, {"c0": 0.4}, {f"c{j}": 0.1 * j for j in range(8)}, {"c1": np.nan}):
        ids = starter.propose(Target(features, observed), 4)
        assert len(ids) == len(set(ids)) == min(4, 9 - len(observed))
        assert not set(ids) & set(observed)
    assert isinstance(starter.propose(Target(pd.Series(dtype=float)), 1)[0], str)


def test_speed_is_measured():
    assert set(time_it(WARM_STARTERS["knn"](seed=0), synthetic(20, 8, fill=1.0), 3)) >= {"fit_s", "median_ms"}


@pytest.mark.skipif(not DATA.exists(), reason=f"no real matrices in {DATA}")
def test_the_experiment_runs_small(tmp_path, capsys):
    arguments = ["--matrices", "tst_svm", "--tasks", "10", "--starters", "knn,flaml", "--folds", "2"]
    assert warm_vs_cold.main([*arguments, "--out", str(tmp_path)]) == 0
    assert "mean normalised regret" in capsys.readouterr().out
    assert {"regret.csv", "paired.csv"} <= {file.name for file in tmp_path.iterdir()}
