"""Choices made on the store: replay candidates with families left out, and take what does best."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portfolio.base import WarmStarter
from portfolio.scaling import regret
from portfolio.table import Floats, Query, Table

logger = logging.getLogger("portfolio")

COUNTS = (1, 2, 3, 5, 10, 20, 30)
"""Numbers of evaluations after which the candidates are compared."""
STILL_OPEN = 0.1
"""Counts are left out at which random order has less than this share of its first regret: on a store of few
configurations nothing is decided there any more, and ratios of tiny regrets would decide by noise."""
SURE = 1.645
"""Standard errors by which random order, and the default, must be beaten: the one-sided 5 % point of N(0, 1)."""
FOLDS = 3
VERSION = 6
"""Part of the key of a cached choice: to be raised when a candidate of the same label changes."""
MOST_TARGETS, MOST_TASKS, MOST_COLUMNS = 64, 300, 200
"""A store larger than this is sampled: the choice among a few candidates does not need it all."""


@dataclass(frozen=True)
class Candidate:
    """One way to propose."""

    label: str
    make: Callable[[], WarmStarter]


@dataclass(frozen=True)
class Choice:
    """What was chosen and why."""

    best: int
    """Index of the candidate."""
    curves: Floats
    """Mean regret of each candidate after ``COUNTS`` evaluations, shape ``(candidates, len(COUNTS))``; may be empty."""
    random: Floats
    """The same of random order, shape ``(len(COUNTS),)``."""
    advantage: float
    """Share of random order's regret that the best saves for sure: above 0 if the store teaches anything."""
    reason: str
    """The choice in words."""


