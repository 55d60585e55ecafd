"""The scikit-learn face: `MetaClassifier` and `MetaRegressor`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from metaml.answer import SearchResult
from metaml.automl import search
from metaml.data import make_image_task, make_task
from metaml.predictor import Predictor


class _MetaEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both estimators share; see `metaml.search` for the arguments.

    Attributes after `fit`:
        result_: the `SearchResult`, with the run folder and all trials.
        predictor_: the delivered model; a pickle or copy of the estimator holds it and needs no run folder.
        n_features_in_: number of columns, or of values of an image.
        feature_names_in_: their names, if `X` was a DataFrame.
    """

    _kind = ""

    def __init__(
        self,
        *,
        time_limit: float = 600.0,
        device: str = "cpu",
        max_latency_ms: float | None = None,
        batch: int = 1,
        trials: int | None = None,
        warm_start: str = "auto",
        store: str | Path | bool | None = None,
        workers: int | None = None,
        out: str | Path | None = None,
        seed: int = 0,
        metric: str | None = None,
        ensemble: int = 5,
        compress: str = "none",
        zero_cost: str | None = None,
    ) -> None:
        self.time_limit = time_limit
        self.device = device
        self.max_latency_ms = max_latency_ms
        self.batch = batch
        self.trials = trials
        self.warm_start = warm_start
        self.store = store
        self.workers = workers
        self.out = out
        self.seed = seed
        self.metric = metric
        self.ensemble = ensemble
        self.compress = compress
        self.zero_cost = zero_cost

    def fit(self, X: pd.DataFrame | np.ndarray, y: Any) -> Self:
        """Search the best model for a table or for images; warn of rows and columns that are left out.

        **Shape**
        - X: ``(n, d)``, a DataFrame of any column types or an array; of images ``(n, h, w)``, ``(n, h, w, c)`` or
          ``(n, c, h, w)``; y: ``(n,)``
        """
        kind: Any = self._kind
        task = make_image_task(X, y, type=kind) if np.ndim(X) > 2 else make_task(X, y, type=kind)
        for note in task.notes:
            warnings.warn(note, stacklevel=2)
        self.result_: SearchResult = search(task, **self.get_params(deep=False))
        self.predictor_: Predictor = self.result_.predictor
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def _scores(self, X: pd.DataFrame | np.ndarray) -> np.ndarray:
        check_is_fitted(self, "result_")
        return self.predictor_.scores(self._with_names(X) if np.ndim(X) == 2 else X)

    def _with_names(self, X: pd.DataFrame | np.ndarray) -> pd.DataFrame | np.ndarray:
        """Return a table whose columns are called as in `fit`; by their position, with a warning, where names lack."""
        name, names = type(self).__name__, getattr(self, "feature_names_in_", None)
        if isinstance(X, pd.DataFrame) and names is not None:
            return X
        if np.shape(X)[1] != self.n_features_in_:
            expected = f"{name} is expecting {self.n_features_in_} features as input"
            raise ValueError(f"X has {np.shape(X)[1]} features, but {expected}")
        if names is not None:
            text = f"X does not have valid feature names, but {name} was fitted with feature names"
            warnings.warn(text, stacklevel=4)
            return pd.DataFrame(X, columns=names)
        if isinstance(X, pd.DataFrame):
            warnings.warn(f"X has feature names, but {name} was fitted without feature names", stacklevel=4)
            return X.to_numpy()
        return X


class MetaClassifier(ClassifierMixin, _MetaEstimator):  # type: ignore[misc]
    """The best classifier for a table or for images within a latency and a time limit.

    >>> clf = MetaClassifier(time_limit=60, max_latency_ms=1.0)  # then clf.fit(X, y).predict(X)
    """

    _kind = "classification"

    @property
    def classes_(self) -> np.ndarray:
        """The labels as they came, in the order of `predict_proba`."""
        return np.array(self.predictor_.classes)

    def predict(self, X: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Return labels ``(n,)``."""
        scores = self._scores(X)
        labels: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return labels

    def predict_proba(self, X: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Return probabilities ``(n, k)``, columns as in `classes_`."""
        return self._scores(X)


class MetaRegressor(RegressorMixin, _MetaEstimator):  # type: ignore[misc]
    """The best regressor for a table within a latency and a time limit."""

    _kind = "regression"

    def predict(self, X: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Return values ``(n,)``."""
        return self._scores(X)
