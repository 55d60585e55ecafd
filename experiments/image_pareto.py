"""Accuracy against latency on images: ``python -m experiments.image_pareto DATA.npz --seconds 600 --out FOLDER``.

DATA holds images with their own test part (an array ``split`` of ``train`` and ``test``, or ``x_train``, ``x_test``).
The search sees the training images only, and holds out some of them by itself. Its finished trials that no other beats
in both validation error and predicted latency are trained again on all training images. A fixed small ResNet and a
fixed small MobileNetV2 are trained on the same images by the same engine, each for as much processor time as search and
refits took together. All are exported, measured side by side, and judged by the test images, which nothing has seen.

Writes ``image_pareto.json`` (all figures), ``image_pareto.csv`` (the table) and ``image_pareto.png`` (extra ``plots``).
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch

from experiments.fixed_networks import FIXED_NETWORKS
from hw_cost import measure_latency
from metaml import search
from metaml.data import ImageTask, load_task
from metaml.evaluation import Pipeline, take_rows
from metaml.export import check_parity, to_onnx
from metaml.models import FAMILIES, TorchFamily
from metaml.preprocessing import PREPROCESSORS
from metaml.training.loop import Training
from metaml.training.model import Rows
from metaml.training.networks import finished
from metaml.trial import Configuration

SEARCH_SHARE = 0.8
"""Of the time; the rest is for training the front again."""
MOST = 8
"""Networks of the front that are trained again."""
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
    cpu_seconds: float
    """Of its last training."""
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
    cpu_seconds: float | None = None
    """Processor time that decides on the number of epochs; None leaves it to the configuration."""


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
    if order.cpu_seconds is not None:
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
    hits = pipeline.predict(test.inputs).argmax(axis=1) == test.y
    n_parameters = pipeline.model.export().graph.n_parameters
    found = order.cpu_seconds is None
    return Network(order.name, found, float(hits.mean()), config["epochs"], cpu, n_parameters, config, order.path)


def run(data: str, out: Path, *, seconds: float, workers: int, seed: int) -> dict[str, Any]:
    """Search, train again, train the fixed networks, measure all; return the figures."""
    out.mkdir(parents=True, exist_ok=True)
    task, test = parts(data)
    wall, cpu = time.monotonic(), _cpu()
    limit = SEARCH_SHARE * seconds
    result = search(
        task, time_limit=limit, workers=workers, metric="error_rate", store=False, out=out / "run", seed=seed
    )
    front = result.summary["pareto"][-MOST:]
    searched = time.monotonic() - wall
    orders = [Order(f"trial {t['number']}", data, t["configuration"], str(out / f"{t['number']}.onnx")) for t in front]
    networks = _train_all(orders, workers)
    errors = {f"trial {t['number']}": t["metrics"]["error_rate"] for t in front}
    networks = [replace(network, validation_error=errors[network.name]) for network in networks]
    took, used = time.monotonic() - wall, _cpu() - cpu
    click.echo(f"search {searched:.0f} s, with refits {took:.0f} s, {used:.0f} processor seconds", err=True)
    orders = [Order(name, data, _default(name), str(out / f"{name}.onnx"), used) for name in FIXED_NETWORKS]
    networks += _train_all(orders, workers)
    measured = measure_latency(
        [network.path for network in networks],
        time_limit_s=2.0 * len(networks),
        feeds={"pixels": test.images},
        bound_when_noisy=True,
    )
    networks = [
        replace(network, latency_ms=m.median_ms, low_ms=m.low_ms, high_ms=m.high_ms)
        for network, m in zip(networks, measured, strict=True)
    ]
    return {
        "data": {"name": task.name, "training_images": len(task.y), "test_images": len(test.y)},
        "seconds": {"search": searched, "search_and_refits": took, "processor": used},
        "trials": [{key: t[key] for key in ("status", "source", "seconds", "error")} for t in result.summary["trials"]],
        "bounds": [m.is_bound for m in measured],
        "networks": [asdict(network) for network in networks],
        "verdicts": verdicts(networks),
    }


def verdicts(networks: list[Network]) -> dict[str, str]:
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
        label = "found by the search" if found else "fixed, same processor time each"
        axes.errorbar(
            chosen["latency_ms"], chosen["accuracy"], deviation, fmt=marker, color=colour, label=label, capsize=2
        )
        for _, row in chosen.iterrows():
            name = str(row["name"]).replace("trial ", "")
            axes.annotate(name, (row["latency_ms"], row["accuracy"]), xytext=(5, 5), textcoords="offset points")
    axes.set_xscale("log")
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


def _cpu() -> float:
    """Processor seconds of this process and of all that it has started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


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
