"""An order of rows, columns and classes that depends on their content alone.

A vector that describes a table must not change when its rows or columns are shuffled, or its classes renamed; and sums
of floats, trees and cross-validation folds all depend on order. So rows and columns are put into an order given by a
hash of their content (seeded, hence as good as random), once; everything downstream is then invariant to the last bit,
and the first m rows are a random sample of m rows.

Columns are told apart by their cells, rows by their cells and the columns these stand in, classes by their rows: colour
refinement as in Weisfeiler and Leman (1968), with as many rounds as it takes to tell rows apart, at most `ROUNDS`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metafeatures.columns import Columns, HashArray, IntArray
from metafeatures.target import Target

ROUNDS = 3
MARKS = 16
BLOCK_COLUMNS = 32
BLOCK_ROWS = 4096
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


def scramble(values: HashArray) -> HashArray:
    """Spread the bits of 64-bit integers; element-wise, one to one."""
    mixed = (values ^ (values >> _SHIFT)) * _ODD
    return np.asarray((mixed ^ (mixed >> _SHIFT)) * _ODD)


def row_order(columns: Columns, target: Target, seed: int) -> tuple[IntArray, HashArray]:
    """Row numbers in canonical order, and the key that each of them is sorted by, both ``(n,)``."""
    rows = _refined(columns, target)
    if not _only_copies_are_tied(columns, target, rows):
        rows = _without_symmetry(columns, target, rows)
    keys = scramble(rows + scramble(_occurrence(rows) + np.uint64(seed % 2**64)))
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def column_order(columns: Columns, rows: HashArray, seed: int) -> tuple[IntArray, HashArray]:
    """Column numbers (numeric first, then categorical) in canonical order with their keys, both ``(p + q,)``.

    Args:
        columns: a table whose rows are in canonical order.
        rows: the keys of its rows.
        seed: another seed, another order.
    """
    keys = scramble(_column_colours(columns, rows) + np.uint64(seed % 2**64))
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def class_order(classes: IntArray, rows: HashArray) -> IntArray:
    """Class codes from the most to the least frequent; equally frequent ones by the keys of their rows."""
    counts = np.bincount(classes)
    colours = np.zeros(counts.size, dtype=np.uint64)
    np.add.at(colours, classes, rows)
    return np.lexsort((colours, -counts))


def _refined(columns: Columns, target: Target) -> HashArray:
    """A colour for each row, refined until only copies share one or nothing changes any more: ``(n,)``."""
    rows = targets = _target_colours(target, np.zeros(target.classes.size, dtype=np.uint64))
    distinct = 0
    for _ in range(ROUNDS):
        rows = _row_colours(columns, _column_colours(columns, rows), targets)
        before, distinct = distinct, np.unique(rows).size
        if distinct == before or _only_copies_are_tied(columns, target, rows):
            break
        targets = _target_colours(target, rows)
    return rows


def _only_copies_are_tied(columns: Columns, target: Target, rows: HashArray) -> bool:
    """Whether rows of equal colour are equal, so that their order cannot matter."""
    order = np.argsort(rows, kind="stable")
    tied = np.flatnonzero(rows[order][1:] == rows[order][:-1])
    for first in range(0, tied.size, BLOCK_ROWS):
        one = order[tied[first : first + BLOCK_ROWS]]
        other = order[tied[first : first + BLOCK_ROWS] + 1]
        if not np.array_equal(columns.numeric[one], columns.numeric[other], equal_nan=True):
            return False
        if not np.array_equal(columns.symbols[one], columns.symbols[other]):
            return False
        if not np.array_equal(target.values[one], target.values[other]):
            return False
    return True


def _without_symmetry(columns: Columns, target: Target, rows: HashArray) -> HashArray:
    """Refined colours again, with classes of equal colour told apart, then columns of equal colour one by one.

    Columns that refinement leaves equal are images of each other under a symmetry of the table (but for rare graphs):
    think of the corners of a tic-tac-toe board. It does not matter which of them is marked first; but after that the
    others need not be equal any more, so colours are refined after each mark.
    """
    targets = _target_colours(target, rows, tell_apart=True)
    marks = np.zeros(columns.n_columns, dtype=np.uint64)
    rows = _row_colours(columns, _column_colours(columns, rows + targets), targets)
    for mark in range(1, MARKS + 1):
        rows = _row_colours(columns, scramble(_column_colours(columns, rows) + marks), targets)
        if _only_copies_are_tied(columns, target, rows):
            return rows
        colours = scramble(_column_colours(columns, rows) + marks)
        order = np.argsort(colours, kind="stable")
        tied = np.flatnonzero(colours[order][1:] == colours[order][:-1])
        if not tied.size:
            break
        marks[order[tied[0]]] = mark
    colours = scramble(_column_colours(columns, rows) + marks)
    return _row_colours(columns, scramble(colours + _occurrence(colours)), targets)


def _target_colours(target: Target, rows: HashArray, *, tell_apart: bool = False) -> HashArray:
    """A colour for each row's target that no renaming of the classes can change: ``(n,)``."""
    if target.task_type == "regression":
        return scramble((target.values + 0.0).view(np.uint64))
    colours = np.bincount(target.classes).astype(np.uint64)
    np.add.at(colours, target.classes, rows)
    if tell_apart:
        colours = scramble(colours) + _occurrence(colours)
    return np.asarray(scramble(colours)[target.classes])


