"""Training of the probe of `Task2Vec` on labelled images.

    python -m metafeatures.similarity.task2vec_training IMAGES.npz --epochs 40

IMAGES.npz holds ``X`` ``(n, h, w, 3)`` and ``y`` ``(n,)``. A tenth of the images is held out, to see what was learned.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from metafeatures.similarity.task2vec import CHANNELS, SIDE, WEIGHTS, Probe, as_tensor

BATCH = 64
RATE = 3e-3
DECAY = 1e-3
SHIFT = 4
"""Largest shift of an image, in pixels."""

logger = logging.getLogger(__name__)


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """The images, half of them mirrored, all shifted by up to `SHIFT` pixels."""
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    down, right = torch.randint(2 * SHIFT + 1, (2,), generator=rng)
    return nn.functional.pad(images, (SHIFT,) * 4)[..., down : down + SIDE, right : right + SIDE]


def train(images: Tensor, labels: Tensor, *, epochs: int, seed: int = 0) -> tuple[Probe, nn.Linear]:
    """Train a probe and its last layer on ``(n, 3, SIDE, SIDE)`` and ``(n,)``."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    probe, head = Probe(), nn.Linear(CHANNELS[-1], int(labels.max()) + 1)
    parameters = [*probe.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=rng), BATCH):
            loss = nn.functional.cross_entropy(head(probe(augmented(images[batch], rng))), labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        logger.info("epoch %d: loss %.4f", epoch, total / len(images))
    return probe, head


def accuracy(probe: Probe, head: nn.Linear, images: Tensor, labels: Tensor) -> float:
    """Share of the images that are named right."""
    with torch.inference_mode():
        return float((head(probe(images)).argmax(dim=1) == labels).float().mean())


def main() -> None:
    """Train, say how well held-out images are named, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with np.load(arguments.images) as file:
        images, labels = as_tensor(file["X"]), torch.from_numpy(file["y"].astype(np.int64))
    held_out = torch.arange(len(images)) % 10 == 9
    probe, head = train(images[~held_out], labels[~held_out], epochs=arguments.epochs)
    right = accuracy(probe, head, images[held_out], labels[held_out])
    logger.info("accuracy on held-out images: %.3f", right)
    save_file(probe.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
