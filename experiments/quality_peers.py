"""Fits one other system on one table: ``python quality_peers.py SYSTEM FOLDER``, in an environment that has it.

Knows nothing of this project, so that it runs where only the peer is installed. FOLDER holds ``request.json`` (target,
type of task, seconds, cores), ``train.parquet`` with the target and ``test.parquet`` without it; written are
``answer.json`` and ``predictions.npy``: values ``(n,)``, or probabilities ``(n, k)`` in the order of the answer's
classes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LATENCY_CALLS, LATENCY_SECONDS = 50, 5.0
"""One row is predicted this often, or for so long, after a first time."""

Predict = Callable[[pd.DataFrame], np.ndarray]
Fitted = tuple[Predict, list[Any], str]
"""What predicts, the classes in its order, and a word about the model."""


def fit_boosting(train: pd.DataFrame, request: dict[str, Any]) -> Fitted:
    """scikit-learn's histogram gradient boosting with its defaults; text columns are its categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    X, y = train.drop(columns=[request["target"]]), train[request["target"]]
    kinds = {name: pd.CategoricalDtype(_frequent(X[name])) for name in X if not pd.api.types.is_numeric_dtype(X[name])}
    regression = request["type"] == "regression"
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    model = kind(categorical_features="from_dtype", random_state=0).fit(X.astype(kinds), y)
    predict = model.predict if regression else model.predict_proba
    return lambda rows: predict(rows.astype(kinds)), list(getattr(model, "classes_", [])), f"{model.n_iter_} iterations"


def _frequent(cells: pd.Series[Any]) -> list[Any]:
    """Return the categories of a column, the 254 most frequent: it takes no more."""
    return list(cells.value_counts().index[:254])


def fit_flaml(train: pd.DataFrame, request: dict[str, Any]) -> Fitted:
    """FLAML's AutoML with its default learners."""
    from flaml import AutoML

    X, y = train.drop(columns=[request["target"]]), train[request["target"]]
    metrics = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
    model = AutoML()
    model.fit(
        X,
        y,
        task="regression" if request["type"] == "regression" else "classification",
        metric=metrics[request["type"]],
        time_budget=request["seconds"],
        n_jobs=request["cores"],
        seed=0,
        verbose=0,
    )
    if request["type"] == "regression":
        return model.predict, [], str(model.best_estimator)
    return model.predict_proba, list(model.classes_), str(model.best_estimator)


def fit_autogluon(train: pd.DataFrame, request: dict[str, Any], presets: str = "medium_quality") -> Fitted:
    """AutoGluon's TabularPredictor; its default preset is ``medium_quality``."""
    from autogluon.tabular import TabularPredictor

    metrics = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "root_mean_squared_error"}
    model = TabularPredictor(
        request["target"],
        problem_type=request["type"],
        eval_metric=metrics[request["type"]],
        path=str(Path(request["folder"]) / "autogluon"),
        verbosity=0,
    )
    model.fit(train, time_limit=request["seconds"], presets=presets, num_cpus=request["cores"], num_gpus=0)
    if request["type"] == "regression":
        return lambda rows: model.predict(rows).to_numpy(), [], str(model.model_best)
    classes = list(model.class_labels)
    return lambda rows: model.predict_proba(rows)[classes].to_numpy(), classes, str(model.model_best)


def fit_autogluon_best(train: pd.DataFrame, request: dict[str, Any]) -> Fitted:
    """AutoGluon for accuracy alone."""
    return fit_autogluon(train, request, "best_quality")


PEERS: dict[str, tuple[Callable[[pd.DataFrame, dict[str, Any]], Fitted], str]] = {
    "hist_gradient_boosting": (fit_boosting, "scikit-learn"),
    "flaml": (fit_flaml, "flaml"),
    "autogluon": (fit_autogluon, "autogluon.tabular"),
    "autogluon_best": (fit_autogluon_best, "autogluon.tabular"),
}
"""Name -> what fits it, and the package whose version is told."""


def latency_ms(predict: Predict, rows: pd.DataFrame) -> float:
    """Return the median time to predict one row, in milliseconds."""
    predict(rows.iloc[:1])
    times, begun = list[float](), time.perf_counter()
    for i in range(LATENCY_CALLS):
        row = rows.iloc[[i % len(rows)]]
        started = time.perf_counter()
        predict(row)
        times.append(time.perf_counter() - started)
        if time.perf_counter() - begun > LATENCY_SECONDS:
            break
    return 1000 * float(np.median(times))


def main(system: str, folder: Path) -> None:
    """Fit, predict and write the answer."""
    request = {**json.loads((folder / "request.json").read_text()), "folder": str(folder)}
    train, test = (pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "test"))
    fit, package = PEERS[system]
    started = time.monotonic()
    predict, classes, model = fit(train, request)
    seconds = time.monotonic() - started
    np.save(folder / "predictions.npy", np.asarray(predict(test), dtype=float))
    answer = {
        "seconds": seconds,
        "latency_ms": latency_ms(predict, test),
        "classes": [label.item() if isinstance(label, np.generic) else label for label in classes],
        "model": model,
        "version": version(package),
    }
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
