"""How good the models of a search are: ``python -m experiments.tabular_quality results.jsonl --peers-python PATH``.

20 tables, drawn by a rule before any result was seen (`quality_tables`), each split once into 75 % to learn from and
25 % for the error that is reported. Every system has the same time on the same cores. The results file gets one line
for each table and system: the same command goes on where it was stopped. Peers run in an environment of their own,
whose Python is named by ``--peers-python``; without it only this project and scikit-learn are run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from experiments import quality_peers
from experiments.quality_scores import Result, page
from experiments.quality_tables import DATA, Parts, choose, split
from metaml import Predictor, search
from metaml.collect import TaskEntry, read_manifest
from metaml.data import load_task
from metaml.latency import open_device
from metaml.metrics import constant_prediction, evaluate_prediction, metric_for, normalised_error
from portfolio import load_default_history

LIMIT_MS = 0.2
GRACE_S = 300.0
"""A peer that is not done so long after its time is ended."""


@dataclass(frozen=True)
class Setting:
    """What every system gets."""

    seconds: float
    cores: int
    peers_python: str | None
    device: str = "cpu"
    trials: int | None = None
    """Most trials of a search here."""


@dataclass(frozen=True)
class Answer:
    """What a system says of the test rows."""

    prediction: np.ndarray
    """Values ``(n,)``, or probabilities ``(n, k)`` in the order of the task's classes."""
    latency_ms: float | None
    seconds: float
    model: str
    version: str


System = Callable[[Parts, Setting], Answer]


def searched(limit_ms: float | None) -> System:
    """Return this project as a system, with a limit for the latency of one row or without."""

    def run(parts: Parts, setting: Setting) -> Answer:
        started = time.monotonic()
        task = load_task(parts.train, parts.target, type=parts.task.type)
        with TemporaryDirectory() as folder:
            result = search(
                task,
                device=setting.device,
                max_latency_ms=limit_ms,
                time_limit=setting.seconds,
                trials=setting.trials,
                workers=setting.cores,
                store=False,
                out=Path(folder) / "run",
            )
            seconds = time.monotonic() - started
            predictor = Predictor(result.model_path)
            scores = predictor.scores(parts.test)
        if parts.task.type != "regression":
            scores = in_order(scores, predictor.classes, parts.task.classes)
        family = str(result.best["configuration"]["family"])
        return Answer(scores, result.best["latency_ms"]["measured"], seconds, family, version("metaml"))

    return run


def peer(name: str) -> System:
    """Return a system of `quality_peers` in a process of its own."""

    def run(parts: Parts, setting: Setting) -> Answer:
        python = sys.executable if name == LOCAL else setting.peers_python or sys.executable
        request = {"target": parts.target, "type": parts.task.type, "seconds": setting.seconds, "cores": setting.cores}
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "request.json").write_text(json.dumps(request))
            parts.train.to_parquet(folder / "train.parquet")
            parts.test.to_parquet(folder / "test.parquet")
            _call([python, str(Path(quality_peers.__file__)), name, temporary], setting.seconds + GRACE_S)
            answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
            prediction = np.load(folder / "predictions.npy", allow_pickle=False)
        if parts.task.type != "regression":
            prediction = in_order(prediction, answer["classes"], parts.task.classes)
        return Answer(prediction, answer["latency_ms"], answer["seconds"], answer["model"], answer["version"])

    return run


def _call(command: list[str], seconds: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])


def in_order(probabilities: np.ndarray, classes: Sequence[Any], wanted: Sequence[Any]) -> np.ndarray:
    """Return columns in the order of `wanted`; a class that a system never saw has probability 0.

    >>> in_order(np.array([[0.25, 0.75]]), ["b", "a"], ["a", "b", "c"]).tolist()
    [[0.75, 0.25, 0.0]]
    """
    position = {str(label): i for i, label in enumerate(wanted)}
    ordered = np.zeros((len(probabilities), len(wanted)))
    ordered[:, [position[str(label)] for label in classes]] = probabilities
    return ordered


OWN, LOCAL = "metaml", "hist_gradient_boosting"
"""This project, and the peer that needs no environment of its own."""
SYSTEMS: dict[str, System] = {
    OWN: searched(None),
    f"{OWN} within {LIMIT_MS} ms": searched(LIMIT_MS),
    **{name: peer(name) for name in quality_peers.PEERS},
}


