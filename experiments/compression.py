"""What compression does to networks on tables: size, agreement, validation error, and measured latency.

``python -m experiments.compression phoneme satimage …`` trains an mlp (3 × 512) and a resnet (2 blocks, 256 wide) on
three quarters of each table, makes each smaller in every way, and prints for each what became of it on the other
quarter. Latencies are of one row and of 32, by onnxruntime on one thread; each ratio is of two files that were
measured in turn, three times, and the median counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

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
        (fold,) = self.evaluator.folds
        plain = self._file("fp32", pipeline)
        yield plain
        yield Model("int8", to_int8(plain.content, self.train), plain.n_parameters)
        rows = rows_of(pipeline, fold, 0, SECONDS)
        network = pipeline.model.export()
        for compression in COMPRESSIONS.values():
            for amount in compression.amounts:
                smaller = compression.shrink(network, amount, self.price)
                if smaller is network:
                    continue
                tuned = self._file(f"{compression.name} {amount:g}", with_network(pipeline, tune(smaller, rows)))
                yield tuned
        yield self._file("small, alone", self.evaluator.evaluate(STUDENT, seconds=SECONDS).pipelines[0])
        taught = distil(
            STUDENT, pipeline.model.shape, replace(rows, config=STUDENT), teach(pipeline.model.scores(fold.train))
        )
        student = GraphModel(STUDENT, pipeline.model.shape, taught)
        yield self._file("small, taught", Pipeline(pipeline.preprocessor, student, pipeline.center, pipeline.scale))

    def _file(self, how: str, pipeline: Pipeline) -> Model:
        n = pipeline.model.export().graph.n_parameters
        return Model(how, to_onnx(pipeline, self.task).SerializeToString(), n)

    def predict(self, model: Model) -> np.ndarray:
        """What a file says of the validation rows."""
        return run_model(model.content, self.valid)


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
    return measure_latency(path, batch=batch, time_limit_s=0.4, feeds=feeds, bound_when_noisy=True).median_ms


def report(bench: Bench, config: Configuration) -> list[str]:
    """Return a line for each model."""
    lines: list[str] = []
    files: list[tuple[Path, bytes, np.ndarray]] = []
    with TemporaryDirectory() as folder:
        for model in bench.models(config):
            path = Path(folder) / f"{len(lines)}.onnx"
            path.write_bytes(model.content)
            said = bench.predict(model)
            files.append((path, model.content, said))
            first, plain, reference = files[0]
            error = bench.judge.error([said[:, 0] if said.shape[1] == 1 else said])
            same = f"{100 * agreement(reference, said):6.1f}" if bench.task.n_outputs > 1 else "     -"
            ratios = [1.0 if path == first else latency_ratio(first, path, bench.valid, batch) for batch in BATCHES]
            lines.append(
                f"| {bench.task.name} | {config['family']} | {model.how} | {model.n_parameters:,} | "
                f"{len(model.content) / len(plain):.3f} | {same} | {error:.4f} | "
                f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
            )
    return lines


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = open_device("cpu").table
    print(
        "| table | network | made smaller by | parameters | bytes | same class, % | error | latency, 1 row | 32 rows |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.tables:
        bench = Bench(load(name), table)
        for network in arguments.networks:
            print("\n".join(report(bench, NETWORKS[network])), flush=True)


if __name__ == "__main__":
    main()
