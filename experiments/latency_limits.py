"""Whether limits hold: ``python -m experiments.latency_limits TABLES… --out limits.csv --n 50``.

Each search draws a table (its last column is the target), a limit and a batch; the model that it returns is measured
once more, by a measurement of its own on the table's rows. Counted are searches that say the limit is kept while that
second measurement is above it. The file is appended to: the same command goes on where it was stopped. Keep the machine
quiet.
"""

from __future__ import annotations

import csv
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd

from hw_cost import Measurement, TooNoisy, measure_latency
from metaml import search
from metaml.data import Task, load_task
from metaml.errors import MetamlError
from metaml.latency import open_device

LIMITS_MS = (0.006, 0.008, 0.01, 0.015, 0.03, 0.06)
BATCHES = (1, 1, 1, 32)


@dataclass(frozen=True)
class Outcome:
    """One search."""

    seed: int
    table: str
    limit_ms: float
    batch: int
    kept: bool | None = None
    """Whether the search says that the limit is kept; None when it failed."""
    predicted_ms: float | None = None
    said_ms: float | None = None
    """What the search measured."""
    again_ms: float | None = None
    """What the second measurement says."""
    again_low_ms: float | None = None
    """Lower end of its 95 % interval."""
    failure: str = ""

    @property
    def broken(self) -> bool:
        """Whether the limit is said to be kept and is not."""
        return bool(self.kept and self.again_ms is not None and self.again_ms > self.limit_ms)

    @property
    def clearly_broken(self) -> bool:
        """Whether even the lower end of the second measurement is above the limit."""
        return bool(self.kept and self.again_low_ms is not None and self.again_low_ms > self.limit_ms)


def run(seed: int, tables: tuple[Path, ...], *, seconds: float, trials: int) -> Outcome:
    """Search once and measure what comes back."""
    random = np.random.default_rng(seed)
    path = tables[int(random.integers(len(tables)))]
    drawn = Outcome(seed, path.name, float(random.choice(LIMITS_MS)), int(random.choice(BATCHES)))
    with TemporaryDirectory() as folder:
        try:
            task = load_task(path, pd.read_csv(path, nrows=0).columns[-1])
            result = search(
                task,
                max_latency_ms=drawn.limit_ms,
                batch=drawn.batch,
                time_limit=seconds,
                trials=trials,
                store=False,
                out=Path(folder) / "run",
                seed=seed,
            )
            again = measure_again(result.model_path, task, drawn.batch)
        except (MetamlError, TooNoisy) as error:
            return Outcome(**{**asdict(drawn), "failure": str(error).splitlines()[0]})
        latency = result.best["latency_ms"]
        figures = {"predicted_ms": latency["predicted"], "said_ms": latency["measured"], "kept": result.meets_limit}
        return Outcome(**{**asdict(drawn), **figures, "again_ms": again.median_ms, "again_low_ms": again.low_ms})


def measure_again(model: Path, task: Task, batch: int) -> Measurement:
    """Measure a delivered model on the rows of its task, up to three times until the machine is quiet.

    The table's reference tells whether it is: without one, a busy phase that lasts is taken for a slow machine.
    """
    n = 64 * batch
    feeds = {name: np.resize(part[:n], (n, *part.shape[1:])) for name, part in task.inputs.items() if part.size}
    device = open_device("cpu")
    reference_us = device.table.reference_us if device.is_here else None
    for _ in range(2):
        with suppress(TooNoisy):
            return measure_latency(model, batch=batch, feeds=feeds, time_limit_s=2.0, reference_us=reference_us, seed=1)
        time.sleep(10.0)
    return measure_latency(model, batch=batch, feeds=feeds, time_limit_s=2.0, reference_us=reference_us, seed=1)


def read(path: Path) -> list[Outcome]:
    """Return the searches of earlier sittings."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_outcome(row) for row in csv.DictReader(file)]


def _outcome(row: dict[str, str]) -> Outcome:
    numbers = {name: float(row[name]) for name in row if name.endswith("_ms") and row[name]}
    kept = {"": None, "True": True, "False": False}[row["kept"]]
    told = {"seed": int(row["seed"]), "table": row["table"], "batch": int(row["batch"]), "failure": row["failure"]}
    return Outcome(**{**told, **numbers, "kept": kept})  # type: ignore[arg-type]


def append(path: Path, outcome: Outcome) -> None:
    """Add one line to the file."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(outcome))


@click.command(help=__doc__)
@click.argument("tables", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--n", type=int, default=50, show_default=True, help="Searches in all.")
@click.option("--slice", "n_now", type=int, help="At most this many in this sitting.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Time limit of a search.")
@click.option("--trials", type=int, default=12, show_default=True)
def main(tables: tuple[Path, ...], out: Path, n: int, n_now: int | None, seconds: float, trials: int) -> None:
    """Run searches and print how many limits were broken."""
    done = read(out)
    for seed in range(len(done), min(n, len(done) + (n_now or n))):
        done.append(run(seed, tables, seconds=seconds, trials=trials))
        append(out, done[-1])
        print(done[-1], flush=True)
    answered = [outcome for outcome in done if outcome.kept is not None]
    print(f"{len(done)} searches, {len(done) - len(answered)} failed")
    print(f"limit said to be kept: {sum(bool(outcome.kept) for outcome in answered)}")
    print(f"of these above the limit when measured again: {sum(outcome.broken for outcome in answered)}")
    print(f"even at the lower end of that measurement: {sum(outcome.clearly_broken for outcome in answered)}")


if __name__ == "__main__":
    main()
