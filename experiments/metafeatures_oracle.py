"""What pymfe, the field's standard library, computes: the oracle that the tests of `metafeatures` compare with.

pymfe is no dependency of this project. Run this in an environment of its own, with the project's scikit-learn:

    python -m venv oracle && oracle/bin/pip install pymfe==0.4.4 scikit-learn==1.9.1 pandas
    PYTHONPATH=. oracle/bin/python -m experiments.metafeatures_oracle tests/assets/pymfe_oracle.json

The file holds results only. Two settings differ from pymfe's defaults. Categorical columns are not turned into numbers,
because here statistics are of numeric columns only. And the 1e-8 that pymfe adds to each cell of a contingency table,
which moves entropies by up to 1e-4, is made so small that it does nothing.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn import datasets

Dataset = tuple[pd.DataFrame, "pd.Series[Any]"]

DATA = Path(os.environ.get("METAML_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
GROUPS = ("general", "statistical", "info-theory", "model-based")
FOLDER_TABLES = (
    *("banknote_authentication", "blood_transfusion_service_center", "cmc", "credit_g", "diabetes", "ecoli", "glass"),
    *("haberman", "ilpd", "kc1", "kr_vs_kp", "qsar_biodeg", "segment", "seeds", "sonar", "tae", "tic_tac_toe"),
    *("vehicle", "vowel", "waveform_5000", "wdbc", "yeast", "spambase", "orange_juice", "cardiotocography"),
)
"""Tables without missing values and of at most 5,000 rows: pymfe takes nothing else, and nothing is sampled here."""


def from_sklearn(load: Callable[..., Dataset]) -> Dataset:
    """One of the tables that come with scikit-learn."""
    X, y = load(return_X_y=True, as_frame=True)
    return X, y


def synthetic(seed: int) -> Dataset:
    """A table of n(0, 1), log-normal, integer and categorical columns with unbalanced classes."""
    rng = np.random.default_rng(seed)
    n, k = 200 + 50 * seed, 2 + seed
    y = rng.choice(k, size=n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    X = pd.DataFrame({f"normal {j}": rng.normal(size=n) + j * y for j in range(3)})
    X["log-normal"] = rng.lognormal(size=n)
    X["integer"] = rng.integers(0, 9, size=n).astype(float)
    X["category"] = pd.Categorical(np.array(list("abcd"))[rng.integers(0, 4, size=n)])
    return X, pd.Series(y)


def from_folder(name: str) -> Dataset:
    """A table of the data folder, numeric columns as floats and all others as categories."""
    types = json.loads((DATA / "tabular" / "types.json").read_text())[name]
    path = next((DATA / "tabular").glob(f"{name}.csv*"))
    table = pd.read_csv(path)
    X = table.drop(columns=types["target"])
    for column, kind in types["types"].items():
        X[column] = X[column].astype("float64" if kind == "numeric" else "category")
    return X, table[types["target"]]


TABLES: dict[str, Callable[[], Dataset]] = {
    "iris": partial(from_sklearn, datasets.load_iris),
    "wine": partial(from_sklearn, datasets.load_wine),
    "breast_cancer": partial(from_sklearn, datasets.load_breast_cancer),
    "digits": partial(from_sklearn, datasets.load_digits),
    **{f"synthetic_{seed}": partial(synthetic, seed) for seed in range(4)},
    **{f"folder:{name}": partial(from_folder, name) for name in FOLDER_TABLES},
}


def is_available(name: str) -> bool:
    """Whether the table can be loaded here: those of the data folder need the folder."""
    return not name.startswith("folder:") or (DATA / "tabular" / "types.json").exists()


def fit(X: pd.DataFrame, y: pd.Series[Any], groups: tuple[str, ...] = GROUPS) -> Any:
    """Pymfe's extractor, fitted on a table."""
    MFE = import_module("pymfe.mfe").MFE
    categorical = [j for j, dtype in enumerate(X.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    values = X.astype(object).to_numpy() if categorical else X.to_numpy(dtype=float)
    extractor = MFE(groups=list(groups), summary=["mean", "sd"], random_state=0, suppress_warnings=True)
    return extractor.fit(values, pd.factorize(y)[0], cat_cols=categorical or None, transform_cat=None)


def extract(X: pd.DataFrame, y: pd.Series[Any], groups: tuple[str, ...] = GROUPS) -> dict[str, float]:
    """Pymfe's values for a table, the finite ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names, values = fit(X, y, groups).extract(suppress_warnings=True)
    return {name: float(value) for name, value in zip(names, values, strict=True) if np.isfinite(value)}


def without_smoothing() -> None:
    """Make the constant that pymfe adds to the cells of contingency tables too small to matter."""
    information = import_module("pymfe.info_theory").MFEInfoTheory
    for function in (information._calc_joint_ent, information._calc_conc):
        function.__func__.__defaults__ = (1e-300,)


def main(path: str) -> None:
    """Write the values of all tables at hand to a JSON file."""
    without_smoothing()
    tables = {}
    for name, load in TABLES.items():
        if is_available(name):
            tables[name] = extract(*load())
            print(f"{name}: {len(tables[name])} finite values", file=sys.stderr)
    versions = {
        "pymfe": import_module("pymfe").__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
    Path(path).write_text(json.dumps({"versions": versions, "tables": tables}, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
