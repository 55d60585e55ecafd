"""A new device from ten measured networks: ``python -m experiments.latency_transfer --data latency/help``.

The protocol of HELP (Lee et al. 2021): networks 0-899 are the pool that samples are drawn from, 900-1899 are judged,
both cut to the middle 80 % of the new device's latencies; known are HELP's nine training devices, and of them the pool
alone. Beside `hw_cost.transfer` stand the additive model on the same samples and the best single known device.
With ``--devices train`` each known device is foretold from those of other families: where all choices were made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd

from hw_cost.transfer import Features, adapt_to, additive_baseline, best_proxy, most_informative
from hw_cost.validation import spearman

POOL, QUERY = np.arange(900), np.arange(900, 1900)
KNOWN = (
    *("1080ti_1", "1080ti_32", "1080ti_{b}", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
FRESH = {
    "nasbench201": ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"),
    "fbnet": ("raspi4", "eyeriss", "fpga"),
}
CELL_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
FBNET_WIDTHS = (16, *[24] * 4, *[32] * 4, *[64] * 4, *[112] * 4, *[184] * 4, 352)
FBNET_STRIDES = (1, *(2, 1, 1, 1) * 3, *[1] * 4, 2, 1, 1, 1, 1)
FBNET_OPS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1), None)
"""Kernel, expansion and groups of each operator; None is the skip."""


@dataclass(frozen=True)
class Space:
    """Networks of one search space with their latencies."""

    name: str
    choices: np.ndarray
    """One-hot operators, ``(n_networks, n_positions, n_ops)``."""
    physics: np.ndarray
    """Work of each operator at each position: FLOPs, bytes and so on, ``(n_positions, n_ops, n_physical)``."""
    latencies: pd.DataFrame
    """Milliseconds, networks × devices."""

    @property
    def known(self) -> list[str]:
        """HELP's training devices."""
        return [device.format(b=256 if self.name == "nasbench201" else 64) for device in KNOWN]

    def contributions(self, devices: list[str]) -> np.ndarray:
        """Return what each operator type contributes on each device and physically, from the pool's measurements.

        Every device's table of positions × operators is fitted by ridge regression; what all operators at a position
        have in common is the last group: ``(n_networks, n_ops + 1, n_devices + n_physical)``.
        """
        flat = self.choices.reshape(len(self.choices), -1)
        design = np.column_stack([np.ones(len(flat)), flat])[POOL]
        targets = self.latencies[devices].to_numpy()[POOL]
        gram = design.T @ design + 0.1 * np.eye(design.shape[1])
        fits = np.linalg.solve(gram, design.T @ (targets / targets.mean(axis=0)))
        tables = fits[1:].reshape(*self.choices.shape[1:], -1)
        common = fits[0] + tables.mean(axis=1).sum(axis=0)
        priced = np.concatenate([tables - tables.mean(axis=1, keepdims=True), self.physics], axis=2)
        by_op = np.einsum("npo,pod->nod", self.choices, priced)
        common = np.concatenate([common, np.zeros(self.physics.shape[2])])
        return np.concatenate([by_op, np.broadcast_to(common, (len(flat), 1, len(common)))], axis=1)


def nasbench201(folder: Path) -> Space:
    """Return cells of four nodes and six edges; three stages of 16, 32 and 64 channels on 32, 16 and 8 pixels."""
    table = pd.read_csv(folder / "nasbench201_ms.csv.gz", nrows=QUERY[-1] + 1)
    ids = [[CELL_OPS.index(op) for op in re.findall(r"([a-z_0-9]+)~", cell)] for cell in table.pop("arch")]
    physics = np.zeros((len(CELL_OPS), 3))
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        values = channels * side**2
        for op, taps in ((2, 1), (3, 9)):
            physics[op] += (2 * taps * channels * values, 4 * (2 * values + taps * channels**2), 3)
        physics[4] += (9 * values, 8 * values, 1)
    return Space("nasbench201", np.eye(len(CELL_OPS))[np.array(ids)], np.tile(physics, (6, 1, 1)), table)


