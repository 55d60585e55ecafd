"""Accuracy against latency on images: ``python -m experiments.image_pareto DATA.npz --seconds 600 --out FOLDER``.

DATA holds images with their own test part (an array ``split`` of ``train`` and ``test``, or ``x_train``, ``x_test``).
The search sees the training images only, and holds out some of them by itself. It is asked for a network that is as
fast as the faster of two fixed ones, a small ResNet and a small MobileNetV2. What it delivers, and those of its trials
that no other beats in both validation error and predicted latency, trained again on all training images in what is left
of the time, are its front. Each fixed network is trained on the same images by the same engine for as long as all of
that took, once with the usual augmentation (flip, crop, cutout) and once with the defaults of the search, which mix
images as well. All are exported, measured side by side, and judged by the test images, which nothing has seen.

Writes ``image_pareto.json`` (all figures), ``image_pareto.csv`` (the table) and ``image_pareto.png`` (extra ``plots``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pandas as pd
import torch

from experiments.fixed_networks import FIXED_NETWORKS
from hw_cost import Measurement, measure_latency
from metaml import SearchResult, search
from metaml.data import ImageTask, load_task
from metaml.evaluation import Pipeline, take_rows
from metaml.export import check_parity, to_onnx
from metaml.models import FAMILIES, TorchFamily
from metaml.preprocessing import PREPROCESSORS
from metaml.training.loop import Training
from metaml.training.model import Rows
from metaml.training.networks import finished
from metaml.trial import Configuration

SEARCH_SHARE = 0.9
"""Of the time; the rest is for training the front again."""
MOST = 4
"""Networks of the front that are trained again, beside the one that was delivered."""
USUAL = {"mixup": 0.0}
"""What the usual augmentation of small images does without."""
PROBED = 2
"""Epochs by which the time of all is foreseen."""


@dataclass(frozen=True)
class Network:
    """A trained network, and how good and how fast it is."""

    name: str
    found: bool
    """By the search; else it is a fixed one."""
    accuracy: float
    """On the test images."""
    epochs: int
    """Of its last training; of its trial for what the search delivered, whose notes tell more."""
    cpu_seconds: float
    """Of its last training; nan for what the search delivered."""
    parameters: int
    configuration: Mapping[str, Any]
    path: str
    validation_error: float | None = None
    """Share of wrong classes on the search's own held-out images."""
    latency_ms: float = float("nan")
    low_ms: float = float("nan")
    high_ms: float = float("nan")


@dataclass(frozen=True)
class Order:
    """A network to be trained on all training images."""

    name: str
    data: str
    configuration: Configuration
    path: str
    found: bool
    cpu_seconds: float
    """Processor time that decides on the number of epochs."""


def parts(path: str) -> tuple[ImageTask, ImageTask]:
    """Return the training images as a task without splits, and the test images."""
    task = load_task(path)
    if not isinstance(task, ImageTask) or len(task.splits) != 1:
        raise click.UsageError(f"{path} must hold images with a training and a test part")
    halves = [
        replace(task, images=task.images[rows], y=task.y[rows], splits=(), source=None)
        for rows in (task.splits[0].train, task.splits[0].valid)
    ]
    return halves[0], halves[1]


def train(order: Order) -> Network:
    """Train, export and judge one network, on one thread."""
    torch.set_num_threads(1)
    task, test = parts(order.data)
    preprocessor = PREPROCESSORS["image"].fit(task.inputs)
    shape = preprocessor.shape(task.n_outputs, is_regression=False)
    rows = Rows(preprocessor.transform(task.inputs), task.y)
    FAMILIES.update(FIXED_NETWORKS)  # in this process alone: the search's own space stays as it is
    family = FAMILIES[order.configuration["family"]]
    assert isinstance(family, TorchFamily)
    config, cpu = order.configuration, time.process_time()
    probe = Training(family, {**config, "epochs": PROBED}, shape, rows, seed=1)
    probe.run(PROBED, seconds=1e6)
    each = (time.process_time() - cpu) / PROBED
    config = {**config, "epochs": max(1, int(order.cpu_seconds / each))}
    cpu = time.process_time()
    training = Training(family, config, shape, rows, seed=0)
    training.run(training.n_epochs, seconds=1e6)
    cpu = time.process_time() - cpu
    pipeline = Pipeline(preprocessor, finished(training))
    model = to_onnx(pipeline, task).SerializeToString()
    check_parity(model, pipeline, take_rows(test.inputs, slice(256)))
    Path(order.path).write_bytes(model)
    accuracy = float((pipeline.predict(test.inputs).argmax(axis=1) == test.y).mean())
    n_parameters = pipeline.model.export().graph.n_parameters
    return Network(order.name, order.found, accuracy, config["epochs"], cpu, n_parameters, config, order.path)


