"""Distillation: a smaller configuration learns what a better model says of the training rows (Hinton et al. 2015)."""

from __future__ import annotations

import numpy as np
import torch

from metaml.compression.base import TuningRows
from metaml.compression.tuning import Teacher, train
from metaml.models import FAMILIES, Exported, NetworkShape, TorchFamily
from metaml.trial import Configuration

TEMPERATURE, ALPHA = 2.0, 0.7
"""How soft the teacher's words are, and how much they count beside the labels."""
TINY = 1e-6
"""Probabilities below this are as good as this in their logarithm."""


def teach(scores: np.ndarray) -> Teacher:
    """Return a teacher of what a model says: probabilities ``(n, k)``, or standardised values ``(n,)``."""
    said = scores if scores.ndim == 1 else np.log(np.clip(scores, TINY, 1.0))
    return Teacher(said, ALPHA, TEMPERATURE)


def distil(student: Configuration, shape: NetworkShape, rows: TuningRows, teacher: Teacher) -> Exported:
    """Return a small network that was trained on labels and on the words of a teacher."""
    family = FAMILIES[student["family"]]
    if not isinstance(family, TorchFamily):
        raise TypeError(f"a student must be a network, however: {student['family']}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rows.seed)
        module = family.build(student, shape)
    train(module, rows, epochs=int(student["epochs"]), rate=float(student["learning_rate"]), teacher=teacher)
    return Exported(family.graph(student, shape), family.tensors(module), {})
