"""(configuration, task, budget) -> error and metrics: folds, preprocessing, fitting, scoring."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hw_cost.graph import OpGraph
from hw_cost.ops import flops
from metaml.data import RawInputs, Split, Task, subsample
from metaml.halving import RungErrors, Rungs
from metaml.metrics import Metric, constant_prediction, evaluate_prediction, normalised_error
from metaml.models import TabularShape
from metaml.preprocessing import PREPROCESSORS, Features, Preprocessor, kind_of
from metaml.training import Model, Pauses, Rows, agreed_epochs, fit_model
from metaml.trial import Configuration, Curve


@dataclass(frozen=True)
class Pipeline:
    """A fitted preprocessor and model: from raw rows to predictions."""

    preprocessor: Preprocessor
    model: Model
    center: float = 0.0
    """Mean of a regression target; predictions are ``center + scale * values``."""
    scale: float = 1.0

    def predict(self, inputs: RawInputs) -> np.ndarray:
        """Return probabilities ``(n, k)`` or values ``(n,)`` of raw rows, as ``Task.inputs`` has them."""
        return self.predict_features(self.preprocessor.transform(inputs))

    def predict_features(self, features: Features) -> np.ndarray:
        """Return probabilities ``(n, k)`` or values ``(n,)`` of preprocessed rows."""
        return self.in_units(self.model.scores(features))

    def in_units(self, scores: np.ndarray) -> np.ndarray:
        """Return a model's scores as predictions: values are those of the target."""
        return self.center + self.scale * scores if self.model.shape.is_regression else scores


class PrunedError(Exception):
    """The first fold was so bad that the others were not run; its normalised error is the argument."""

    def __init__(self, error: float, message: str = "") -> None:
        super().__init__(message or f"the first fold's error of {error:.3f} left no hope")
        self.error = error


class PausedError(PrunedError):
    """The first fold's training was left for now, at a rung where others were better; its state is kept."""

    def __init__(self, reached: RungErrors, limit: float) -> None:
        share, error = reached[-1]
        super().__init__(error, f"its error of {error:.3f} after {share:.0%} of the training is above {limit:.3f}")
        self.reached = reached


@dataclass(frozen=True)
class Evaluation:
    """What came out of one trial."""

    error: float
    """Normalised error."""
    metrics: dict[str, float]
    """Raw metrics, averaged over the folds."""
    seconds: float
    cpu_seconds: float
    n_parameters: int
    flops: int
    model_bytes: int
    pipelines: tuple[Pipeline, ...]
    """The fitted pipeline of each fold."""
    predictions: tuple[np.ndarray, ...]
    """Of each fold's validation rows: probabilities ``(n, k)`` or values ``(n,)``."""
    epochs: int | None
    """Epochs after which the weights are best, by all folds; None for models without epochs."""
    reached: RungErrors = ()
    """Errors at the rungs that the first fold passed."""

    @property
    def curve(self) -> Curve:
        """Learning curve of the first fold."""
        return self.pipelines[0].model.curve


@dataclass(frozen=True)
class Fold:
    """Preprocessed rows of one split; of all rows, the validation rows are the training rows."""

    preprocessor: Preprocessor
    train: Features
    valid: Features
    y_train: np.ndarray
    y_valid: np.ndarray


