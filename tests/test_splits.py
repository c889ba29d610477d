"""Splits: by pair, seeded, never moving a training pair into val or test."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpedkit.shards import assign_splits

names = st.lists(st.text("abc0123456789", min_size=1, max_size=6), unique=True, max_size=60)
reserved = st.none() | st.integers(0, 8)


def auto(count: int, seed: int = 0) -> dict[str, str]:
    given_names = [f"{n:05d}" for n in range(count)]
    return assign_splits(given_names, seed=seed, test_pairs=None, val_pairs=None)


@given(names, names, st.integers(0, 9), reserved, reserved)
def test_added_pairs_move_no_training_pair_into_val_or_test(
    before: list[str], added: list[str], seed: int, test_pairs: int | None, val_pairs: int | None
) -> None:
    after = before + [name for name in added if name not in before]
    small = assign_splits(before, seed=seed, test_pairs=test_pairs, val_pairs=val_pairs)
    large = assign_splits(after, seed=seed, test_pairs=test_pairs, val_pairs=val_pairs)
    # With a pair or two the last one trains although it was to be reserved.
    if len(before) > sum(8 if wanted is None else wanted for wanted in (test_pairs, val_pairs)):
        moved = [name for name in before if small[name] == "train" and large[name] != "train"]
        assert not moved


@given(names, st.integers(0, 9), st.randoms())
def test_the_order_of_the_pairs_does_not_matter(
    given_names: list[str], seed: int, random: object
) -> None:
    shuffled = list(given_names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = assign_splits(given_names, seed=seed, test_pairs=None, val_pairs=None)
    other = assign_splits(shuffled, seed=seed, test_pairs=None, val_pairs=None)
    assert one == other


@pytest.mark.parametrize("count", [3, 4, 8, 50, 1000])
def test_no_split_is_empty_from_three_pairs_on(count: int) -> None:
    for seed in range(20):
        assert set(auto(count, seed).values()) == {"train", "val", "test"}


def test_one_pair_trains_and_of_two_one_tests() -> None:
    assert list(auto(1).values()) == ["train"]
    assert sorted(auto(2).values()) == ["test", "train"]


def test_about_a_tenth_is_reserved_and_at_most_a_hundred() -> None:
    middle = Counter(auto(500).values())
    assert 35 <= middle["test"] <= 65 and 15 <= middle["val"] <= 35
    large = Counter(auto(20_000).values())
    assert large["test"] == large["val"] == 100


def test_numbers_asked_for_are_kept_exactly() -> None:
    given_names = [f"{n}" for n in range(40)]
    counts = Counter(assign_splits(given_names, seed=3, test_pairs=7, val_pairs=0).values())
    assert counts == {"train": 33, "test": 7}


def test_another_seed_gives_another_division() -> None:
    assert auto(100, seed=0) != auto(100, seed=1)
