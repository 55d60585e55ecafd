"""How long an ONNX file takes on this machine: measured, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from hw_cost.bench import Bench, Measurement, TooNoisy
from hw_cost.onnx_reader import OnnxModel
from hw_cost.runtimes import Feeds, OnnxRuntime, Runtime
from hw_cost.runtimes.feeds import enough_rows, random_feeds
from hw_cost.sessions import bench_for, caller

__all__ = ["Measurement", "TooNoisy", "measure_latency", "measure_on"]


@overload
def measure_latency(
    models: OnnxModel,
    *,
    batch: int = ...,
    runtime: Runtime | None = ...,
    time_limit_s: float = ...,
    feeds: Feeds | None = ...,
    reference_us: float | None = ...,
    bound_when_noisy: bool = ...,
    seed: int = ...,
) -> Measurement: ...


@overload
def measure_latency(
    models: list[OnnxModel],
    *,
    batch: int = ...,
    runtime: Runtime | None = ...,
    time_limit_s: float = ...,
    feeds: Feeds | None = ...,
    reference_us: float | None = ...,
    bound_when_noisy: bool = ...,
    seed: int = ...,
) -> list[Measurement]: ...


def measure_latency(
    models: OnnxModel | list[OnnxModel],
    *,
    batch: int = 1,
    runtime: Runtime | None = None,
    time_limit_s: float = 2.0,
    feeds: Feeds | None = None,
    reference_us: float | None = None,
    bound_when_noisy: bool = False,
    seed: int = 0,
) -> Measurement | list[Measurement]:
    """Measure the wall time of a call from Python on raw inputs, until its outputs are there.

    Several models are measured interleaved and are comparable. The thread is pinned to the least busy processor where
    the system allows it.

    Args:
        models: ONNX path, bytes or model, or a list of them.
        batch: rows in a call.
        runtime: what runs the models; onnxruntime with one thread when None.
        time_limit_s: wall time for all models together, without opening them.
        feeds: input name -> rows to cut batches from; random numbers and a few texts when None.
        reference_us: floor of the reference in an earlier measurement or table of this machine; with it a machine that
            is busy all the time is refused, instead of being taken for a slow one.
        bound_when_noisy: return an upper bound (`Measurement.is_bound`) where the machine is too busy for a figure.
        seed: of the random rows and of the order of the blocks.

    Raises:
        TooNoisy: the machine was too busy for a figure that can be trusted, and no bound was asked for.
    """
    many = isinstance(models, list)
    runtime = runtime or OnnxRuntime()
    floor_s = None if reference_us is None else 1e-6 * reference_us
    with bench_for(runtime, seed=seed, floor_s=floor_s) as bench:
        measured = measure_on(
            bench,
            models if isinstance(models, list) else [models],
            batch=batch,
            runtime=runtime,
            time_limit_s=time_limit_s,
            feeds=feeds,
            bound_when_noisy=bound_when_noisy,
        )
    for figure in measured:
        if isinstance(figure, TooNoisy):
            raise figure
    figures = [figure for figure in measured if isinstance(figure, Measurement)]
    return figures if many else figures[0]


def measure_on(
    bench: Bench,
    models: Sequence[OnnxModel],
    *,
    batch: int = 1,
    runtime: Runtime,
    time_limit_s: float,
    feeds: Feeds | None = None,
    bound_when_noisy: bool = False,
) -> list[Measurement | TooNoisy]:
    """Measure models on a bench; the error stands in the place of a figure that the machine was too noisy for."""
    calls = {}
    for position, model in enumerate(models):
        opened = runtime.open(model, batch=batch)
        names = {node.name for node in opened.inputs}
        if feeds is None:
            rows = random_feeds(opened.inputs, enough_rows(opened.inputs, batch), seed=position)
        elif missing := names - set(feeds):
            raise ValueError(f"feeds must hold every input of the model, missing are {sorted(missing)}")
        else:
            rows = {name: feeds[name] for name in names}
        calls[("model", id(model), position)] = caller(opened, rows, batch)
    bench.run(calls, time_limit_s)
    measured: list[Measurement | TooNoisy] = []
    for key in calls:
        try:
            measured.append(bench.measurement(key))
        except TooNoisy as error:
            measured.append(bench.bound(key) if bound_when_noisy else error)
    return measured
