"""The only file here that imports torch: latent positions of configurations by maximum likelihood."""

from __future__ import annotations

import numpy as np
import torch

from portfolio.table import Floats

RATE, STEPS, JITTER = 0.03, 80, 1e-6


def fit_latents(start: Floats, rows: Floats) -> tuple[Floats, float, float]:
    """Maximise the likelihood of a GP-LVM (Lawrence 2005; Fusi, Sheth & Elibol 2018, eq. 3).

    Every task row is an independent draw ``N(0, v k(X, X) + σ² I)`` over configurations, k an RBF with unit length
    (the latent positions X carry the lengths), X shared by all tasks, with a standard normal prior on X.

    Args:
        start: First positions, shape ``(c, q)``.
        rows: Residuals of the tasks, each already weighted, shape ``(t, c)``, no nan.

    Returns:
        Positions ``(c, q)``, signal variance v, noise variance σ².
    """
    y = torch.tensor(rows.T, dtype=torch.float64)
    c, t = y.shape
    power = max(float((y**2).mean()), 1e-12)
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    logs = torch.tensor(np.log([0.9 * power, 0.1 * power]), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([x, logs], lr=RATE)
    gram = y @ y.T
    for _ in range(STEPS):
        optimiser.zero_grad()
        signal, noise = torch.exp(logs)
        kernel = signal * torch.exp(-0.5 * torch.cdist(x, x).square()) + (noise + JITTER * power) * torch.eye(c)
        root = torch.linalg.cholesky(kernel)
        # t/2 log|K| + 1/2 tr(K^-1 Y Yᵀ): all tasks share one Cholesky because the rows have no holes
        loss = t * root.diagonal().log().sum() + 0.5 * torch.cholesky_solve(gram, root).trace()
        (loss + 0.5 * x.square().sum()).backward()
        optimiser.step()
    signal, noise = torch.exp(logs.detach()).tolist()
    return x.detach().numpy().astype(float), float(signal), float(noise)
