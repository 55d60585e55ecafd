"""How much of a compression a task bears: tried on the folds, kept only while the validation error stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metaml.compression.base import Compression, Price, TuningRows
from metaml.compression.distill import distil, teach
from metaml.compression.graph_model import GraphModel
from metaml.compression.tuning import tune
from metaml.ensembles import Judge
from metaml.evaluation import Evaluator, Fold, Pipeline
from metaml.models import FAMILIES, Exported, NetworkShape, TorchFamily
from metaml.trial import Configuration

TOLERANCE = 0.02
"""By this share the normalised error on the validation rows may rise."""
LAST_SHARE = 0.6
"""Share of the time used so far that must be left for the model of all rows; else no stronger amount is tried."""


@dataclass(frozen=True)
class Accepted:
    """A compressed model, and what it was accepted for."""

    how: str
    """Name and amount."""
    error: float
    """Normalised error on the validation rows, of models trained on the training rows and compressed."""
    metrics: dict[str, float]
    """Raw metrics on the validation rows, averaged over the folds."""
    n_before: int
    """Parameters of what it was."""
    n_parameters: int
    refit: Pipeline
    """Trained on all rows, then compressed."""
    first: Pipeline
    """The compressed model of the first fold."""


@dataclass(frozen=True)
class Terms:
    """On what terms a model is compressed."""

    price: Price
    tolerance: float = TOLERANCE
    seed: int = 0
    seconds: float = 60.0


def compress(evaluator: Evaluator, config: Configuration, compression: Compression, terms: Terms) -> Accepted | None:
    """Return the most compressed model whose validation error stays within the tolerance.

    Amounts are tried from mild to strong, until one fails; each is judged by models fitted on the training rows of
    every fold. What was accepted is then done to the model of all rows.

    Args:
        evaluator: knows the task.
        config: of a network.
        compression: how.
        terms: tolerance, price and time.

    Returns:
        None when nothing can be saved at no loss.

    Raises:
        TimeoutError: there is no time for the first attempt, or for the last fit.
    """
    if not isinstance(FAMILIES[config["family"]], TorchFamily):
        return None
    clock, folds = _Clock(terms.seconds), evaluator.folds(config)
    base = evaluator.evaluate(config, seed=terms.seed, seconds=clock.left())
    accepted: tuple[float, _Scored] | None = None
    for amount in compression.amounts:
        if clock.left() < LAST_SHARE * clock.used():
            break
        shrink = _shrinker(compression, amount, terms, clock)
        smaller = [shrink(p, fold) for p, fold in zip(base.pipelines, folds, strict=True)]
        pipelines = [pipeline for pipeline in smaller if pipeline is not None]
        if len(pipelines) < len(smaller):
            continue
        scored = _score(evaluator, pipelines, folds)
        if scored.error > base.error * (1 + terms.tolerance):
            break
        accepted = amount, scored
    if accepted is None:
        return None
    whole = evaluator.refit(config, seed=terms.seed, seconds=clock.left(), epochs=base.epochs)
    final = _shrinker(compression, accepted[0], terms, clock)(whole, evaluator.everything(config))
    return None if final is None else _accepted(f"{compression.name} {accepted[0]:g}", accepted[1], whole, final)


@dataclass(frozen=True)
class _Scored:
    """Pipelines of all folds with their error."""

    pipelines: list[Pipeline]
    error: float
    metrics: dict[str, float]


def _score(evaluator: Evaluator, pipelines: list[Pipeline], folds: list[Fold]) -> _Scored:
    judge = Judge(evaluator.metric, tuple(fold.y_valid for fold in folds), evaluator.task.n_outputs)
    predictions = [p.predict_features(fold.valid) for p, fold in zip(pipelines, folds, strict=True)]
    return _Scored(pipelines, judge.error(predictions), judge.metrics(predictions))


def _accepted(how: str, scored: _Scored, whole: Pipeline, final: Pipeline) -> Accepted:
    before, after = (pipeline.model.export().graph.n_parameters for pipeline in (whole, final))
    return Accepted(how, scored.error, scored.metrics, before, after, final, scored.pipelines[0])


def _shrinker(
    compression: Compression, amount: float, terms: Terms, clock: _Clock
) -> Callable[[Pipeline, Fold], Pipeline | None]:
    def shrink(pipeline: Pipeline, fold: Fold) -> Pipeline | None:
        network = pipeline.model.export()
        smaller = compression.shrink(network, amount, terms.price)
        if smaller is network:
            return None
        teacher = teach(pipeline.model.scores(fold.train))
        return with_network(pipeline, tune(smaller, rows_of(pipeline, fold, terms.seed, clock.left()), teacher))

    return shrink


def distil_into(
    evaluator: Evaluator, student: Configuration, teacher: Configuration, target_error: float, terms: Terms
) -> Accepted | None:
    """Return a small network taught by a better configuration, if its validation error is within the tolerance.

    Args:
        evaluator: knows the task.
        student: a small network's configuration.
        teacher: of any family.
        target_error: normalised validation error of what would be delivered otherwise.
        terms: tolerance and time.
    """
    clock, folds = _Clock(terms.seconds), evaluator.folds(student)
    taught = evaluator.evaluate(teacher, seed=terms.seed, seconds=clock.left())
    words = [
        pipeline.model.scores(fold.train)
        for pipeline, fold in zip(taught.pipelines, evaluator.folds(teacher), strict=True)
    ]
    shape_of = _shapes(evaluator)
    pipelines = [
        _student(student, shape_of(fold), fold, said, terms, clock) for fold, said in zip(folds, words, strict=True)
    ]
    scored = _score(evaluator, pipelines, folds)
    if scored.error > target_error * (1 + terms.tolerance):
        return None
    whole = evaluator.refit(teacher, seed=terms.seed, seconds=clock.left(), epochs=taught.epochs)
    said, rows = whole.model.scores(evaluator.everything(teacher).train), evaluator.everything(student)
    return _accepted("distill", scored, whole, _student(student, shape_of(rows), rows, said, terms, clock))


def _shapes(evaluator: Evaluator) -> Callable[[Fold], NetworkShape]:
    task = evaluator.task
    return lambda fold: fold.preprocessor.shape(task.n_outputs, is_regression=task.type == "regression")


def _student(
    student: Configuration, shape: NetworkShape, fold: Fold, said: np.ndarray, terms: Terms, clock: _Clock
) -> Pipeline:
    """Train a student on the training rows of a fold and on what its teacher says of them."""
    y = fold.y_train
    center, scale = (float(y.mean()), float(y.std()) or 1.0) if shape.is_regression else (0.0, 1.0)
    target = (y - center) / scale if shape.is_regression else y
    network = distil(student, shape, TuningRows(fold.train, target, student, terms.seed, clock.left()), teach(said))
    return Pipeline(fold.preprocessor, GraphModel(student, shape, network), center, scale)


def rows_of(pipeline: Pipeline, fold: Fold, seed: int, seconds: float) -> TuningRows:
    """Return the training rows of a fold as a network takes them."""
    y = fold.y_train if not pipeline.model.shape.is_regression else (fold.y_train - pipeline.center) / pipeline.scale
    return TuningRows(fold.train, y, pipeline.model.config, seed, seconds)


def with_network(pipeline: Pipeline, network: Exported) -> Pipeline:
    """Return the pipeline with another network in it."""
    return replace(pipeline, model=GraphModel(pipeline.model.config, pipeline.model.shape, network))


class _Clock:
    def __init__(self, seconds: float) -> None:
        self._started, self._seconds = time.monotonic(), seconds

    def used(self) -> float:
        return time.monotonic() - self._started

    def left(self) -> float:
        return max(0.1, self._seconds - self.used())
