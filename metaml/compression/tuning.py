"""Trains a network a few epochs more, on labels and, where there is a teacher, on what that says of the rows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metaml.compression.base import TuningRows
from metaml.compression.graph_model import GraphModule
from metaml.models import Exported

EPOCH_SHARE, MIN_EPOCHS = 0.25, 3
"""A tuning has this share of the epochs of the training, and at least so many."""
RATE_SHARE = 0.3
"""Its learning rate begins at this share of the training's, and falls to 0 along a half cosine."""
MIN_STEPS = 10
"""Batches are made smaller on small tables, so that an epoch has this many steps."""


@dataclass(frozen=True)
class Teacher:
    """What a better model says of the training rows (Hinton et al. 2015)."""

    scores: np.ndarray
    """Logarithms of probabilities ``(n, k)``, or standardised values ``(n,)``."""
    alpha: float = 0.5
    """Weight of the teacher's word against the labels': 0 is training without a teacher."""
    temperature: float = 2.0
    """Both distributions are softened by it; means nothing for regression."""


def distillation_loss(scores: Tensor, target: Tensor, said: Tensor | None, teacher: Teacher | None) -> Tensor:
    """Return (1 - alpha) CE + alpha T^2 KL(softmax(said / T) || softmax(scores / T)); of values mean squared errors.

    **Shape**
    - scores: ``(batch, n_outputs)`` or ``(batch, heads, n_outputs)``
    - target: codes or values ``(batch,)``
    - said: ``(batch, n_outputs)`` or values ``(batch,)``
    """
    if scores.ndim == 3:  # each head of several learns for itself
        heads = scores.shape[1]
        target = target.repeat_interleave(heads, dim=0)
        said = None if said is None else said.repeat_interleave(heads, dim=0)
        scores = scores.flatten(0, 1)
    is_regression = target.is_floating_point()
    hard = functional.mse_loss(scores[:, 0], target) if is_regression else functional.cross_entropy(scores, target)
    if teacher is None or said is None or teacher.alpha == 0:
        return hard
    if is_regression:
        soft = functional.mse_loss(scores[:, 0], said)
    else:
        t = teacher.temperature
        logs, truths = (functional.log_softmax(x / t, dim=1) for x in (scores, said))
        soft = t * t * functional.kl_div(logs, truths, log_target=True, reduction="batchmean")
    return (1 - teacher.alpha) * hard + teacher.alpha * soft


def train(module: nn.Module, rows: TuningRows, *, epochs: int, rate: float, teacher: Teacher | None = None) -> None:
    """Train a module in place.

    Raises:
        TimeoutError: the time is up.
    """
    arrays = [torch.from_numpy(array) for array in rows.features.arrays]
    codes = rows.target.dtype.kind == "i"
    target = torch.from_numpy(rows.target if codes else rows.target.astype(np.float32))
    said = None if teacher is None else torch.from_numpy(teacher.scores.astype(np.float32))
    n, ends = len(target), time.monotonic() + rows.seconds
    batch_size = min(int(rows.config["batch_size"]), max(1, n // MIN_STEPS))
    n_steps, step = math.ceil(n / batch_size) * epochs, 0
    optimiser = torch.optim.AdamW(_groups(module, rows.config["weight_decay"]), lr=rate)
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rows.seed)
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(n), batch_size):
                for group in optimiser.param_groups:
                    group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))
                scores = module(*(array[chosen] for array in arrays))
                loss = distillation_loss(scores, target[chosen], None if said is None else said[chosen], teacher)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                step += 1
            if time.monotonic() > ends:
                raise TimeoutError(f"tuning took longer than the {rows.seconds:.1f} s allowed")
    module.eval()


def tune(network: Exported, rows: TuningRows, teacher: Teacher | None = None) -> Exported:
    """Return a compressed network after a short training of what is left of it."""
    module = GraphModule(network)
    epochs = max(MIN_EPOCHS, round(EPOCH_SHARE * int(rows.config["epochs"])))
    train(module, rows, epochs=epochs, rate=RATE_SHARE * float(rows.config["learning_rate"]), teacher=teacher)
    return Exported(network.graph, module.tensors(), network.attributes)


def _groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay acts on matrices and filters only."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
