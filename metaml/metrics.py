"""Every standard metric of a prediction, and the one normalised error that is compared over tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

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
    scores = {name: function(y, prediction) for name, function in _VALUES[_kind(prediction)].items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def metric_value(name: str, y: np.ndarray, prediction: np.ndarray) -> float:
    """Return one metric of a prediction, nan where it is undefined; shapes as in `evaluate_prediction`."""
    return _VALUES[_kind(prediction)][name](y, prediction)


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


def _kind(prediction: np.ndarray) -> str:
    return "regression" if prediction.ndim == 1 else "classification"


def _log_loss(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative logarithm of the true class's probability; rows are scaled to the sum 1."""
    safe = np.clip(probabilities, EPSILON, 1.0)
    return -float(np.log(safe[np.arange(len(y)), y] / safe.sum(axis=1)).mean())


def _error_rate(y: np.ndarray, probabilities: np.ndarray) -> float:
    return 1 - float((probabilities.argmax(axis=1) == y).mean())


def _balanced_error(y: np.ndarray, probabilities: np.ndarray) -> float:
    """One minus the mean recall of the classes that occur."""
    counts = np.bincount(y)
    hits = np.bincount(y, weights=probabilities.argmax(axis=1) == y)
    return 1 - float((hits[counts > 0] / counts[counts > 0]).mean())


def _roc_auc(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve; macro average of one-vs-rest over the classes that occur."""
    labels = np.flatnonzero(np.bincount(y, minlength=probabilities.shape[1]))
    if len(labels) < 2:
        return math.nan
    if probabilities.shape[1] == 2:
        labels = np.array([1])
    return float(np.mean([_area(y == label, probabilities[:, label]) for label in labels]))


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs of a positive and a negative row that the scores order rightly, ties as one half."""
    n_positive = int(positive.sum())
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * (len(scores) - n_positive)))


def _rmse(y: np.ndarray, values: np.ndarray) -> float:
    return math.sqrt(((y - values) ** 2).mean())


def _mae(y: np.ndarray, values: np.ndarray) -> float:
    return float(np.abs(y - values).mean())


def _r2(y: np.ndarray, values: np.ndarray) -> float:
    total = float(((y - y.mean()) ** 2).mean())
    return 1 - float(((y - values) ** 2).mean()) / total if total > 0 else math.nan


_VALUES: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "classification": {
        "error_rate": _error_rate,
        "balanced_error": _balanced_error,
        "log_loss": _log_loss,
        "roc_auc": _roc_auc,
    },
    "regression": {"rmse": _rmse, "mae": _mae, "r2": _r2},
}
"""Kind of task -> metric -> its value on rows."""
