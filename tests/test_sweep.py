"""Sweeps: what is trained and measured on what, what is done again, and what is printed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_shards import make_patches, write_shards
from test_five_folds import STANDSTILL, mean_psnr, polynomial
from test_patches import make_aligned

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, OutputExistsError, UsageError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.patches import PatchConfig, cut_patches
from dpedkit.shards import open_split, verify
from dpedkit.shards.card import write_card
from dpedkit.shards.config import FoldConfig
from dpedkit.shards.conversion import fold_shards
from dpedkit.sweep import run_sweep
from dpedkit.sweep.results import Row, Score, SweepSummary

SIZE, FOLDS = 32, 2
SCENE = np.array([0, 0, 1, 2, 2, 3])  # of the patches that may be trained on
TESTED = np.array([0, 0, 1, 0, 0, 1])  # the fold of each: scenes 0 and 2, scenes 1 and 3


def describe_pairs(folder):
    """What `dpedkit patches` says of each pair."""
    split_of = {}
    for split in ("train", "val", "test"):
        reader = open_split(folder, split)
        numbers, counts = np.unique(reader.pair, return_counts=True)
        split_of |= {int(n): (split, int(c)) for n, c in zip(numbers, counts, strict=True)}
    lines = read_jsonl(folder / "pairs.jsonl")
    for number, line in enumerate(lines):
        split, kept = split_of.get(number, (None, 0))
        line |= {"split": split, "kept": kept, "tried": kept, "dropped": {}}
        line |= {"phone": "p.jpg", "dslr": "d.jpg", "dslr_id": f"{number:016x}"}
    write_jsonl(folder / "pairs.jsonl", lines)


@pytest.fixture
def patches(tmp_path, monkeypatch):
    """Phone and DSLR patches in [0, 1]; what suits one fold does not suit the other."""
    phone, dslr, _ = make_patches(len(SCENE), SIZE, 0)
    dslr[TESTED == 1] //= 2
    write_shards(
        tmp_path / "shards",
        {
            "train": (phone[:3], dslr[:3], SCENE[:3]),
            "val": (phone[3:], dslr[3:], SCENE[3:]),
            "test": (phone, 255 - dslr, SCENE + 10),
        },
    )
    describe_pairs(tmp_path / "shards")
    (tmp_path / "mine.toml").write_text(STANDSTILL)
    monkeypatch.chdir(tmp_path)
    return phone / 255, dslr / 255


@pytest.fixture
def trained(monkeypatch):
    """The name, the number of patches in a batch and the seed of every training."""
    found = []
    train = stages.train

    def noted(shards, config, **named):
        found.append((named["name"], config.batch, config.seed))
        return train(shards, config, **named)

    monkeypatch.setattr(stages, "train", noted)
    return found


def test_each_scene_is_measured_by_what_was_fitted_to_the_other_folds(patches, tmp_path):
    phone, dslr = patches
    for shard in (tmp_path / "shards").glob("test-*.h5"):
        shard.unlink()  # the test split is not even opened
    summary = run_sweep("mine.toml", folds=FOLDS)
    assert [score.fold for score in summary.scores] == [1, 2]
    expected = []
    for fold, score in enumerate(summary.scores):
        own = fold == TESTED
        fitted, leaked = (
            mean_psnr(polynomial(phone[seen], dslr[seen], phone[own]), dslr[own])
            for seen in (~own, own | ~own)
        )
        assert abs(leaked - fitted) > 1  # dB: what follows can tell the two apart
        assert (score.psnr, score.polynomial_psnr) == pytest.approx((fitted, fitted), abs=0.05)
        expected.append(fitted)
    (row,) = summary.rows()
    assert row.psnr == pytest.approx(np.mean(expected), abs=0.05)
    assert row.gain == pytest.approx(0, abs=0.05)  # it stays the polynomial
    place = next((summary.output / "folds").glob("*-1-of-2"))
    assert "For fold 1 of 2 of a cross-validation" in write_card(place).read_text()


def test_folds_are_sound_shards_of_the_same_patches(tmp_path):
    aligned = make_aligned(tmp_path / "aligned", 8)
    shards = tmp_path / "shards"
    cut_patches(aligned, shards, PatchConfig(size=SIZE, test_pairs=2, val_pairs=2), jobs=1)
    before = [open_split(shards, split) for split in ("train", "val")]
    pairs = np.concatenate([reader.pair for reader in before])
    tested = []
    for fold in (1, 2, 3):
        place = tmp_path / f"fold {fold}"
        fold_shards(shards, place, FoldConfig(fold=fold, folds=3))
        assert not verify(place).problems
        train, test = (open_split(place, split) for split in ("train", "test"))
        assert len(train) + len(test) == len(pairs)
        assert not set(train.pair) & set(test.pair)
        tested += [*test.pair]
        phone, _ = test.gather(range(len(test)))
        for number in set(test.pair):
            (own,) = [reader for reader in before if number in reader.pair]
            wanted, _ = own.gather(np.flatnonzero(own.pair == number))
            np.testing.assert_array_equal(phone[test.pair == number], wanted)
    assert sorted(tested) == sorted(pairs)


def test_every_combination_is_trained_once_and_none_of_them_twice(patches, trained, capsys):
    changes = ["train.batch=2,1", "train.norm=batch,none"]
    summary = run_sweep("mine.toml", changes=changes, seeds=2)
    assert trained == [
        (f"batch-{batch}-norm-{norm}-seed-{seed}", batch, seed)
        for seed in (0, 1)
        for batch in (2, 1)
        for norm in ("batch", "none")
    ]
    assert [row.runs for row in summary.rows()] == [2] * 4
    again = run_sweep("mine.toml", changes=changes, seeds=2)
    assert again == summary
    assert len(trained) == 8
    run_sweep("mine.toml", changes=["train.batch=2,1,3", "train.norm=none"], seeds=2)
    assert trained[8:] == [(f"batch-3-norm-none-seed-{seed}", 3, seed) for seed in (0, 1)]
    written = json.loads((summary.output / "summary.json").read_text())
    assert {variant["variant"] for variant in written["variants"]} == {
        f"batch={batch}, norm=none" for batch in (1, 2, 3)
    }


def test_a_stopped_sweep_continues(patches, trained, monkeypatch):
    evaluate = stages.evaluate

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("mine.toml")
    monkeypatch.setattr(stages, "evaluate", evaluate)
    assert len(run_sweep("mine.toml").scores) == 1
    assert [name for name, *_ in trained] == ["as_in_the_recipe-seed-0"] * 2


def test_results_of_other_settings_are_not_taken(patches, tmp_path):
    run_sweep("mine.toml")
    (tmp_path / "mine.toml").write_text(STANDSTILL.replace("batch = 2", "batch = 1"))
    with pytest.raises(OutputExistsError, match=r"seed-0\.json is of other patches, or of a rec"):
        run_sweep("mine.toml")
    assert run_sweep("mine.toml", output=tmp_path / "other").output == tmp_path / "other"


def test_pairs_of_a_group_are_one_scene(patches, tmp_path):
    lines = read_jsonl(tmp_path / "shards" / "pairs.jsonl")
    for number in (0, 1):
        lines[number]["group"] = "square"
    write_jsonl(tmp_path / "shards" / "pairs.jsonl", lines)
    summary = run_sweep("mine.toml", folds=FOLDS)
    for place in (summary.output / "folds").iterdir():
        splits = {line["split"] for line in read_jsonl(place / "pairs.jsonl")[:2]}
        assert len(splits) == 1
    with pytest.raises(
        DpedkitError, match="has 3 scenes to train on and to validate with, too few"
    ):
        run_sweep("mine.toml", folds=4)


def test_means_and_deviations_are_over_seeds_of_means_over_folds():
    scores = [
        Score("a", seed, fold, 20.0 + 2 * seed + fold, 0.9 + 0.01 * seed, 20.0, 0.9)
        for seed in (0, 1)
        for fold in (1, 2)
    ]
    row = Row.of("a", scores)
    assert (row.runs, row.psnr, row.gain) == (4, 22.5, 2.5)
    assert row.psnr_deviation == pytest.approx(np.std([21.5, 23.5], ddof=1))
    assert row.ms_ssim_deviation == pytest.approx(np.std([0.9, 0.91], ddof=1))
    assert Row.of("a", scores[:2]).psnr_deviation is None
    endless = Row.of("a", [*scores, Score("a", 2, 1, None, 1.0, 20.0, 0.9)])
    assert endless.psnr_deviation is None


def test_variants_are_compared_scene_by_scene():
    """Over all folds, each scene by the mean over the seeds."""
    level = {"s": 20.0, "t": 30.0, "u": 24.0, "v": 27.0}
    gain = {"a": 0.0, "b": 0.5}
    scores = [
        Score(
            *(variant, seed, fold, 25.0, 0.9, 20.0, 0.9),
            scenes={scene: [level[scene] + gain[variant] + 0.2 * seed, 0.9] for scene in own},
        )
        for variant in gain
        for seed in (0, 1)
        for fold, own in ((1, "st"), (2, "uv"))
    ]
    summary = SweepSummary("mine", Path("out"), "folds", scores)
    (found,) = summary.differences()
    assert (found.variant, found.psnr.scenes) == ("b", 4)
    assert (found.psnr.low, found.psnr.mean, found.psnr.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.ms_ssim.mean == 0
    assert re.search(r"^b - a +4 +\+0.50 \[\+0.50, \+0.50\]", summary.as_text(), re.MULTILINE)
    assert summary.to_dict()["differences"][0]["psnr"]["mean"] == pytest.approx(0.5)
    old = [replace(score, scenes={}) for score in scores]
    assert SweepSummary("mine", Path("out"), "folds", old).differences() == []


def test_the_command_prints_a_table(patches, capsys):
    command = ["sweep", "mine.toml", "--set", "train.batch=1,2", "--cross-validate", "2", "-q"]
    assert execute(command) == 0
    text = capsys.readouterr().out
    assert re.search(r"^batch=1 +2 +\d", text, re.MULTILINE)
    assert re.search(r"^fold +batch=1 +batch=2", text, re.MULTILINE)
    assert "No patch of a\nfold was used for training" in text
    assert re.search(r"^batch=2 - batch=1 +\d +[+-]\d+\.\d\d \[", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["patches.min_corr=0.8"], "varies the settings of \\[train\\] only"),
        (["train.seed=1,2"], "--seeds says how many"),
        (["train.batch=1", "train.batch=2"], "is given twice"),
        (["train.bach=1"], "did you mean 'batch'"),
        (["train.batch=1,none"], "batch is 'none', but must be a whole number"),
    ],
)
def test_a_faulty_grid_is_told_before_anything_is_trained(patches, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        run_sweep("mine.toml", changes=changes)
    assert not (tmp_path / "sweeps").exists()


def test_what_there_is_nothing_to_measure_on_is_told_first(tmp_path):
    write_shards(tmp_path / "shards", {"train": make_patches(3, SIZE, 0)})
    (tmp_path / "mine.toml").write_text(STANDSTILL)
    with pytest.raises(DpedkitError, match="no patches in the val split to measure"):
        run_sweep(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text("[align]\n")
    with pytest.raises(UsageError, match=r"no \[train\] table"):
        run_sweep(str(tmp_path / "mine.toml"))
