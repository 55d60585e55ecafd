"""Convolutions of a V100 (TinyNAS's published profiles): how far a smooth regression on their shapes is off.

    python -m experiments.tinynas_conv [--precisions fp32 fp16 int8] [--train 1500] [--seeds 1]

Batch 1; a fifth of the kernels is held out, and of the others so many are drawn for the fit. The regression is that of
latency tables: a simple sum with `hw_cost.residual.Residual` on top. Its sum is a linear function of the logarithms
here, because the physical quantities of a processor say little of a graphics card. Beside it stands scikit-learn's
gradient boosting on the same features. Data: METAML_DATA, folder latency/tinynas_v100 (Apache-2.0).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from hw_cost.residual import Residual

TILE = 64
"""Pixels, and output channels, that a block of threads computes together."""
PROCESSORS = 80
"""Streaming multiprocessors of a V100: so many blocks run at a time."""
MULTIPLES = (4, 8, 32)
"""Multiples of channels that vector loads can make use of."""


def load(precision: str) -> pd.DataFrame:
    """Return the kernels of batch 1 that ran."""
    folder = Path(os.environ.get("METAML_DATA", "../shared/data")) / "latency" / "tinynas_v100"
    table = pd.read_csv(folder / f"conv_{precision}.csv.gz")
    return table[(table["batch"] == 1) & (table["ms"] > 0)].reset_index(drop=True)


def features(table: pd.DataFrame) -> np.ndarray:
    """Return the logarithms of sizes, FLOPs, bytes, blocks of threads and waves of them, and alignment, ``(n, d)``."""
    is_depthwise = (table["type"] == "Depthwise").to_numpy(float)
    cin, cout, h, k, s = (table[name].to_numpy(float) for name in ("cin", "cout", "h", "kernel", "stride"))
    pixels = np.ceil(h / s) ** 2
    inner = np.where(is_depthwise > 0, 1.0, cin)
    flops, weights = 2 * pixels * cout * inner * k**2, cout * inner * k**2
    moved = h**2 * cin + pixels * cout + weights
    blocks = np.ceil(pixels / TILE) * np.ceil(cout / TILE)
    aligned = sum((cin % multiple == 0).astype(float) for multiple in MULTIPLES)
    logs = [np.log(x) for x in (cin, cout, h, k, flops, moved, blocks, np.ceil(blocks / PROCESSORS))]
    return np.column_stack([*logs, s, table["fused"].to_numpy(float), 2 * is_depthwise, aligned])


def predicted(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the milliseconds that each regression foretells."""
    x, target, unseen = features(train), np.log(train["ms"].to_numpy()), features(test)
    design, beyond = (np.column_stack([np.ones(len(part)), part]) for part in (x, unseen))
    weights, *_ = np.linalg.lstsq(design, target, rcond=1e-8)
    residual = Residual.fit(x, target - design @ weights)
    boosted = HistGradientBoostingRegressor(random_state=0).fit(x, target)
    return {
        "linear": np.exp(beyond @ weights),
        "linear and residual": np.exp(beyond @ weights + residual.predict(unseen)),
        "gradient boosting": np.exp(boosted.predict(unseen)),
    }


def main() -> None:
    """Print the mean absolute percentage error and the share within ±10 % of each regression."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    rows = []
    for precision in chosen.precisions:
        table = load(precision)
        for seed in range(chosen.seeds):
            order = np.random.default_rng(seed).permutation(len(table))
            test, rest = np.split(order, [len(table) // 5])
            found = predicted(table.iloc[rest[: chosen.train]], table.iloc[test])
            for name, latency in found.items():
                error = np.abs(latency / table["ms"].to_numpy()[test] - 1)
                rows.append((precision, name, seed, 100 * error.mean(), 100 * np.median(error), (error <= 0.1).mean()))
    table = pd.DataFrame(rows, columns=["precision", "regression", "seed", "mape", "median_ape", "within_10pct"])
    print(
        table.groupby(["precision", "regression"]).mean().drop(columns="seed").to_string(float_format="{:.3f}".format)
    )


if __name__ == "__main__":
    main()