def run(data: str, out: Path, *, seconds: float, workers: int, seed: int) -> dict[str, Any]:
    """Search, train the front again, train the fixed networks, measure all; return the figures."""
    out.mkdir(parents=True, exist_ok=True)
    task, test = parts(data)
    fixed = [Order(name, data, _usual(name), str(out / f"{name}.onnx"), False, 1.0) for name in FIXED_NETWORKS]
    limit = min(m.median_ms for m in _measure([n.path for n in _train_all(fixed, workers)], test))
    began = time.monotonic()
    result = search(
        task,
        time_limit=SEARCH_SHARE * seconds,
        max_latency_ms=limit,
        workers=workers,
        metric="error_rate",
        store=False,
        out=out / "run",
        seed=seed,
    )
    networks = [delivered(result, test)]
    front = [t for t in result.summary["pareto"] if t["configuration"] != result.best["configuration"]][-MOST:]
    each = (seconds - (time.monotonic() - began)) * workers / max(1, len(front))
    names = {f"trial {t['number']}": t for t in front}
    networks += _train_all(
        [Order(n, data, t["configuration"], str(out / f"{n}.onnx"), True, each) for n, t in names.items()], workers
    )
    errors = {name: t["metrics"]["error_rate"] for name, t in names.items()}
    networks = [replace(n, validation_error=errors.get(n.name, n.validation_error)) for n in networks]
    took = time.monotonic() - began
    click.echo(f"searched and trained for {took:.0f} s; fixed networks now train for as long", err=True)
    fixed = [replace(order, cpu_seconds=took) for order in fixed]
    mixed = [
        replace(order, name=f"{order.name}, mixing", configuration=_default(order.name), path=f"{order.path}.mixing")
        for order in fixed
    ]
    networks += _train_all([*fixed, *mixed], workers)
    measured = _measure([network.path for network in networks], test)
    networks = [
        replace(network, latency_ms=m.median_ms, low_ms=m.low_ms, high_ms=m.high_ms)
        for network, m in zip(networks, measured, strict=True)
    ]
    return {
        "data": {"name": task.name, "training_images": len(task.y), "test_images": len(test.y)},
        "seconds": took,
        "limit_ms": limit,
        "best": result.best,
        "notes": result.summary["notes"],
        "trials": [{key: t[key] for key in ("status", "source", "seconds", "error")} for t in result.summary["trials"]],
        "bounds": [m.is_bound for m in measured],
        "networks": [asdict(network) for network in networks],
        "verdicts": verdicts(networks),
    }


def delivered(result: SearchResult, test: ImageTask) -> Network:
    """Judge the answer of a search."""
    hits = result.predictor.scores(test.images).argmax(axis=1) == test.y
    arrays = onnx.load(result.model_path).graph.initializer
    return Network(
        "delivered",
        True,
        float(hits.mean()),
        result.best["configuration"]["epochs"],
        float("nan"),
        sum(int(np.prod(array.dims)) for array in arrays),
        result.best["configuration"],
        str(result.model_path),
        validation_error=result.best["metrics"]["error_rate"],
    )


def _measure(paths: Sequence[str], test: ImageTask) -> list[Measurement]:
    return measure_latency(
        [*paths], time_limit_s=2.0 * len(paths), feeds={"pixels": test.images}, bound_when_noisy=True
    )


def verdicts(networks: Sequence[Network]) -> dict[str, str]:
    """Say of each fixed network which found one is at least as accurate and as fast, and better in one of both."""
    said = {}
    for fixed in (network for network in networks if not network.found):
        better = [
            network
            for network in networks
            if network.found
            and (network.accuracy, -network.latency_ms) != (fixed.accuracy, -fixed.latency_ms)
            and network.accuracy >= fixed.accuracy
            and network.latency_ms <= fixed.latency_ms
        ]
        said[fixed.name] = "dominated by " + ", ".join(n.name for n in better) if better else "not dominated"
    return said


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against latency."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    networks = pd.DataFrame(figures["networks"]).sort_values("latency_ms")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    n = figures["data"]["test_images"]
    for found, colour, marker in ((True, "#4269d0", "o"), (False, "#ff725c", "s")):
        chosen = networks[networks["found"] == found]
        deviation = np.sqrt(chosen["accuracy"] * (1 - chosen["accuracy"]) / n)
        label = "found by the search" if found else "fixed, each trained for as long"
        axes.errorbar(
            chosen["latency_ms"], chosen["accuracy"], deviation, fmt=marker, color=colour, label=label, capsize=2
        )
        for _, row in chosen.iterrows():
            name = str(row["name"]).replace("trial ", "")
            place = row["latency_ms"], row["accuracy"]
            axes.annotate(name, place, xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.set_xlim(0.7 * networks["latency_ms"].min(), 2.2 * networks["latency_ms"].max())  # room for names
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("measured latency of one image, ms (onnxruntime, one thread)")
    axes.set_ylabel(f"accuracy on {n:,} test images (± 1 standard error)")
    axes.set_title(f"{figures['data']['name']}: {figures['data']['training_images']:,} training images")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(figures: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row for each network, fastest first."""
    columns = ["name", "accuracy", "validation_error", "latency_ms", "low_ms", "high_ms", "parameters", "epochs"]
    return pd.DataFrame(figures["networks"])[[*columns, "cpu_seconds"]].sort_values("latency_ms").round(4)


def _train_all(orders: list[Order], workers: int) -> list[Network]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(train, orders))


def _default(name: str) -> Configuration:
    family = FIXED_NETWORKS[name]
    return {"family": name, **dict(family.space().get_default_configuration())}


def _usual(name: str) -> Configuration:
    return {**_default(name), **USUAL}


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--seconds", type=float, default=600.0, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(data: str, out: Path, seconds: float, workers: int, seed: int) -> None:
    """Run the experiment and write its figures."""
    figures = run(data, out, seconds=seconds, workers=workers, seed=seed)
    (out / "image_pareto.json").write_text(json.dumps(figures, indent=1, default=float), encoding="utf-8")
    table(figures).to_csv(out / "image_pareto.csv", index=False)
    draw(figures, out / "image_pareto.png")
    click.echo(table(figures).to_string(index=False))
    for name, verdict in figures["verdicts"].items():
        click.echo(f"{name}: {verdict}")


if __name__ == "__main__":
    main()
