"""How far a latency table's predictions are off, by kind of network and batch.

    python -m experiments.latency_accuracy [--table FILE] [--per-kind 6] [--seed 7] [--seconds 240]

Networks are random ones of every kind of `hw_cost.networks` that no build has seen, networks of other people's design
that torch exported (`experiments.foreign_networks`), and, with batches of 1, the full-size ones of the onnx package.
Every figure is measured on this machine, in the same run as its prediction is asked for; keep the machine quiet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from experiments.foreign_networks import DESIGNS, foreign_networks, published_networks
from hw_cost import LatencyTable
from hw_cost.networks import KINDS, random_networks
from hw_cost.onnx_reader import OnnxModel
from hw_cost.random_onnx import write_onnx
from hw_cost.validation import compare, measured_pairs
from metaml.latency import open_device

BATCHES = (1, 32)
TOO_LARGE = ("vgg19", "bvlc_alexnet", "zfnet512")
"""Published networks that hold hundreds of megabytes and take most of a second a call."""


@dataclass(frozen=True)
class Case:
    """A network, what kind it is of, and its batch."""

    kind: str
    name: str
    model: OnnxModel
    batch: int


def cases(per_kind: int, seed: int) -> Iterator[Case]:
    """Yield the networks, each kind with each batch."""
    for network in random_networks(
        per_kind * 2 * len(KINDS), seed=1_000_000 + seed, kinds=tuple(KINDS), batches=BATCHES
    ):
        yield Case(network.kind, network.name, write_onnx(network.graph), network.batch)
    for position, (name, model) in enumerate(foreign_networks(per_kind * len(DESIGNS), seed=seed).items()):
        yield Case("other design", name, model, BATCHES[position // len(DESIGNS) % 2])
    for name, path in published_networks().items():
        if name not in TOO_LARGE:
            yield Case("published", name, path, 1)


def measure(table: LatencyTable, chosen: list[Case], seconds: float) -> pd.DataFrame:
    """Return kind, name, batch, measured and predicted milliseconds and the interval of each network."""
    rows = []
    for batch in BATCHES:
        part = [case for case in chosen if case.batch == batch]
        share = seconds * len(part) / len(chosen)
        pairs = measured_pairs(table, [case.model for case in part], batch=batch, time_limit_s=share)
        for case, pair in zip(part, pairs, strict=True):
            if pair is not None:
                rows.append({"kind": case.kind, "name": case.name, "batch": batch, "pair": pair})
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Return the agreement for each kind and batch, for each batch, and for all."""
    parts = {f"{kind}, batch {batch}": list(part["pair"]) for (kind, batch), part in found.groupby(["kind", "batch"])}
    parts |= {f"all, batch {batch}": list(part["pair"]) for batch, part in found.groupby("batch")}
    parts["all"] = list(found["pair"])
    return pd.DataFrame({name: compare(pairs) for name, pairs in parts.items()}).T


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="cpu")
    parser.add_argument("--per-kind", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=240.0)
    chosen = parser.parse_args()
    opened = open_device(chosen.table, uncertified=True)
    found = measure(opened.table, list(cases(chosen.per_kind, chosen.seed)), chosen.seconds)
    print(opened.how)
    with pd.option_context("display.width", 160, "display.float_format", "{:.3f}".format):
        print(summary(found).to_string())
    worst = found.assign(ratio=[cost.latency_ms / latency for cost, latency in found["pair"]])
    worst = worst.iloc[(worst["ratio"] - 1).abs().argsort()[::-1][:10]]
    print("\nworst:\n" + worst[["kind", "name", "batch", "ratio"]].to_string(index=False))


if __name__ == "__main__":
    main()