def judge(name: str, entry: TaskEntry, parts: Parts, setting: Setting) -> Result:
    """Run one system on one table; a failure is a result."""
    try:
        answer = SYSTEMS[name](parts, setting)
    except Exception as error:  # whatever a peer raises is its result
        return Result(entry.name, name, failure=(str(error).strip() or type(error).__name__).splitlines()[0][:300])
    metric = metric_for(parts.task.type)
    score = evaluate_prediction(parts.y_test, answer.prediction)
    constant = evaluate_prediction(parts.y_test, constant_prediction(parts.y_test, answer.prediction))
    return Result(
        entry.name,
        name,
        metric.name,
        metric.loss(score[metric.name]),
        metric.loss(constant[metric.name]),
        normalised_error(metric, [score], [constant]),
        answer.latency_ms,
        answer.seconds,
        answer.model,
        answer.version,
    )


def run(entries: Sequence[TaskEntry], names: Sequence[str], setting: Setting, out: Path) -> list[Result]:
    """Run what the file lacks, one after the other, and return all results for these tables."""
    done = read(out)
    known = {(result.table, result.system) for result in done}
    for entry in entries:
        missing = [name for name in names if (entry.name, name) not in known]
        if not missing:
            continue
        parts = split(entry)
        for name in missing:
            result = judge(name, entry, parts, setting)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(result, file=sys.stderr, flush=True)
            done.append(result)
    tables = {entry.name for entry in entries}
    return [result for result in done if result.table in tables]


@contextmanager
def on_cores(n: int) -> Iterator[None]:
    """Keep this process and what it starts on `n` cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read(path: Path) -> list[Result]:
    """Return the results of earlier sittings."""
    return [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def about(setting: Setting, entries: Sequence[TaskEntry]) -> str:
    """Return what was done, in a paragraph."""
    large = sum(entry.rows >= 3000 for entry in entries)
    values = sum(entry.type == "regression" for entry in entries)
    return (
        f"{len(entries)} tables ({large} with 3,000 rows or more, {values} of regression), drawn by a seeded rule "
        "before any result was seen, one of each family of near-duplicates, none of a family that the default history "
        f"knows. Every system learns from the same 75 % of the rows for {setting.seconds:.0f} s on {setting.cores} "
        "cores; errors are of the other 25 %: loss / loss of the best constant prediction, with 1 - ROC AUC for two "
        "classes, log loss for more, root mean squared error for values. A system that fails counts as the constant. "
        "Times of one row are onnxruntime's on one thread for this project, and each peer's own `predict` or "
        "`predict_proba` on a DataFrame of one row. Made by `python -m experiments.tabular_quality`."
    )


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path, exists=True), default=DATA, help="Folder with manifest.csv.")
@click.option("--peers-python", help="Python of an environment with flaml and autogluon.tabular.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Time for a system on a table.")
@click.option("--cores", type=int, default=2, show_default=True)
@click.option("--systems", help=f"Of {', '.join(SYSTEMS)}; by default all that can be run.")
@click.option("--device", default="cpu", show_default=True, help="As of metaml search.")
@click.option("--trials", type=int, help="At most so many trials of a search, for a quick look.")
@click.option("--n", type=int, help="Only the first so many tables.")
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Markdown file to write.")
def main(
    out: Path,
    data: Path,
    peers_python: str | None,
    seconds: float,
    cores: int,
    systems: str | None,
    device: str,
    trials: int | None,
    n: int | None,
    page_path: Path | None,
) -> None:
    """Run what is missing and print the comparison."""
    runnable = [name for name in SYSTEMS if peers_python or name == LOCAL or name not in quality_peers.PEERS]
    names = systems.split(",") if systems else runnable
    if unknown := set(names) - set(SYSTEMS):
        raise click.UsageError(f"systems are {', '.join(SYSTEMS)}, however: {', '.join(sorted(unknown))}")
    setting = Setting(seconds, cores, peers_python, device, trials)
    groups = load_default_history().groups
    entries = choose(read_manifest(data), set() if groups is None else set(groups))[:n]
    with on_cores(cores):
        open_device(device)  # a machine's first search measures it, once
        results = run(entries, names, setting, out)
    text = page([result for result in results if result.system in names], names[0], about(setting, entries))
    click.echo(text)
    if page_path is not None:
        page_path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