def family_folds(families: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each task so that no family is split, shape ``(t,)``."""
    labels = np.unique(families)
    fold = np.empty(int(labels.max(initial=-1)) + 1, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(labels)] = np.arange(len(labels)) % folds
    return fold[families]


_choices: dict[str, Choice] = {}
"""Choices already made in this process, by content of the store, candidates and seed."""


def select(candidates: Sequence[Candidate], table: Table, *, seed: int = 0, cache: Path | None = None) -> Choice:
    """Return the choice among candidates on a store: from memory, from the folder ``cache``, or by replay.

    The key is a hash of the store, the candidates and the seed: a store that has grown is judged anew.
    """
    key = _digest(candidates, table, seed)
    file = None if cache is None else cache / f"{key}.json"
    known = _choices.get(key) or _read(file)
    if known is None:
        known = choose(candidates, table, seed=seed)
        _write(file, known)
    _choices[key] = known
    return known


def choose(candidates: Sequence[Candidate], table: Table, *, seed: int = 0) -> Choice:
    """Replay candidates on the store with families left out; the least mean of relative regrets wins.

    Relative to the default, count by count, so that early and late evaluations have the same say; families weigh alike.
    The default, the first candidate, stands unless another beats it by ``SURE`` standard errors of the difference,
    and with fewer than four families: choosing among equals by noise would cost more than it gains.
    """
    nothing = Choice(0, np.zeros((0, len(COUNTS))), np.zeros(len(COUNTS)), 1.0, "too few families to compare on")
    small = sample(table, np.random.default_rng(seed))
    if len(np.unique(small.families)) < 4 or len(small.ids) < 3:
        return nothing
    folds = family_folds(small.families, FOLDS, seed)
    targets = targets_of(small, np.random.default_rng(seed))
    if not len(targets):
        return nothing
    weights = small.task_weights[targets]
    curves = np.array([_replay(candidate, small, folds, targets) for candidate in candidates])
    means = np.einsum("ktn,t->kn", curves, weights / weights.sum())
    chance = np.array([expected_random(small.errors[task], COUNTS) for task in targets])
    random = (weights / weights.sum()) @ chance
    decided = random >= STILL_OPEN * random[0]
    unit = np.maximum(means[0], 1e-3)
    score = (means / unit)[:, decided].mean(axis=1)
    best = int(np.argmin(score))
    gain = ((curves[0] - curves[best]) / unit)[:, decided].mean(axis=1)
    best = best if gain.mean() > SURE * gain.std() / np.sqrt(len(gain)) else 0
    said = ", ".join(f"{candidate.label} {value:.2f}" for candidate, value in zip(candidates, score, strict=True))
    reason = f"judged on {len(targets)} stored tasks with families left out, relative regret: {said}"
    advantage = _sure_advantage(curves[best][:, decided], chance[:, decided], small.families[targets])
    return Choice(best, means, random, advantage, reason)


def _sure_advantage(curves: Floats, chance: Floats, families: NDArray[np.int64]) -> float:
    """Return the share of random order's regret that is saved, mean over families: the lower end of its interval.

    Regrets are averaged over counts before they are compared: ratios at late counts, where little is left to regret,
    would let a single task outvote all others.
    """
    saved = (chance - curves).mean(axis=1) / max(float(chance.mean()), 1e-9)
    means = np.array([saved[families == family].mean() for family in np.unique(families)])
    return float(means.mean() - SURE * means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 1.0


def expected_random(errors: Floats, counts: Sequence[int]) -> Floats:
    """Return the expected regret of the best of k random configurations of one task, for each k; exact.

    The i-th smallest of m values is the best of k draws without replacement with probability C(m-i, k-1) / C(m, k).

    >>> expected_random(np.array([0.0, 1.0, np.nan]), [1, 2]).tolist()
    [0.5, 0.0]
    """
    values = np.sort(regret(errors[None, :])[0])
    values = values[np.isfinite(values)]
    out = []
    for count in counts:
        k, m = min(count, len(values)), len(values)
        alive = np.cumprod(np.append(1.0, 1.0 - k / np.arange(m, k, -1.0)))  # P(the i smallest are all missed)
        probability = -np.diff(np.append(alive, 0.0))
        out.append(float(values[: len(probability)] @ probability))
    return np.array(out)


def _replay(candidate: Candidate, table: Table, folds: NDArray[np.int64], targets: NDArray[np.int64]) -> Floats:
    """Return the regret of each target after ``COUNTS`` evaluations, shape ``(targets, len(COUNTS))``."""
    out = np.zeros((len(targets), len(COUNTS)))
    for fold in np.unique(folds[targets]):
        starter = candidate.make().fit_table(table.rows(folds != fold))
        for place in np.flatnonzero(folds[targets] == fold):
            task = targets[place]
            out[place] = _one(starter, table.errors[task], table.metafeatures[task])
    return out


def _one(starter: WarmStarter, errors: Floats, metafeatures: Floats) -> Floats:
    """Return the regret on one task; configurations that were not run on it are taken for failed beforehand."""
    holes, seen = np.flatnonzero(~np.isfinite(errors)), np.zeros(0, dtype=np.int64)
    for _ in range(min(max(COUNTS), len(errors) - len(holes))):
        query = Query(metafeatures, seen, errors[seen], holes, np.zeros(0))
        seen = np.append(seen, starter.next_column(query))
    so_far = np.minimum.accumulate(regret(errors[None, :])[0][seen])
    return np.asarray(so_far[np.minimum(np.array(COUNTS), len(so_far)) - 1])


def sample(table: Table, rng: np.random.Generator) -> Table:
    """Return at most ``MOST_TASKS`` tasks × ``MOST_COLUMNS`` configurations: random tasks, the most evaluated columns.

    Searches leave many configurations behind that were run on one task only; two tasks are compared on shared ones.
    """
    rows, columns = np.arange(len(table.tasks)), np.arange(len(table.ids))
    if len(rows) > MOST_TASKS:
        rows = np.sort(rng.choice(rows, MOST_TASKS, replace=False))
    if len(columns) > MOST_COLUMNS:
        results = np.isfinite(table.errors[rows]).sum(axis=0)
        columns = np.sort(np.lexsort((rng.random(len(columns)), -results))[:MOST_COLUMNS])
    alive = np.isfinite(table.errors[np.ix_(rows, columns)]).any(axis=1)
    return table.rows(rows[alive]).columns(columns)


def targets_of(table: Table, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return tasks on which the order matters: several results that differ; each family at most thrice."""
    spread = np.nanmax(table.errors, axis=1) > np.nanmin(table.errors, axis=1)
    enough = np.isfinite(table.errors).sum(axis=1) >= 3
    order = rng.permutation(np.flatnonzero(spread & enough))
    taken: dict[int, int] = {}
    chosen: list[int] = []
    for task in order:
        family = int(table.families[task])
        taken[family] = taken.get(family, 0) + 1
        if taken[family] <= 3 and len(chosen) < MOST_TARGETS:
            chosen.append(int(task))
    return np.array(sorted(chosen), dtype=np.int64)


def _digest(candidates: Sequence[Candidate], table: Table, seed: int) -> str:
    """Return a hash of all that a choice depends on."""
    parts = [table.errors, table.metafeatures, table.families.astype(float)]
    content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    words = [VERSION, seed, [candidate.label for candidate in candidates], table.errors.shape]
    words.append([sorted(c.items(), key=str) for c in table.configurations])
    return hashlib.sha256(content + repr(words).encode()).hexdigest()[:32]


def _write(file: Path | None, choice: Choice) -> None:
    """Keep a choice; a folder that cannot be written only costs time."""
    if file is None:
        return
    content = {**asdict(choice), "curves": choice.curves.tolist(), "random": choice.random.tolist()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(content))
        beside.replace(file)
    except OSError as error:
        logger.info("the choice of warm-starters is not remembered: %s", error)


def _read(file: Path | None) -> Choice | None:
    """Return a choice that was kept; None if there is none that can be read."""
    if file is None:
        return None
    try:
        values = json.loads(file.read_text())
        curves = np.array(values["curves"], dtype=float).reshape(-1, len(COUNTS))
        return Choice(**{**values, "curves": curves, "random": np.array(values["random"], dtype=float)})
    except (OSError, ValueError, TypeError, KeyError):
        return None
