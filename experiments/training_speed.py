"""How fast networks train: the engine against a plain loop, and workers side by side against one after another.

The plain loop is what one writes first: a `DataLoader` over a `TensorDataset`, `torch.optim.AdamW`, the loss read after
every step. Both train the same network on the same rows with the same batch size, learning rates and number of epochs,
on one thread, in turns; medians over the turns are compared.

python -m experiments.training_speed epochs [--rows 1000 --rows 10000 --rows 50000] [--turns 3]
OMP_NUM_THREADS=2 python -m experiments.training_speed trials [--rows 2000] [--trials 24]
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from metaml.data import Task, make_splits, make_task
from metaml.evaluation import Evaluator
from metaml.metrics import metric_for
from metaml.models import FAMILIES, TabularShape, TorchFamily
from metaml.preprocessing import TableFeatures
from metaml.runners import Assignment, Job, WorkerPool
from metaml.space import SPACES
from metaml.training import Rows
from metaml.training.loop import Training
from metaml.training.schedules import SCHEDULES
from metaml.trial import Configuration

N_NUMERIC, CARDINALITIES, N_CLASSES = 16, (4, 4, 4, 4), 3
SHAPE = TabularShape(N_NUMERIC, CARDINALITIES, n_outputs=N_CLASSES, is_regression=False)
EPOCHS = {1_000: 40, 10_000: 8, 50_000: 3}
"""Number of rows -> epochs of one turn; 4 for others."""


def make_rows(n: int, seed: int = 0) -> Rows:
    """Return a made-up table with three classes that a network can learn, but not perfectly."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n, N_NUMERIC)).astype(np.float32)
    codes = np.stack([rng.integers(0, k, n) for k in CARDINALITIES], axis=1)
    value = numeric[:, 0] * numeric[:, 1] + numeric[:, 2] + (codes[:, 0] == 1) + 0.3 * rng.normal(size=n)
    offsets = np.cumsum([0, *CARDINALITIES[:-1]])
    return Rows(TableFeatures(numeric, codes + offsets), np.digitize(value, [-0.4, 0.8]).astype(np.int64))


@dataclass(frozen=True)
class Result:
    """One training."""

    seconds: float
    loss: float
    """Log loss on fresh rows."""


def run_engine(config: Configuration, train: Rows, test: Rows, seed: int) -> Result:
    """Train with `metaml.training`."""
    training = Training(_family(config), config, SHAPE, train, seed=seed)
    started = time.perf_counter()
    training.run(config["epochs"], seconds=1e9)
    return Result(time.perf_counter() - started, _log_loss(training.result()[0].eval(), test))


def run_plain(config: Configuration, train: Rows, test: Rows, seed: int) -> Result:
    """Train with a `DataLoader`."""
    torch.manual_seed(seed)
    module = _family(config).build(config, SHAPE)
    decayed = _family(config).decayed(module)
    rest = [p for p in module.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config["learning_rate"])
    tensors = [torch.from_numpy(array) for array in (*train.features.arrays, train.y)]
    loader = DataLoader(TensorDataset(*tensors), batch_size=config["batch_size"], shuffle=True)
    n_steps = config["epochs"] * len(loader)
    schedule = SCHEDULES[config["schedule"]]
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule(min(step, n_steps - 1), n_steps))
    started, total = time.perf_counter(), 0.0
    module.train()
    for _ in range(config["epochs"]):
        for numeric, codes, y in loader:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(numeric, codes), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
            total += loss.item()
    return Result(time.perf_counter() - started, _log_loss(module.eval(), test))


