"""Every standard metric of a prediction, and the one normalised error that is compared over tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics as sk

from metaml.errors import UsageError
from metaml.trial import WORST_ERROR

EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss (float32 cannot do better)."""


@dataclass(frozen=True)
class Metric:
    """A metric, and how to turn its value into a loss."""

    name: str
    loss: Callable[[float], float]
    """Value -> loss, lower is better, 0 is perfect."""


METRICS: dict[str, dict[str, Metric]] = {
    "classification": {
        "roc_auc": Metric("roc_auc", lambda value: 1 - value),
        "log_loss": Metric("log_loss", lambda value: value),
        "error_rate": Metric("error_rate", lambda value: value),
        "balanced_error": Metric("balanced_error", lambda value: value),
    },
    "regression": {
        "rmse": Metric("rmse", lambda value: value),
        "mae": Metric("mae", lambda value: value),
        "r2": Metric("r2", lambda value: 1 - value),
    },
}
"""Kind of task -> metric by name."""

DEFAULT_METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
"""Task type -> metric, as in the OpenML AutoML Benchmark (Gijsbers et al. 2024)."""


def metric_for(task_type: str, name: str | None = None) -> Metric:
    """Return the metric called `name`, or the default of the task type.

    Raises:
        UsageError: the metric does not fit the task type.
    """
    kind = METRICS["regression" if task_type == "regression" else "classification"]
    name = name or DEFAULT_METRICS[task_type]
    if name not in kind:
        raise UsageError(f'The metric "{name}" does not fit a {task_type} task; use one of: {", ".join(kind)}.')
    return kind[name]


def evaluate_prediction(y: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Return all metrics of a prediction; one that is undefined on these rows is left out.

    **Shape**
    - y: ``(n,)``, class codes for probabilities ``(n, k)``, or values for values ``(n,)``
    """
    scores = _regression_scores(y, prediction) if prediction.ndim == 1 else _class_scores(y, prediction)
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def constant_prediction(y: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the best prediction that ignores the features: class shares, or the mean; shaped `like`."""
    if like.ndim == 1:
        return np.full(len(y), y.mean())
    shares = np.bincount(y, minlength=like.shape[1]) / len(y)
    return np.tile(shares, (len(y), 1))


def normalised_error(
    metric: Metric, scores: Sequence[Mapping[str, float]], constants: Sequence[Mapping[str, float]]
) -> float:
    """Return mean loss / mean loss of the best constant prediction over folds, clipped to [0, 2].

    Args:
        metric: what is compared.
        scores: metrics of the model on each fold.
        constants: metrics of the best constant prediction on the same rows.

    >>> metric = metric_for("regression")
    >>> normalised_error(metric, [{"rmse": 1.0}, {"rmse": 2.0}], [{"rmse": 3.0}, {"rmse": 3.0}])
    0.5
    """
    pairs = [(a[metric.name], b[metric.name]) for a, b in zip(scores, constants, strict=True) if metric.name in a]
    if not pairs:
        return WORST_ERROR
    loss = float(np.mean([metric.loss(value) for value, _ in pairs]))
    constant = float(np.mean([metric.loss(value) for _, value in pairs]))
    if constant <= 0:  # a constant is perfect on these rows
        return 0.0 if loss <= 0 else WORST_ERROR
    return float(np.clip(loss / constant, 0.0, WORST_ERROR))


def _class_scores(y: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    n, k = probabilities.shape
    safe = np.clip(probabilities, EPSILON, 1.0)
    safe = safe / safe.sum(axis=1, keepdims=True)
    hit = probabilities.argmax(axis=1) == y
    recalls = [hit[y == label].mean() for label in np.unique(y)]
    return {
        "error_rate": 1 - float(hit.mean()),
        "balanced_error": 1 - float(np.mean(recalls)),
        "log_loss": -float(np.log(safe[np.arange(n), y]).mean()),
        "roc_auc": _roc_auc(y, probabilities) if len(recalls) > 1 else math.nan,
    }


def _roc_auc(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve; macro average of one-vs-rest over the classes that occur."""
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(y, probabilities[:, 1]))
    return float(np.mean([sk.roc_auc_score(y == label, probabilities[:, label]) for label in np.unique(y)]))


def _regression_scores(y: np.ndarray, values: np.ndarray) -> dict[str, float]:
    residual = y - values
    total = float(((y - y.mean()) ** 2).mean())
    square = float((residual**2).mean())
    return {
        "rmse": math.sqrt(square),
        "mae": float(np.abs(residual).mean()),
        "r2": 1 - square / total if total > 0 else math.nan,
    }
