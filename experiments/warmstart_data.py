"""Matrices of past results that the experiments replay; read from the folder ``METAML_DATA``, never copied."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from portfolio import History

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
    "yahpo_rpart": lambda: _surrogate("rbv2_rpart", "bac"),
    "yahpo_lcbench": lambda: _surrogate("lcbench", "val_balanced_accuracy"),
}
