"""auto-sklearn's features, under its names, equal those that published histories store for the same tables."""

import numpy as np
import pandas as pd
import pytest

import metafeatures
from experiments.metafeatures_oracle import DATA, from_folder

STORED = DATA / "meta" / "oboe" / "metafeatures.csv"
OPENML_IDS = {
    "kr_vs_kp": 3,
    "balance_scale": 11,
    "cmc": 23,
    "credit_g": 31,
    "diabetes": 37,
    "sonar": 40,
    "splice": 46,
    "tic_tac_toe": 50,
    "vehicle": 54,
    "iris": 61,
    "banknote_authentication": 1462,
    "wdbc": 1510,
}
pytestmark = pytest.mark.skipif(not STORED.exists(), reason="the data folder (METAML_DATA) is not here")


@pytest.mark.parametrize("name", list(OPENML_IDS))
def test_autosklearn_features_equal_the_stored_ones(name):
    stored = pd.read_csv(STORED, index_col="openml_dataset_id").loc[OPENML_IDS[name]]
    vector = metafeatures.describe(*from_folder(name), groups=["autosklearn"], task_type="classification")
    assert len(vector) == 37
    np.testing.assert_allclose(vector, stored[vector.index], rtol=1e-5, atol=1e-5)  # theirs are of single precision


@pytest.mark.parametrize("name", ["diabetes", "vehicle", "iris", "banknote_authentication", "wdbc"])
def test_principal_components_of_numeric_tables_equal_the_stored_ones(name):
    stored = pd.read_csv(STORED, index_col="openml_dataset_id").loc[OPENML_IDS[name]]
    vector = metafeatures.describe(*from_folder(name), groups=["pca"], task_type="classification")
    assert vector["pca_fraction_95"] == pytest.approx(stored["PCAFractionOfComponentsFor95PercentVariance"])
    assert vector["pca_kurtosis"] == pytest.approx(stored["PCAKurtosisFirstPC"], rel=1e-4)
    assert vector["pca_skewness"] == pytest.approx(abs(stored["PCASkewnessFirstPC"]), rel=1e-4)


def test_the_fusi_set_has_the_stored_names():
    columns = set(pd.read_csv(STORED, nrows=0).columns) - {"openml_dataset_id"}
    assert set(metafeatures.feature_names(["fusi"])) == columns
