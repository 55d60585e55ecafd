"""What compression does to networks on tables: size, agreement, validation error, and measured latency.

``python -m experiments.compression make FOLDER phoneme satimage …`` trains an mlp (3 × 512) and a resnet (2 blocks, 256
wide) on three quarters of each table, makes each smaller in every way, and writes the files with what became of them on
the other quarter. ``python -m experiments.compression measure FOLDER``, on a machine that does nothing else, measures
one row and 32 by onnxruntime on one thread: each ratio is of two files that were measured in turn, three times, and
the median counts. It prints all as a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.ensembles import load
from hw_cost import LatencyTable, measure_latency
from hw_cost.graph import OpGraph
from metaml.compression import COMPRESSIONS, GraphModel, agreement, to_int8
from metaml.compression.accept import rows_of, with_network
from metaml.compression.distill import distil, teach
from metaml.compression.tuning import tune
from metaml.data import RawInputs, Task, make_splits
from metaml.ensembles import Judge
from metaml.evaluation import Evaluator, Pipeline, take_rows
from metaml.export import to_onnx
from metaml.latency import open_device
from metaml.merge import run_model
from metaml.metrics import metric_for
from metaml.space import SPACES
from metaml.trial import Configuration

SPACE = SPACES["tabular"]
NETWORKS: dict[str, Configuration] = {
    "mlp": SPACE.default("mlp") | {"width": 512, "n_layers": 3},
    "resnet": SPACE.default("resnet") | {"width": 256, "n_blocks": 2},
}
STUDENT: Configuration = SPACE.default("mlp") | {"width": 64, "n_layers": 2}
TABLES = ("phoneme", "satimage", "spambase", "reg_cpu_small")
SECONDS = 300.0
BATCHES = (1, 32)
ROUNDS = 3


@dataclass(frozen=True)
class Model:
    """A file and what is known of it."""

    how: str
    content: bytes
    n_parameters: int


class Bench:
    """One table: trains on one part of the rows, judges on the other."""

    def __init__(self, task: Task, table: LatencyTable) -> None:
        self.task, self._table = task, table
        splits = make_splits(task.y, task.type, cv_below=0)
        metric = metric_for(task.type)
        self.evaluator = Evaluator(task, splits, metric)
        self.judge = Judge(metric, (task.y[splits[0].valid],), task.n_outputs)
        self.train, self.valid = (take_rows(task.inputs, rows) for rows in (splits[0].train, splits[0].valid))

    def price(self, graph: OpGraph) -> float:
        """Predicted milliseconds for one row."""
        return self._table.predict(graph, batch=1).latency_ms

    def models(self, config: Configuration) -> Iterator[Model]:
        """The network, and everything that is made of it."""
        (pipeline,) = self.evaluator.evaluate(config, seconds=SECONDS).pipelines
        (fold,) = self.evaluator.folds(config)
        plain = self._file("fp32", pipeline)
        yield plain
        yield Model("int8", to_int8(plain.content, self.train), plain.n_parameters)
        rows = rows_of(pipeline, fold, 0, SECONDS)
        teacher = teach(pipeline.model.scores(fold.train))
        network = pipeline.model.export()
        for compression in COMPRESSIONS.values():
            for amount in compression.amounts:
                smaller = compression.shrink(network, amount, self.price)
                if smaller is network:
                    continue
                tuned = with_network(pipeline, tune(smaller, rows, teacher))
                yield self._file(f"{compression.name} {amount:g}", tuned)
        yield self._file("small, alone", self.evaluator.evaluate(STUDENT, seconds=SECONDS).pipelines[0])
        taught = distil(STUDENT, pipeline.model.shape, replace(rows, config=STUDENT), teacher)
        student = GraphModel(STUDENT, pipeline.model.shape, taught)
        yield self._file("small, taught", Pipeline(pipeline.preprocessor, student, pipeline.center, pipeline.scale))

    def _file(self, how: str, pipeline: Pipeline) -> Model:
        n = pipeline.model.export().graph.n_parameters
        return Model(how, to_onnx(pipeline, self.task).SerializeToString(), n)


def latency_ratio(plain: Path, other: Path, rows: RawInputs, batch: int) -> float:
    """Return measured latency of a file as a share of another's."""
    ratios = []
    for _ in range(ROUNDS):
        pair = [_measure(path, rows, batch) for path in (plain, other)]
        ratios.append(pair[1] / pair[0])
    return float(np.median(ratios))


def _measure(path: Path, rows: RawInputs, batch: int) -> float:
    n = 32 * batch
    feeds = {name: np.resize(array[:n], (n, *array.shape[1:])) for name, array in rows.items() if array.size}
    return measure_latency(path, batch=batch, time_limit_s=0.25, feeds=feeds, bound_when_noisy=True).median_ms


def make(bench: Bench, network: str, folder: Path) -> None:
    """Write the files of a network and what became of each; what is there already stays."""
    record = folder / f"{bench.task.name}-{network}.json"
    if record.exists():
        return
    rows: list[dict[str, Any]] = []
    reference: np.ndarray | None = None
    for model in bench.models(NETWORKS[network]):
        path = folder / f"{record.stem}-{len(rows)}.onnx"
        path.write_bytes(model.content)
        said = run_model(model.content, bench.valid)
        reference = said if reference is None else reference
        rows.append(
            {
                "how": model.how,
                "file": path.name,
                "parameters": model.n_parameters,
                "bytes": len(model.content),
                "same": agreement(reference, said) if bench.task.n_outputs > 1 else None,
                "error": bench.judge.error([said[:, 0] if said.shape[1] == 1 else said]),
            }
        )
    record.write_text(json.dumps({"table": bench.task.name, "network": network, "rows": rows}))


def measure(folder: Path) -> Iterator[str]:
    """Measure all files of a folder; lines of a table in Markdown."""
    columns = ["table", "network", "made smaller by", "parameters", "bytes", "same class, %", "error"]
    columns += [f"latency, {batch} rows" for batch in BATCHES]
    yield f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    for record in sorted(folder.glob("*.json")):
        content = json.loads(record.read_text())
        plain = content["rows"][0]
        inputs = load(content["table"]).inputs
        for row in content["rows"]:
            pair = folder / plain["file"], folder / row["file"]
            ratios = [latency_ratio(*pair, inputs, batch) if row is not plain else 1.0 for batch in BATCHES]
            same = "-" if row["same"] is None else f"{100 * row['same']:.1f}"
            cells = [content["table"], content["network"], row["how"], f"{row['parameters']:,}"]
            cells += [f"{row['bytes'] / plain['bytes']:.3f}", same]
            cells += [f"{row['error']:.4f}", *(f"{ratio:.2f}" for ratio in ratios)]
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Make the files, or measure them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["make", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="*", default=TABLES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "measure":
        for line in measure(arguments.folder):
            print(line, flush=True)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    table = open_device("cpu").table
    for name in arguments.tables:
        bench = Bench(load(name), table)
        for network in NETWORKS:
            make(bench, network, arguments.folder)


if __name__ == "__main__":
    main()
