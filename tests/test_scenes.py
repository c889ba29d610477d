"""Scores over scenes: which patches are of one scene, intervals, differences, what they mean."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.core.methods import NETWORK, PHONE, POLYNOMIAL
from dpedkit.evaluation.scenes import ByScene, SceneScores, extremes
from dpedkit.intervals import Interval, over_scenes, paired_difference
from dpedkit.shards import open_split
from dpedkit.shards.scenes import scene_names
from dpedkit.training.validation_patches import ValidationPatches

SIZE = 20


def test_an_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [over_scenes(rng.normal(28.0, 2.0, 30).tolist()) for _ in range(200)]
    covered = np.mean([one.low <= 28.0 <= one.high for one in found])
    assert 0.88 <= covered <= 0.99
    assert all(one.low <= one.mean <= one.high and one.scenes == 30 for one in found)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.floats(-5, 5))
def test_an_interval_moves_with_its_values_and_is_always_the_same(values, shift):
    one, moved = over_scenes(values), over_scenes([value + shift for value in values])
    assert over_scenes(values) == one
    assert [moved.low, moved.high] == pytest.approx([one.low + shift, one.high + shift], abs=1e-6)


def test_of_one_scene_there_is_no_interval_and_of_none_no_mean():
    assert over_scenes([3.0, None, float("inf")]) == Interval(3.0, None, None, 1)
    assert over_scenes([None]) is None
    assert over_scenes([3.0]).text(".2f") == "3.00"
    assert over_scenes([3.0]).undecided


def test_a_paired_difference_is_not_blurred_by_how_scenes_differ():
    rng = np.random.default_rng(0)
    level = {str(n): float(value) for n, value in enumerate(rng.normal(28, 3, 10))}
    ours = {name: value + 0.5 + 0.1 * (int(name) % 2) for name, value in level.items()}
    found = paired_difference(ours, {**level, "only theirs": 3.0})
    assert found.scenes == 10
    assert found.mean == pytest.approx(0.55)
    assert 0.5 <= found.low < 0.55 < found.high <= 0.6
    assert not found.undecided
    alone = over_scenes(ours.values())
    assert alone.high - alone.low > 10 * (found.high - found.low)
    assert paired_difference(ours, {"other": 1.0}) is None


def test_pairs_of_one_group_or_dslr_photo_are_one_scene(tmp_path):
    folder = write_shards(tmp_path / "s", {"train": make_patches(7, SIZE, 0)})
    lines = read_jsonl(folder / "pairs.jsonl")
    changes = [
        {"name": "1", "dslr_id": "a"},
        {"name": "1", "dslr_id": "a"},  # by another phone
        {"name": "1", "dslr_id": "b"},  # of other shards, merged into these
        {"name": "4", "group": "tower"},
        {"name": "5", "group": "tower"},
        {"name": "6", "crop": [0, 0, 300, 200]},
        {"name": "train/6", "crop": [0, 0, SIZE, SIZE]},  # an imported patch
    ]
    write_jsonl(folder / "pairs.jsonl", [a | b for a, b in zip(lines, changes, strict=True)])
    names = ["1", "1", "1 (2)", "tower", "tower", "6", None]
    assert scene_names(folder) == names


def test_a_validation_also_knows_the_mean_over_scenes(tmp_path):
    phone, dslr, _ = make_patches(6, SIZE, 0)
    pair = np.array([0, 0, 0, 0, 1, 1])
    dslr[4:] = 255 - dslr[4:]
    folder = write_shards(tmp_path / "s", {"val": (phone, dslr, pair)})
    patches = ValidationPatches(open_split(folder, "val"), 99, 4, torch.device("cpu"))
    errors = ((phone / 255 - dslr / 255) ** 2).mean(axis=(1, 2, 3))
    psnr = -10 * np.log10(errors)

    class Untouched(torch.nn.Module):
        def forward(self, photo):
            return photo

    objective = SimpleNamespace(terms=lambda *_: {"loss": torch.zeros(())})
    found = patches.measure(Untouched(), None, objective)
    assert found.psnr == pytest.approx(psnr.mean(), abs=1e-4)
    expected = (psnr[:4].mean() + psnr[4:].mean()) / 2
    assert abs(expected - psnr.mean()) > 0.5
    means = [psnr[:4].mean(), psnr[4:].mean()]
    known = found.over_scenes["psnr"]
    assert known.mean == pytest.approx(expected, abs=1e-4) and known.scenes == 2
    assert (known.low, known.high) == pytest.approx((min(means), max(means)), abs=1e-4)
    lines = read_jsonl(folder / "pairs.jsonl")
    crop = {"crop": [0, 0, SIZE, SIZE]}
    write_jsonl(folder / "pairs.jsonl", [line | crop for line in lines])
    patches = ValidationPatches(open_split(folder, "val"), 99, 4, torch.device("cpu"))
    assert patches.measure(Untouched(), None, objective).over_scenes == {}


def scenes_with(gains):
    """Scenes on which the network is ahead of both rivals by these dB."""
    return ByScene.of(
        [
            SceneScores(
                str(number),
                4,
                {
                    NETWORK: {"psnr": 20 + number + gain},
                    PHONE: {"psnr": 20.0 + number},
                    POLYNOMIAL: {"psnr": 20.0 + number},
                },
            )
            for number, gain in enumerate(gains)
        ]
    )


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([2, 2, 2, 3], "That is 4 scenes, too few"),
        ([2, -2, 2, -2, 3], "on other scenes it may be none"),
        ([2, 1, 2, 1, 3], ""),
    ],
)
def test_what_speaks_against_a_gain_is_said(gains, words):
    caution = scenes_with(gains).caution()
    assert words in caution and bool(caution) == bool(words)


def test_the_scenes_at_both_ends_are_named_once_each():
    text = scenes_with([0.0] * 5).as_text({"psnr": ("PSNR", ".2f")})
    assert text.endswith("worst: 0 (20.00 dB), 1 (21.00 dB); best: 4 (24.00 dB), 3 (23.00 dB)")
    assert "worst" not in scenes_with([0.0]).as_text({"psnr": ("PSNR", ".2f")})


def test_extremes_are_from_different_scenes_where_there_are_enough():
    psnr = np.array([1.0, 2, 3, 4, 5, np.inf, 6, 7])
    values = {NETWORK: {"psnr": psnr}}
    found = extremes(list("aabbccdd"), values)
    assert found["worst"].tolist() == [0, 2, 4, 6]
    assert found["best"].tolist() == [7, 4, 3, 1]
    assert extremes(None, values)["worst"].tolist() == [0, 1, 2, 3]
    assert extremes(list("aaaaaaaa"), values)["best"].tolist() == [7, 6, 4, 3]
