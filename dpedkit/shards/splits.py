"""Which photo pairs are trained on, and which are kept for validation and test.

A pair's split follows from a seeded hash of its name, so it depends neither on the order of the
pairs nor on the number of workers, and all patches of a pair are in one split. Adding pairs
moves none from train into val or test, but where there are too few to reserve any share (below
five): a network that was trained before stays fairly judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

# A tenth for the test as long as that is few pairs, and about 100 photos as in the paper,
# section II, as soon as there are enough.
_TEST_RANGE = (0.0, 0.10)
_VAL_RANGE = (0.10, 0.15)
_MOST_RESERVED = 100


def assign_splits(
    names: Sequence[str], *, seed: int, test_pairs: int | None, val_pairs: int | None
) -> dict[str, str]:
    """Assign each pair to "train", "val" or "test".

    Parameters
    ----------
    names : sequence of str
        Names of the pairs, each once.
    seed : int
        Another seed gives another assignment.
    test_pairs, val_pairs : int or None
        How many pairs to reserve. None stands for about 10% (test) and 5% (val), at most 100 and
        at least one each, as far as that leaves a pair to train on.

    Returns
    -------
    dict of str to str
        Split by pair name, in the order of `names`. At least one pair is left to train on.
    """
    place = {name: _hash_to_unit(name, seed) for name in names}
    order = sorted(names, key=lambda name: (place[name], name))
    test = _reserve(order, place, test_pairs, _TEST_RANGE)
    rest = [name for name in order if name not in test]
    val = _reserve(rest, place, val_pairs, _VAL_RANGE)
    return {name: "test" if name in test else "val" if name in val else "train" for name in names}


def split_rule(patch_config: Mapping[str, Any]) -> str:
    """How photo pairs were divided, in a sentence for the dataset card."""
    if patch_config.get("fold"):
        return f"For fold {patch_config['fold']} of a cross-validation, which is the test split."
    if patch_config.get("split"):
        return f"All photo pairs are in the {patch_config['split']} split."
    if patch_config.get("split_file"):
        return f"The split of each photo pair was stated in a list ({patch_config['split_file']})."
    seed = patch_config.get("seed", "not known")
    if patch_config.get("group_file"):
        return (
            f"Photo pairs that belong together ({patch_config['group_file']}) are in one split, "
            f"which follows from a hash of their group's name (seed {seed})."
        )
    return f"A photo's split follows from a hash of its name (seed {seed})."


def _reserve(
    order: list[str], place: dict[str, float], wanted: int | None, span: tuple[float, float]
) -> set[str]:
    """The first `wanted` pairs in hash order, or those whose hash is in `span`."""
    if wanted is None:
        inside = [name for name in order if span[0] <= place[name] < span[1]]
        # A handful of pairs can all fall outside the span.
        chosen = inside[:_MOST_RESERVED] or order[:1]
    else:
        chosen = order[:wanted]
    return set(chosen[: max(len(order) - 1, 0)])


def _hash_to_unit(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
