"""Training of `Dataset2Vec`: tell whether two patches are of the same table (Jomaa et al. 2021).

    python -m metafeatures.similarity.dataset2vec_training FOLDER --without dataset2vec

FOLDER holds tables and a ``manifest.csv`` with the columns name, file, target, task (classification or regression) and
family; nothing but the tables is read, no result on any of them. ``--without`` leaves out tables whose column
``in_meta_sources`` names a history with which the measure will be judged. Every tenth family is held out, to see
whether the network knows tables again that it has never seen. The run begins with the weights that are there, if any.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from metafeatures.similarity.dataset2vec import WEIGHTS, Dataset2Vec, Patch, draw_patch, matrices
from metafeatures.table import Table

PAIRS = 16
"""Pairs of patches a step, half of them of one table."""
GAMMA = 1.0
NEGATIVE = 2.0
"""Weight of a pair of two tables."""
RATE = 1e-3
CLIP = 0.5
REPORT = 500

Matrices = tuple[NDArray[np.float32], NDArray[np.float32]]

logger = logging.getLogger(__name__)


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Probability that embeddings ``a`` and ``b``, each ``(b, d)``, are of one table: exp(-γ |a - b|)."""
    return torch.exp(-GAMMA * torch.linalg.vector_norm(a - b, dim=1))


def loss(probability: Tensor, same: Tensor) -> Tensor:
    """Log-loss of the probabilities, where pairs of two tables count `NEGATIVE` times."""
    probability = probability.clamp(1e-6, 1 - 1e-6)
    return -(same * torch.log(probability) + NEGATIVE * (1 - same) * torch.log(1 - probability)).mean()


def draw_pairs(tables: list[Matrices], rng: np.random.Generator, n: int = PAIRS) -> tuple[list[Patch], Tensor]:
    """Patches ``a_1 … a_n b_1 … b_n`` and whether a_i and b_i are of one table, ``(n,)``: the first half is."""
    first = rng.integers(len(tables), size=n)
    other = (first + rng.integers(1, len(tables), size=n)) % len(tables)
    same = np.arange(n) < n // 2
    second = np.where(same, first, other)
    patches = [draw_patch(*tables[i], rng=rng) for i in (*first, *second)]
    return patches, torch.from_numpy(same.astype(np.float32))


def train(network: Dataset2Vec, tables: list[Matrices], *, steps: int, seed: int) -> float:
    """Train the network in place; return the mean loss of the last `REPORT` steps."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses, start = [], time.monotonic()
    for step in range(1, steps + 1):
        patches, same = draw_pairs(tables, rng)
        a, b = network(patches).chunk(2)
        value = loss(similarity(a, b), same)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if step % REPORT == 0:
            mean, seconds = np.mean(losses[-REPORT:]), time.monotonic() - start
            logger.info("step %d: loss %.4f, %.0f s", step, mean, seconds)
    return float(np.mean(losses[-REPORT:]))


def same_table_auc(network: Dataset2Vec, tables: list[Matrices], *, pairs: int = 1000, seed: int = 0) -> float:
    """How often a pair of patches of one table is found more alike than a pair of two: 0.5 by chance, at best 1."""
    patches, same = draw_pairs(tables, np.random.default_rng(seed), pairs)
    with torch.inference_mode():
        a, b = network.eval()(patches).chunk(2)
        p = similarity(a, b).numpy()
    one, two = p[same.numpy() > 0], p[same.numpy() == 0]
    return float((one[:, None] > two).mean() + (one[:, None] == two).mean() / 2)


def read_tables(folder: Path, without: str | None) -> tuple[list[Matrices], list[Matrices]]:
    """The tables to train with, and those of every tenth family, which are held out."""
    manifest = pd.read_csv(folder / "manifest.csv")
    if without is not None:
        manifest = manifest[~manifest["in_meta_sources"].fillna("").str.contains(without, regex=False)]
    parts: tuple[list[Matrices], list[Matrices]] = ([], [])
    for family, (_, rows) in enumerate(manifest.groupby("family")):
        for row in rows.to_dict("records"):
            table = pd.read_csv(folder / row["file"], low_memory=False)
            X, y = table.drop(columns=row["target"]), table[row["target"]]
            parts[family % 10 == 9].append(matrices(Table(X, y, task_type=row["task"])))
    return parts


def main() -> None:
    """Train, say how well held-out tables are known again, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", help="leave out tables of this history")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    tables, held_out = read_tables(arguments.folder, arguments.without)
    logger.info("%d tables, %d held out", len(tables), len(held_out))
    network = Dataset2Vec()
    if arguments.out.exists():
        network.load_state_dict(load_file(arguments.out))
    train(network, tables, steps=arguments.steps, seed=arguments.seed)
    logger.info(
        "same-table AUC: %.4f, held out: %.4f", same_table_auc(network, tables), same_table_auc(network, held_out)
    )
    save_file(network.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
