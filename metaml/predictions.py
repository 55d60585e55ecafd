"""Validation predictions of trials, kept beside their candidates: what ensembles are chosen from."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaml.files import write_atomic

MAX_KEPT = 50
"""Only the best trials of a run keep their predictions (as many as auto-sklearn keeps)."""
MAX_BYTES = 128 * 2**20
"""What the predictions of a run may take up in all."""

FoldPredictions = tuple[np.ndarray, ...]
"""For each fold, probabilities ``(n, k)`` or values ``(n,)`` of its validation rows."""


def write_predictions(path: Path, folds: Sequence[np.ndarray]) -> None:
    """Write arrays ``fold0``, ``fold1``, …, probabilities in float32, values in float64; nothing is pickled."""
    buffer = io.BytesIO()
    arrays = {f"fold{i}": fold.astype(np.float32 if fold.ndim == 2 else np.float64) for i, fold in enumerate(folds)}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def read_predictions(path: Path, shapes: Sequence[tuple[int, ...]]) -> FoldPredictions | None:
    """Return predictions as float64, or None where the file is absent, damaged, or of other rows.

    Args:
        path: what `write_predictions` wrote.
        shapes: of the prediction of each fold.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            folds = tuple(stored[f"fold{i}"].astype(np.float64) for i in range(len(shapes)))
            is_whole = len(stored.files) == len(shapes)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    is_whole = is_whole and all(fold.shape == shape for fold, shape in zip(folds, shapes, strict=True))
    return folds if is_whole and all(np.isfinite(fold).all() for fold in folds) else None


def drop_predictions(paths: Sequence[Path], *, max_kept: int = MAX_KEPT, max_bytes: int = MAX_BYTES) -> None:
    """Delete the files of all but the first `max_kept`, and of those beyond the size allowed in all.

    Args:
        paths: where predictions may lie, those of the best trial first.
        max_kept: how many stay.
        max_bytes: what they may take up; the first one stays whatever its size.
    """
    total = kept = 0
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        if not size:
            continue
        if kept and (kept >= max_kept or total + size > max_bytes):
            path.unlink(missing_ok=True)
        else:
            kept, total = kept + 1, total + size