def _column_colours(columns: Columns, rows: HashArray) -> HashArray:
    """A colour for each column from its cells and the colours of their rows: ``(p + q,)``."""
    colours = [np.empty(0, dtype=np.uint64)]
    for cells in _blocks(columns, np.arange(columns.n_columns)):
        cells ^= rows[:, None]
        cells *= _ODD
        cells ^= cells >> _SHIFT
        colours.append(cells.sum(axis=0, dtype=np.uint64))
    return scramble(np.concatenate(colours))


def _row_colours(columns: Columns, column_colours: HashArray, start: HashArray) -> HashArray:
    """A colour for each row from its cells and the colours of their columns: ``(n,)``.

    Columns are read in the order of their colours and only until all rows differ.
    """
    rows = start.copy()
    order = np.argsort(column_colours, kind="stable")
    ordered_colours = column_colours[order]
    at = 0
    for cells in _blocks(columns, order):
        cells ^= ordered_colours[at : at + cells.shape[1]]
        cells *= _ODD
        cells ^= cells >> _SHIFT
        rows += cells.sum(axis=1, dtype=np.uint64)
        at += cells.shape[1]
        last_of_colour = at == order.size or ordered_colours[at] != ordered_colours[at - 1]
        if last_of_colour and np.unique(rows).size == rows.size:
            break
    return scramble(rows)


def _blocks(columns: Columns, order: IntArray) -> Iterator[HashArray]:
    """The cells as 64-bit integers, a few columns at a time, columns in the given order; safe to overwrite."""
    p = columns.numeric.shape[1]
    for first in range(0, order.size, BLOCK_COLUMNS):
        block = order[first : first + BLOCK_COLUMNS]
        is_number = block < p
        numbers = columns.numeric[:, block[is_number]]
        numbers += 0.0  # -0.0 becomes 0.0
        np.copyto(numbers, np.nan, where=np.isnan(numbers))  # one bit pattern for all kinds of nan
        if is_number.all():
            yield numbers.view(np.uint64)
            continue
        cells = np.empty((columns.numeric.shape[0], block.size), dtype=np.uint64, order="F")
        cells[:, is_number] = numbers.view(np.uint64)
        for at in np.flatnonzero(~is_number):
            labels = np.append(columns.labels[block[at] - p], _MISSING)
            cells[:, at] = labels[columns.symbols[:, block[at] - p]]
        yield cells


def _occurrence(rows: HashArray) -> HashArray:
    """For each row how many rows of the same colour stand before it, so that equal rows do not get equal keys."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, ordered.size])
    occurrence = np.empty(rows.size, dtype=np.uint64)
    occurrence[order] = np.arange(rows.size) - np.repeat(starts, lengths)
    return occurrence
