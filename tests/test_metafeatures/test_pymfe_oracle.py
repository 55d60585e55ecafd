"""Equality with pymfe, whose values `experiments.metafeatures_oracle` has recorded, to one part in a million."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn

import metafeatures
from experiments.metafeatures_oracle import TABLES, is_available
from metafeatures.tree import Tree

ORACLE = json.loads((Path(__file__).parents[1] / "assets" / "pymfe_oracle.json").read_text())

DIFFERENT = {
    "gravity": "where classes are equally large pymfe takes the first by name, this package the mean over all pairs",
    "attr_conc.mean": "above twelve columns both draw twelve, but not the same",
    "attr_conc.sd": "above twelve columns both draw twelve, but not the same",
    "nr_norm": "pymfe counts constant columns as normal",
    "sd_ratio": "pymfe weights the classes in reversed order and may take the logarithm of a determinant's wrong sign",
    **dict.fromkeys(
        ("can_cor.mean", "can_cor.sd", "w_lambda", "p_trace", "lh_trace", "roy_root"),
        "pymfe iterates, and stops at a tolerance of 1e-6 on the weights",
    ),
}
"""Features that pymfe defines otherwise on some tables; `test_statistical` has closed forms for them."""


def values(name):
    """This package's values of the table: the tree grown on the numeric columns as they are, as pymfe does."""
    X, y = TABLES[name]()
    groups = ["general", "statistical", "information"]
    described = metafeatures.describe(X, pd.Series(y), task_type="classification", groups=groups, time_limit=600)
    result = dict(described)
    numeric = X.select_dtypes("number").to_numpy(dtype=float)
    if numeric.size and sklearn.__version__ == ORACLE["versions"]["scikit-learn"]:  # trees break ties by version
        grown = SimpleNamespace(tree=Tree.grow(numeric, pd.factorize(y)[0], classify=True))
        for feature in metafeatures.REGISTRY.values():
            if feature.group == "model_based":
                result |= feature.compute(grown)
    return result


@pytest.mark.parametrize("name", list(ORACLE["tables"]))
def test_values_equal_pymfe(name):
    if not is_available(name):
        pytest.skip("the data folder (METAML_DATA) is not here")
    expected = ORACLE["tables"][name]
    computed = values(name)
    shared = [feature for feature in expected if feature in computed and feature not in DIFFERENT]
    wrong = {
        feature: (computed[feature], expected[feature])
        for feature in shared
        if not np.isclose(computed[feature], expected[feature], rtol=1e-6, atol=1e-6)
    }
    assert wrong == {}


def test_the_oracle_covers_enough():
    tables = ORACLE["tables"]
    features = {feature for values in tables.values() for feature in values} - set(DIFFERENT)
    covered = [feature for feature in features if sum(feature in values for values in tables.values()) >= 10]
    assert len(covered) >= 60