def fbnet(folder: Path) -> Space:
    """Return networks of 22 inverted residual blocks, 224 pixels."""
    table = pd.read_csv(folder / "fbnet_ms.csv.gz", nrows=QUERY[-1] + 1)
    ids = np.array([[int(op) for op in ops.split()] for ops in table.pop("ops")])
    side, n_in, physics = 112, 16, []
    for n_out, stride in zip(FBNET_WIDTHS, FBNET_STRIDES, strict=True):
        physics.append([_block(op, n_in, n_out, (side, side // stride)) for op in FBNET_OPS])
        side, n_in = side // stride, n_out
    return Space("fbnet", np.eye(len(FBNET_OPS))[ids], np.array(physics, dtype=float), table)


def _block(op: tuple[int, int, int] | None, n_in: int, n_out: int, sides: tuple[int, int]) -> tuple[int, ...]:
    """Work of an inverted residual block; a skip that changes the shape is a 1x1 convolution.

    FLOPs of 1x1 convolutions, of depthwise ones, and of 1x1 convolutions in groups; weights; what lies between the
    convolutions; kernels.
    """
    before, after = (side**2 for side in sides)
    if op is None:
        kept = n_in == n_out and before == after
        return (0,) * 6 if kept else (2 * n_in * n_out * after, 0, 0, n_in * n_out, 0, 1)
    kernel, expansion, groups = op
    middle = expansion * n_in
    pointwise = 2 * middle * (n_in * before + n_out * after) // groups
    weights = (n_in + n_out) * middle // groups + kernel**2 * middle
    inside = middle * (before + after)
    return pointwise, 2 * middle * kernel**2 * after, pointwise * (groups > 1), weights, inside, 3 + (groups > 1)


SPACES: dict[str, Callable[[Path], Space]] = {"nasbench201": nasbench201, "fbnet": fbnet}


def middle(latencies: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """Return the networks in the middle 80 % of the latencies, as HELP's loader does."""
    ordered: np.ndarray = networks[np.argsort(latencies[networks], kind="stable")]
    return ordered[int(0.1 * len(ordered)) : int(0.9 * len(ordered))]


def family(device: str) -> str:
    """Settings of one machine are one family: never known and foretold at once."""
    return device if device.startswith("s") else device.split("_")[0]


def judge(space: Space, device: str, known: list[str], *, n: int, seeds: int) -> pd.DataFrame:
    """Return Spearman, share within ±10 % and coverage of the 90 % interval of each method and seed."""
    contributions = space.contributions(known)
    features = Features.of(contributions[POOL], len(known))
    latencies, counts = space.latencies[device].to_numpy(), space.choices.sum(axis=1)
    totals = np.maximum(contributions[:, :, : len(known)].sum(axis=1), 0.05)
    pool, query = middle(latencies, POOL), middle(latencies, QUERY)
    rows = []
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).choice(pool, n, replace=False)
        base, weights = additive_baseline(counts[drawn], latencies[drawn])
        proxy, intercept, slope = best_proxy(totals[drawn], latencies[drawn])
        candidates = np.random.default_rng(1000 + seed).choice(pool, 200, replace=False)
        chosen = candidates[most_informative(features, contributions[candidates], n)]
        predicted = {
            "additive": base + counts[query] @ weights,
            "best proxy": np.exp(intercept + slope * np.log(totals[query, proxy])),
        }
        rows += [{"method": name, **_figures(values, latencies[query])} for name, values in predicted.items()]
        for name, samples in (("transfer", drawn), ("transfer, chosen", chosen)):
            adapted = adapt_to(features, contributions[samples], latencies[samples])
            low, high = adapted.interval(contributions[query])
            inside = float(np.mean((low <= latencies[query]) & (latencies[query] <= high)))
            figures = _figures(adapted.predict(contributions[query])[0], latencies[query])
            rows.append({"method": name, **figures, "coverage": inside})
    return pd.DataFrame(rows).assign(device=device)


def _figures(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    within = float(np.mean(np.abs(predicted / measured - 1) <= 0.1))
    return {"spearman": spearman(predicted, measured), "within_10pct": within}


def interval(values: pd.Series) -> str:
    """Return mean and the half width of its 95 % interval over seeds."""
    return f"{values.mean():.3f} ± {1.96 * values.std() / len(values) ** 0.5:.3f}"


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="HELP's latencies as CSV.")
@click.option("--space", type=click.Choice(list(SPACES)), default="nasbench201", show_default=True)
@click.option("--devices", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option("--samples", type=int, default=10, show_default=True, help="Networks measured on the new device.")
@click.option("--seeds", type=int, default=50, show_default=True)
def main(data: Path, space: str, devices: str, samples: int, seeds: int) -> None:
    """Print a table per device and the means over devices."""
    content = SPACES[space](data)
    results = []
    for device in FRESH[space] if devices == "test" else content.known:
        known = [name for name in content.known if devices == "test" or family(name) != family(device)]
        results.append(judge(content, device, known, n=samples, seeds=seeds))
        by_method = results[-1].groupby("method")
        for method, rows in by_method:
            print(f"{device:15s} {method:17s} {interval(rows.spearman)}  within ±10 % {rows.within_10pct.mean():.0%}")
    means = pd.concat(results).groupby("method")[["spearman", "within_10pct", "coverage"]].mean()
    print(f"\nmean over devices\n{means.round(4).to_string()}")


if __name__ == "__main__":
    main()