def compare_epochs(config: Configuration, n: int, turns: int) -> dict[str, float]:
    """Return epochs per second and final losses of both loops on a table of `n` rows."""
    train, test = make_rows(n), make_rows(4000, seed=1)
    config = config | {"epochs": EPOCHS.get(n, 4), "batch_size": min(config["batch_size"], n // 10)}
    results: dict[str, list[Result]] = {"engine": [], "plain": []}
    for turn in range(turns):
        results["engine"].append(run_engine(config, train, test, turn))
        results["plain"].append(run_plain(config, train, test, turn))
    rates = {name: config["epochs"] / float(np.median([r.seconds for r in of])) for name, of in results.items()}
    losses = {f"{name}_loss": float(np.mean([r.loss for r in of])) for name, of in results.items()}
    noise = float(np.std([r.loss for r in results["plain"]], ddof=1)) if turns > 1 else float("nan")
    return {"rows": n, **rates, "ratio": rates["engine"] / rates["plain"], **losses, "loss_deviation": noise}


def _family(config: Configuration) -> TorchFamily:
    family = FAMILIES[config["family"]]
    if not isinstance(family, TorchFamily):
        raise TypeError(f"the family must be a TorchFamily, however: {config['family']}")
    return family


def _log_loss(module: nn.Module, rows: Rows) -> float:
    with torch.inference_mode():
        scores = module(*(torch.from_numpy(array) for array in rows.features.arrays))
        return float(nn.functional.cross_entropy(scores, torch.from_numpy(rows.y)))


def make_trial_task(n: int) -> Task:
    """Return the made-up table as a task."""
    rows = make_rows(n)
    return make_task(np.hstack([*rows.features.arrays]), rows.y.astype(str))


def side_by_side(task: Task, configurations: Sequence[Configuration], workers: int) -> float:
    """Return the seconds that a pool takes for one trial of each configuration, without its start."""
    with WorkerPool(workers) as pool:
        pool.assign(Assignment(task, make_splits(task.y, task.type, seed=0), metric_for(task.type).name))
        for number in range(workers):  # imports and preprocessing are not what is measured
            pool.submit(Job(number, "evaluate", SPACES["tabular"].default("linear"), 600.0))
        while pool.is_busy:
            pool.wait(60.0)
        waiting, started = list(enumerate(configurations)), time.perf_counter()
        while waiting or pool.is_busy:
            while waiting and pool.n_idle:
                number, configuration = waiting.pop(0)
                pool.submit(Job(number, "evaluate", configuration, 600.0))
            for outcome in pool.wait(60.0):
                if outcome.status != "ok":
                    raise RuntimeError(f"trial {outcome.number} ended as {outcome.status}: {outcome.message}")
        return time.perf_counter() - started


def one_after_another(task: Task, configurations: Sequence[Configuration], threads: int) -> float:
    """Return the seconds that this process takes for them; scikit-learn's threads are those of ``OMP_NUM_THREADS``."""
    torch.set_num_threads(threads)
    evaluator = Evaluator(task, make_splits(task.y, task.type, seed=0), metric_for(task.type))
    evaluator.evaluate(SPACES["tabular"].default("linear"), seconds=600)
    started = time.perf_counter()
    for configuration in configurations:
        evaluator.evaluate(configuration, seconds=600)
    return time.perf_counter() - started


@click.group(help=__doc__)
def main() -> None:
    """Choose what is measured."""


@main.command()
@click.option("--rows", multiple=True, type=int, default=list(EPOCHS))
@click.option("--turns", default=3, show_default=True)
@click.option("--width", default=128, show_default=True)
@click.option("--layers", default=3, show_default=True)
def epochs(rows: Sequence[int], turns: int, width: int, layers: int) -> None:
    """Epochs per second of the engine and of a plain loop: of the default mlp, or of a smaller or larger one."""
    torch.set_num_threads(1)
    config = SPACES["tabular"].default("mlp") | {"width": width, "n_layers": layers}
    for n in rows:
        print(json.dumps({"width": width, "layers": layers, **compare_epochs(config, n, turns)}), flush=True)


@main.command()
@click.option("--rows", default=2000, show_default=True)
@click.option("--trials", default=24, show_default=True)
@click.option("--threads", default=2, show_default=True)
def trials(rows: int, trials: int, threads: int) -> None:
    """Trials per minute of workers side by side, and of one process after another."""
    task, configurations = make_trial_task(rows), SPACES["tabular"].sample(trials, seed=0)
    pooled = {f"{n}_workers": side_by_side(task, configurations, n) for n in (1, threads)}
    alone = one_after_another(task, configurations, threads)
    rates = {name: 60 * trials / seconds for name, seconds in (pooled | {"one_after_another": alone}).items()}
    print(json.dumps({"rows": rows, **rates, "ratio": rates[f"{threads}_workers"] / rates["one_after_another"]}))


if __name__ == "__main__":
    main()
