"""The cross-validation over scenes: who is trained and measured on what, and what is printed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from fake_shards import make_patches, write_shards
from test_five_folds import STANDSTILL, mean_psnr, polynomial

from dpedkit import stages

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZE, FOLDS = 32, 2
SCENE = np.array([3, 3, 5, 7, 7, 9])  # of the patches that may be trained on
TESTED = np.array([0, 0, 1, 0, 0, 1])  # the fold of each: scenes 3 and 7, scenes 5 and 9


@pytest.fixture
def scenes(tmp_path):
    """Phone and DSLR patches in [0, 1]; what suits one fold does not suit the other."""
    phone, dslr, _ = make_patches(len(SCENE), SIZE, 0)
    dslr[TESTED == 1] //= 2
    write_shards(
        tmp_path / "shards",
        {
            "train": (phone[:4], dslr[:4], SCENE[:4]),
            "val": (phone[4:], dslr[4:], SCENE[4:]),
            "test": (phone, 255 - dslr, SCENE + 10),
        },
    )
    for shard in (tmp_path / "shards").glob("test-*.h5"):
        shard.unlink()  # the test split is not even opened
    return phone / 255, dslr / 255


@pytest.fixture
def validate(scenes, tmp_path, monkeypatch, capsys):
    """Runs the benchmark; returns the rows that it prints."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    import cross_validation

    Path("standstill.toml").write_text(STANDSTILL)

    def run(*arguments):
        command = ("cross_validation.py", "shards", "--recipe", "standstill.toml", *arguments)
        monkeypatch.setattr(sys, "argv", [*command, "--folds", str(FOLDS)])
        cross_validation.main()
        lines = capsys.readouterr().out.splitlines()
        return {words[0]: words[1:] for line in lines if (words := line.split())}

    return run


def test_each_scene_is_measured_by_what_was_fitted_to_the_other_folds(scenes, validate):
    phone, dslr = scenes
    rows = validate()
    expected = []
    for fold in range(FOLDS):
        own = fold == TESTED
        fitted, leaked = (
            mean_psnr(polynomial(phone[seen], dslr[seen], phone[own]), dslr[own])
            for seen in (~own, own | ~own)
        )
        assert abs(leaked - fitted) > 1  # dB: what follows can tell the two apart
        found = [float(rows[str(fold)][column]) for column in (0, 2)]
        np.testing.assert_allclose(found, fitted, atol=0.05)
        expected.append(fitted)
    assert float(rows["all"][2]) == pytest.approx(np.mean(expected), abs=0.05)
    assert float(rows["all"][4]) == pytest.approx(0, abs=0.05)  # it stays the polynomial


def test_settings_and_seeds_are_trained_and_none_of_them_twice(validate, monkeypatch):
    trained = []
    train = stages.train

    def noted(shards, config, **named):
        trained.append((config.batch, config.seed))
        return train(shards, config, **named)

    monkeypatch.setattr(stages, "train", noted)
    rows = validate("--seeds", "0", "1", "--only", "1")
    assert trained == [(2, 0), (2, 1)]
    assert rows["all"][-1] == "dB"  # the spread of the seeds
    assert validate("--seeds", "0", "1", "--only", "1") == rows
    assert len(trained) == 2
    validate("--only", "1", "--set", "batch=1")
    assert trained[2:] == [(1, 0)]
