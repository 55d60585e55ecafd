"""Where a network is trained."""

from __future__ import annotations

import torch

STEP_FLOPS = 1e8
"""Work of a training step from which a GPU takes less time: before, starting its kernels does (2 to 3 ms a step of MLPs
on an H200, whatever their size, against 1 to 3 ms on one core of its host)."""
TRAINING_FLOPS = 2e11
"""Work of a training, some 10 s of one core, from which the seconds pay that a process needs for its first use."""


def device_for(step_flops: float, n_steps: int) -> torch.device:
    """Return the GPU, where there is one, for a training of much work in few steps, else the processor.

    Args:
        step_flops: floating-point operations of a step, forwards and backwards.
        n_steps: how many there are.
    """
    if step_flops < STEP_FLOPS or n_steps * step_flops < TRAINING_FLOPS or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # the exported file must say what the trained network says
    return torch.device("cuda")