class Evaluator:
    """Evaluates configurations on one task; what all trials share is computed once."""

    def __init__(self, task: Task, splits: Sequence[Split], metric: Metric) -> None:
        self.task, self.splits, self.metric = task, splits, metric
        self._preprocessing = PREPROCESSORS[task.modality]
        self._folds = dict[str, list[Fold]]()
        self._everything = dict[str, Fold]()

    def evaluate(
        self,
        config: Configuration,
        *,
        budget: float = 1.0,
        seed: int = 0,
        seconds: float,
        hopeless: float = math.inf,
        rungs: Rungs | None = None,
    ) -> Evaluation:
        """Fit on every fold's training rows and score on its validation rows.

        Args:
            config: what to fit.
            budget: share of the training rows that is used, in (0, 1].
            seed: fixes the fit and the rows of a budget below 1.
            seconds: time allowed for all folds together.
            hopeless: normalised error of the first of several folds above which the others are not run.
            rungs: where the first fold's training may be left for now.

        Raises:
            PausedError: it was left at a rung.
            PrunedError: the first fold was hopeless.
            TimeoutError, DivergedError: see `metaml.training.fit_model`.
        """
        wall, cpu = time.monotonic(), _cpu_seconds()
        pipelines: list[Pipeline] = []
        reached: list[tuple[float, float]] = []
        folds = self.folds(config)
        for i, fold in enumerate(folds):
            share = (seconds - (time.monotonic() - wall)) / (len(folds) - i)
            pauses = self._pauses(fold, rungs, reached) if rungs is not None and i == 0 else None
            pipeline = self._fit(self._thinned(fold, budget, seed), config, seed, share, pauses=pauses)
            pipelines.append(pipeline)
            if i == 0 and len(folds) > 1:
                score, constant = _scores(fold, pipeline.predict_features(fold.valid))
                first = normalised_error(self.metric, [score], [constant])
                if first > hopeless:
                    raise PrunedError(first)
        predictions, epochs = _predictions(folds, pipelines)
        scored = [_scores(fold, prediction) for fold, prediction in zip(folds, predictions, strict=True)]
        scores, constants = [score for score, _ in scored], [constant for _, constant in scored]
        names = set.intersection(*(set(score) for score in scores))
        exported = pipelines[0].model.export()
        return Evaluation(
            error=normalised_error(self.metric, scores, constants),
            metrics={name: float(np.mean([score[name] for score in scores])) for name in sorted(names)},
            seconds=time.monotonic() - wall,
            cpu_seconds=_cpu_seconds() - cpu,
            n_parameters=_n_trained(exported.graph),
            flops=flops(exported.graph, batch=1),
            model_bytes=4 * _n_trained(exported.graph),
            pipelines=tuple(pipelines),
            predictions=tuple(predictions),
            epochs=epochs,
            reached=tuple(reached),
        )

    def _pauses(self, fold: Fold, rungs: Rungs, reached: list[tuple[float, float]]) -> Pauses:
        """Return pauses that write down the error at each rung, and end the trial where it is above the limit."""
        limits = dict(rungs.limits)
        center, scale = _target_scale(self.task, fold.y_train)

        def look(share: float, model: Model) -> None:
            prediction = Pipeline(fold.preprocessor, model, center, scale).predict_features(fold.valid)
            score, constant = _scores(fold, prediction)
            reached.append((share, normalised_error(self.metric, [score], [constant])))
            if reached[-1][1] > limits[share]:
                raise PausedError(tuple(reached), limits[share])

        return Pauses(tuple(limits), look, rungs.checkpoint)

    def refit(self, config: Configuration, *, seed: int = 0, seconds: float, epochs: int | None = None) -> Pipeline:
        """Fit on all rows of the task.

        Args:
            config: what to fit.
            seed: fixes the fit.
            seconds: time allowed.
            epochs: what `Evaluation.epochs` was, so that a refit stops where the folds were best; None for all.

        Raises:
            TimeoutError, DivergedError: see `metaml.training.fit_model`.
        """
        return self._fit(self.everything(config), config, seed, seconds, is_refit=True, epochs=epochs)

    def refit_bagged(
        self, config: Configuration, *, seed: int = 0, seconds: float, epochs: int | None = None
    ) -> list[Pipeline]:
        """Fit once on the training rows of each fold, preprocessed as all rows are: their mean errs less than each.

        With five folds every row is in four of the five fits (cross-validated committees, Parmanto et al. 1996).
        Arguments and errors are those of `refit`.
        """
        everything, ends, pipelines = self.everything(config), time.monotonic() + seconds, list[Pipeline]()
        for k, split in enumerate(self.splits):
            part = replace(
                everything, train=everything.train.rows(split.train), y_train=everything.y_train[split.train]
            )
            share = (ends - time.monotonic()) / (len(self.splits) - k)
            pipelines.append(self._fit(part, config, seed + k, share, is_refit=True, epochs=epochs))
        return pipelines

    def everything(self, config: Configuration) -> Fold:
        """Return all rows of the task, preprocessed as a configuration wants it: what a refit is trained on."""
        kind = kind_of(config)
        if kind not in self._everything:
            preprocessor, y = self._preprocessing.fit(self.task.inputs, kind), self.task.y
            features = preprocessor.transform(self.task.inputs)
            self._everything[kind] = Fold(preprocessor, features, features, y, y)
        return self._everything[kind]

    def folds(self, config: Configuration) -> list[Fold]:
        """Return the preprocessed rows of every split, kept for the next trial with this preprocessing."""
        kind = kind_of(config)
        if kind not in self._folds:
            self._folds[kind] = [self._fold(split, kind) for split in self.splits]
        return self._folds[kind]

    def _fold(self, split: Split, kind: str) -> Fold:
        train, valid = (take_rows(self.task.inputs, rows) for rows in (split.train, split.valid))
        preprocessor = self._preprocessing.fit(train, kind)
        return Fold(
            preprocessor,
            preprocessor.transform(train),
            preprocessor.transform(valid),
            self.task.y[split.train],
            self.task.y[split.valid],
        )

    def _thinned(self, fold: Fold, budget: float, seed: int) -> Fold:
        """Return a fold with a share of its training rows."""
        if budget >= 1:
            return fold
        y = fold.y_train
        chosen = subsample(np.arange(len(y)), y, self.task.type, budget, seed)
        return replace(fold, train=fold.train.rows(chosen), y_train=y[chosen])

    def _fit(
        self,
        fold: Fold,
        config: Configuration,
        seed: int,
        seconds: float,
        *,
        is_refit: bool = False,
        epochs: int | None = None,
        pauses: Pauses | None = None,
    ) -> Pipeline:
        """Fit on a fold's training rows; all but a refit stop early by its validation rows."""
        shape = fold.preprocessor.shape(self.task.n_outputs, is_regression=self.task.type == "regression")
        if isinstance(shape, TabularShape):
            shape = replace(shape, n_rows=len(fold.y_train))
        train = Rows(fold.train, fold.y_train)
        validation = None if is_refit else Rows(fold.valid, fold.y_valid)
        center, scale = _target_scale(self.task, fold.y_train)
        if shape.is_regression:
            train = train.standardised(center, scale)
            validation = None if validation is None else validation.standardised(center, scale)
        model = fit_model(
            config, shape, train, seed=seed, seconds=seconds, validation=validation, epochs=epochs, pauses=pauses
        )
        return Pipeline(fold.preprocessor, model, center, scale)


