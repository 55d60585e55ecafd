"""What a search says of how it went, in whole sentences."""

from __future__ import annotations

from collections import Counter

from metaml.context import Context
from metaml.delivery import Delivered
from metaml.trial import Trial


def remembers(context: Context) -> str:
    """Say how much of the past there is to learn from."""
    n_tasks, n_configurations = context.history.errors.shape
    if not n_tasks:
        return "nothing is remembered yet: the search starts cold"
    return f"remembers {n_configurations} configurations on {n_tasks} other tasks"


def why_nothing(trials: list[Trial], was_interrupted: bool) -> str:
    """Say why a search ends without a model."""
    if was_interrupted:
        return "Interrupted before the first trial ended; there is no model yet."
    failed = [trial for trial in trials if trial.status != "infeasible" and trial.message]
    if not failed or all(trial.status == "timeout" for trial in failed):
        return "No trial ended in time; give the search more time (--time, in Python time_limit)."
    reason, count = _reason(failed)
    return f"No trial succeeded. The most frequent reason ({count} of {len(failed)}): {reason}"


def notes_on_crashes(trials: list[Trial]) -> list[str]:
    """Return a note on the trials that crashed, if any did: the search survives them, but they are mistakes."""
    crashed = [trial for trial in trials if trial.status == "crashed"]
    if not crashed:
        return []
    reason, count = _reason(crashed)
    if len(crashed) == 1:
        return [f"1 trial crashed: {reason}"]
    return [f"{len(crashed)} trials crashed, {count} of them with: {reason}"]


def _reason(failed: list[Trial]) -> tuple[str, int]:
    """Return the most frequent last line of what trials said, and how many said it."""
    return Counter((trial.message.strip().splitlines() or ["no message"])[-1] for trial in failed).most_common(1)[0]


def nothing_kept_the_limit(model: Delivered, limit_ms: float) -> str:
    """Say what is delivered in the place of a model that keeps the limit."""
    return (
        f"nothing kept the limit of {limit_ms:g} ms: the closest model takes "
        f"{model.latency.judged_ms:.4f} ms and is delivered all the same"
    )
