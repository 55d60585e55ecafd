"""Matrices of past results that the experiments replay; read from the folder ``METAML_DATA``, never copied."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from portfolio import History, load_default_history

DATA = Path(os.environ.get("METAML_DATA", Path(__file__).parents[2] / "shared" / "data")) / "meta"


def load(name: str) -> History:
    """Return the history of this name; see ``MATRICES``."""
    return MATRICES[name]()


def _read(path: str) -> pd.DataFrame:
    frame = pd.read_csv(DATA / path, index_col=0)
    frame.index = frame.index.astype(str)
    return frame


def _rows(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return configuration id -> hyperparameters without the empty cells."""
    return {str(name): {str(key): value for key, value in row.dropna().items()} for name, row in frame.iterrows()}


def oboe() -> History:
    """418 OpenML tasks × 219 scikit-learn configurations, balanced error; families are given (Yang et al. 2019)."""
    errors, configs = _read("oboe/error_matrix.csv.gz"), _read("oboe/configs.csv")
    configurations = {
        str(name): {"algorithm": row["algorithm"], **json.loads(row["hyperparameters"])}
        for name, row in configs.iterrows()
    }
    return History(
        errors,
        configurations,
        metafeatures=_read("oboe/metafeatures.csv").reindex(errors.index),
        runtimes=_read("oboe/runtime_matrix.csv.gz").reindex(index=errors.index, columns=errors.columns),
        groups=_read("oboe/dataset_names.csv")["family"].reindex(errors.index),
    )


def dataset2vec(space: str) -> History:
    """120 UCI tasks × a grid of small networks, error rate; three grids (Jomaa et al. 2021)."""
    errors = 1.0 - _read(f"dataset2vec_mlp/accuracy_searchspace_{space}.csv.gz")
    features = _read("dataset2vec_mlp/metafeatures_engineered41_minmax.csv").reindex(errors.index)
    return History(errors, _rows(_read(f"dataset2vec_mlp/configs_searchspace_{space}.csv")), features)


def svm() -> History:
    """50 tasks × 288 support vector machines, error rate (Wistuba et al. 2015)."""
    errors = 1.0 - _read("tst_svm/accuracy_matrix.csv.gz")
    features = _read("tst_svm/metafeatures_scaled.csv").reindex(errors.index)
    return History(errors, _rows(_read("tst_svm/configs.csv")), features)


def alors() -> History:
    """76 OpenML tasks × 292 Weka algorithms, error rate, nothing else known (Mısır & Sebag 2017)."""
    errors = 1.0 - _read("openml_alors_accuracy/accuracy_matrix.csv.gz")
    return History(errors, {str(name): {} for name in errors.columns})


def weka() -> History:
    """438 OpenML tasks × 102 Weka flows, error rate, 8 % holes, no metafeatures (OpenML study 1)."""
    errors = 1.0 - _read("openml_studies_14_34_1/matrix_study_1.csv.gz")
    return History(errors, {str(name): {} for name in errors.columns})


def study_34() -> History:
    """105 OpenML tasks × 30 Weka algorithms, error rate, with OpenML's own metafeatures (OpenML study 34)."""
    errors = 1.0 - _read("openml_studies_14_34_1/matrix_study_34.csv.gz")
    lines = (DATA / "openml_studies_14_34_1/study_34_metafeatures.arff").read_text().splitlines()
    names = [line.split()[1] for line in lines if line.upper().startswith("@ATTRIBUTE")]
    rows = [line.split(",") for line in lines if "," in line and not line.startswith(("@", "%"))]
    features = pd.DataFrame(rows, columns=names).set_index(names[0]).apply(pd.to_numeric, errors="coerce")
    features = features.drop(columns="repetition").groupby(level=0).mean()
    return History(errors, {str(name): {} for name in errors.columns}, features.reindex(errors.index))


def feurer() -> History:
    """76 OpenML tasks × 1,623 scikit-learn grid points of three algorithms, error rate (Feurer et al. 2015)."""
    errors = _read("feurer_aaai15_cash/value_matrix.csv.gz")
    configs = _read("feurer_aaai15_cash/configs_algorithm_only.csv")
    return History(errors, _rows(configs), _read("oboe/metafeatures_2318.csv.gz").reindex(errors.index))


def _surrogate(learner: str, metric: str) -> History:
    errors = 1.0 - _read(f"yahpo_surrogate/{learner}_{metric}_500.csv.gz")
    return History(errors, _rows(_read(f"yahpo_surrogate/{learner}_configs500.csv")))


MATRICES: dict[str, Callable[[], History]] = {
    "oboe": oboe,
    "dataset2vec_mlp_a": lambda: dataset2vec("a"),
    "dataset2vec_mlp_b": lambda: dataset2vec("b"),
    "dataset2vec_mlp_c": lambda: dataset2vec("c"),
    "tst_svm": svm,
    "openml_alors": alors,
    "openml_weka": weka,
    "openml_34": study_34,
    "feurer": feurer,
    "shipped": load_default_history,
    "yahpo_xgboost": lambda: _surrogate("rbv2_xgboost", "bac"),
    "yahpo_rpart": lambda: _surrogate("rbv2_rpart", "bac"),
    "yahpo_lcbench": lambda: _surrogate("lcbench", "val_balanced_accuracy"),
}