def _target_scale(task: Task, y: np.ndarray) -> tuple[float, float]:
    """Return what a target is centered and divided by: mean and standard deviation, for a regression."""
    return (float(y.mean()), float(y.std()) or 1.0) if task.type == "regression" else (0.0, 1.0)


def _predictions(folds: Sequence[Fold], pipelines: Sequence[Pipeline]) -> tuple[list[np.ndarray], int | None]:
    """Return what each fold's pipeline says of its validation rows, and after how many epochs a network is best.

    Where the best epoch was looked for, it is that by the other folds. A single fold has none: it is that of its own.
    """
    models = [pipeline.model for pipeline in pipelines]
    if len(folds) > 1 and all(model.by_epoch for model in models):
        of_folds, epochs = agreed_epochs([[loss for _, loss in model.curve] for model in models])
        taken = [model.by_epoch[min(at, len(model.by_epoch)) - 1] for model, at in zip(models, of_folds, strict=True)]
        return [pipeline.in_units(scores) for pipeline, scores in zip(pipelines, taken, strict=True)], epochs
    predictions = [pipeline.predict_features(fold.valid) for pipeline, fold in zip(pipelines, folds, strict=True)]
    known = [model.epochs for model in models if model.epochs is not None]
    return predictions, max(1, round(float(np.mean(known)))) if known else None


def _scores(fold: Fold, prediction: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return all metrics of a prediction of the validation rows, and of the best constant one."""
    constant = constant_prediction(fold.y_valid, prediction)
    return evaluate_prediction(fold.y_valid, prediction), evaluate_prediction(fold.y_valid, constant)


def take_rows(inputs: RawInputs, rows: np.ndarray | slice) -> RawInputs:
    """Return some rows of raw inputs."""
    return {name: array[rows] for name, array in inputs.items()}


def _n_trained(graph: OpGraph) -> int:
    """Number of trained scalars; a tree has a threshold for each inner node and a value for each leaf."""
    n_leaves: int = sum(operation.attributes.get("n_leaves", 0) for operation in graph)
    n_trees: int = sum(operation.attributes.get("n_trees", 0) for operation in graph)
    return graph.n_parameters + 2 * n_leaves - n_trees


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
