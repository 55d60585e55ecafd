"""Where a network is trained."""

from __future__ import annotations

from functools import cache

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
    is_worth_it = step_flops >= STEP_FLOPS and n_steps * step_flops >= TRAINING_FLOPS
    return torch.device("cuda" if is_worth_it and has_gpu() else "cpu")


@cache
def has_gpu() -> bool:
    """Whether this process can compute on a GPU; not where all its memory is taken, or others keep it to themselves.

    The first call takes seconds where there is one.
    """
    if not torch.cuda.is_available():
        return False
    torch.backends.cudnn.allow_tf32 = False  # the exported file must say what the trained network says
    try:
        torch.zeros(1, device="cuda").item()
    except RuntimeError:
        return False
    return True
