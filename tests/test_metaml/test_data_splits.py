"""Splits and subsamples: complete, disjoint, stratified, nested, seeded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaml.data.splits import MAX_VALIDATION_ROWS, make_splits, subsample
from metaml.errors import UsageError

CLASS_SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=8).filter(lambda sizes: sum(sizes) >= 10)


def target(sizes):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(CLASS_SIZES, st.integers(0, 5), st.sampled_from([0, 10_000]))
def test_every_split_trains_on_every_class(sizes, seed, cv_below):
    y = target(sizes)
    splits = make_splits(y, "multiclass", seed=seed, cv_below=cv_below)
    assert len(splits) == (5 if cv_below else 1)
    for split in splits:
        assert sorted([*split.train, *split.valid]) == list(range(len(y)))
        assert set(y[split.train]) == set(y)
    if cv_below:
        validated = np.concatenate([split.valid for split in splits])
        repeated = np.flatnonzero(np.bincount(y)[y] > 1)  # all but the only rows of their class
        assert sorted(validated) == repeated.tolist()


def test_folds_are_stratified():
    y = np.repeat([0, 1], [90, 10])
    for split in make_splits(y, "binary"):
        assert np.bincount(y[split.valid]).tolist() == [18, 2]


def test_holdout_is_stratified_and_capped():
    y = np.repeat([0, 1], [900, 300])
    (split,) = make_splits(y, "binary")
    assert np.bincount(y[split.valid]).tolist() == [225, 75]
    (split,) = make_splits(np.arange(200_000.0), "regression")
    assert len(split.valid) == MAX_VALIDATION_ROWS
    assert abs(split.valid.mean() - 100_000) < 200  # tenths of the target are equally represented


@pytest.mark.parametrize("type", ["multiclass", "regression"])
def test_seeded(type):
    y = target([50, 30, 5])
    first, again, other = (make_splits(y, type, seed=seed)[0].valid for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(CLASS_SIZES, st.integers(0, 5), st.sampled_from(["multiclass", "regression"]))
def test_subsamples_are_nested(sizes, seed, type):
    y = target(sizes)
    rows = np.flatnonzero(np.arange(len(y)) % 3 > 0)
    parts = [subsample(rows, y, type, fraction, seed) for fraction in (0.05, 0.3, 0.7, 1.0)]
    for smaller, larger in zip(parts, parts[1:], strict=False):
        assert set(smaller) <= set(larger)
    assert np.array_equal(parts[-1], rows)
    if type == "multiclass":
        assert set(y[parts[0]]) == set(y[rows])


def test_subsample_is_stratified():
    y = np.repeat([0, 1], [800, 200])
    rows = subsample(np.arange(1000), y, "binary", 0.1, seed=0)
    assert np.bincount(y[rows]).tolist() == [80, 20]


@pytest.mark.parametrize("arguments", [{"holdout": 0}, {"holdout": 1}, {"n_folds": 1}])
def test_refuses_impossible_splits(arguments):
    with pytest.raises(UsageError):
        make_splits(np.arange(10), "regression", **arguments)


@pytest.mark.parametrize("fraction", [0, 1.5, float("nan")])
def test_refuses_impossible_fractions(fraction):
    with pytest.raises(UsageError):
        subsample(np.arange(10), np.arange(10), "regression", fraction, 0)
