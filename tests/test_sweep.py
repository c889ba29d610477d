"""Sweeps: what is trained and measured on what, what is done again, and what is printed."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_shards import make_patches, make_thumbnails, write_shards
from test_import_patches import write_patches
from test_patches import make_aligned

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.colourmap import EXPONENTS
from dpedkit.core import console
from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError, OutputExistsError, UsageError
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.core.methods import NETWORK, PHONE, POLYNOMIAL, START
from dpedkit.import_patches.config import ImportPatchesConfig
from dpedkit.models.build import build_generator
from dpedkit.models.files import save_model
from dpedkit.patches import PatchConfig, cut_patches
from dpedkit.shards import open_split, verify
from dpedkit.shards.card import write_card
from dpedkit.shards.config import FoldConfig
from dpedkit.shards.conversion import fold_shards
from dpedkit.sweep import run_sweep
from dpedkit.sweep.grid import read_grid
from dpedkit.sweep.results import SweepSummary
from dpedkit.sweep.scores import Measured, Score

# One step that changes nothing: the network stays the polynomial that it starts as.
STANDSTILL = """
[train]
generator = "colour-residual"
steps = 1
batch = 2
learning_rate = 1e-8
content = "msssim-l1"
texture_weight = 0.0
colour_weight = 0.0
tv_weight = 0.0
evaluate_patches = 2
"""
SIZE, FOLDS = 32, 2
SCENE = np.array([0, 0, 1, 2, 2, 3])  # of the patches that may be trained on
TESTED = np.array([0, 0, 1, 0, 0, 1])  # the fold of each: scenes 0 and 2, scenes 1 and 3


def mean_psnr(images, dslr):
    """Over the images, each by itself."""
    errors = ((images.clip(0, 1) - dslr) ** 2).mean(axis=(1, 2, 3))
    return float((-10 * np.log10(errors)).mean())


def terms(pixels):
    return np.prod(pixels.reshape(-1, 1, 3) ** np.array(EXPONENTS), axis=2)


def polynomial(phone, dslr, images):
    """The least-squares cubic of some patches, applied to others."""
    fit = np.linalg.lstsq(terms(phone), dslr.reshape(-1, 3), rcond=None)[0]
    return (terms(images) @ fit).reshape(images.shape)


def a_score(variant, seed, fold, psnr, ms_ssim=0.9, scenes=(), **others):
    """Of a network whose colour polynomial has 20 dB, 0.9 on all patches and scenes."""
    by_scene = {scene: {"psnr": value, "ms_ssim": 0.9} for scene, value in dict(scenes).items()}
    level = {scene: {"psnr": 20.0, "ms_ssim": 0.9} for scene in by_scene}
    methods = {
        PHONE: Measured(18.0, 0.8),
        POLYNOMIAL: Measured(20.0, 0.9, level),
        NETWORK: Measured(psnr, ms_ssim, by_scene),
    }
    return Score(variant, seed, fold, 10, methods, "shards", **others)


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
        assert score.patches == own.sum()
        assert score.methods[PHONE].psnr == pytest.approx(
            mean_psnr(phone[own], dslr[own]), abs=1e-4
        )
        fitted, leaked = (
            mean_psnr(polynomial(phone[seen], dslr[seen], phone[own]), dslr[own])
            for seen in (~own, own | ~own)
        )
        assert abs(leaked - fitted) > 1  # dB: what follows can tell the two apart
        found = [score.methods[name].psnr for name in (NETWORK, POLYNOMIAL)]
        assert found == pytest.approx([fitted, fitted], abs=0.05)
        expected.append(fitted)
    (row,) = summary.networks
    assert row.mean("psnr").value == pytest.approx(np.mean(expected), abs=0.05)
    (gain,) = summary.differences
    assert (gain.other, gain.scenes) == (POLYNOMIAL, 4)
    assert gain.values["psnr"].mean == pytest.approx(0, abs=0.05)  # it stays the polynomial
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
    assert [len(row.scores) for row in summary.networks] == [2] * 4
    assert summary.described() == "mine: 8 runs (4 combinations, 2 seeds)."
    again = run_sweep("mine.toml", changes=["train.batch=2,1,2", changes[1]], seeds=2)
    assert again == summary
    assert len(trained) == 8
    run_sweep("mine.toml", changes=["train.batch=2,1,3", "train.norm=none"], seeds=2)
    assert trained[8:] == [(f"batch-3-norm-none-seed-{seed}", 3, seed) for seed in (0, 1)]
    written = json.loads((summary.output / "summary.json").read_text())
    assert [one["name"] for one in written["variants"]] == [f"batch={batch}" for batch in (2, 1, 3)]
    assert written["alike"] == "norm=none"


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


def test_one_training_is_measured_on_both_splits(patches, trained):
    phone, dslr = patches
    val = run_sweep("mine.toml")
    test = run_sweep("mine.toml", split="test")
    untouched = [summary.scores[0].methods[PHONE].psnr for summary in (val, test)]
    wanted = [mean_psnr(phone[3:], dslr[3:]), mean_psnr(phone, 1 - dslr)]
    assert untouched == pytest.approx(wanted, abs=1e-3)
    assert run_sweep("mine.toml").scores == val.scores
    assert "settings chosen by this table have seen it" in test.as_text().replace("\n", " ")
    shards = Path("sweeps/mine/runs/as_in_the_recipe-seed-0/evaluations")
    assert len({path.name for path in shards.glob("*.json")}) == 2


def test_results_of_other_settings_are_not_taken(patches, tmp_path):
    run_sweep("mine.toml")
    (tmp_path / "mine.toml").write_text(STANDSTILL.replace("batch = 2", "batch = 1"))
    with pytest.raises(OutputExistsError, match=r"seed-0\.json is of other patches, "):
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
        a_score("a", seed, fold, 20.0 + 2 * seed + fold, 0.9 + 0.01 * seed)
        for seed in (0, 1)
        for fold in (1, 2)
    ]

    def row(scores):
        return SweepSummary("mine", Path("out"), "folds", scores).networks[0]

    psnr, ms_ssim = row(scores).mean("psnr"), row(scores).mean("ms_ssim")
    assert psnr.value == 22.5
    assert psnr.deviation == pytest.approx(np.std([21.5, 23.5], ddof=1))
    assert ms_ssim.deviation == pytest.approx(np.std([0.9, 0.91], ddof=1))
    assert row(scores).mean("psnr", fold=2).value == 23
    assert row(scores[:2]).mean("psnr").deviation is None
    endless = row([*scores, a_score("a", 2, 1, None)]).mean("psnr")
    assert (endless.value, endless.deviation) == (np.inf, None)


def test_variants_are_compared_scene_by_scene():
    """Over all folds, each scene by the mean over the seeds."""
    level = {"s": 20.0, "t": 30.0, "u": 24.0, "v": 27.0}
    gain = {"a": 0.0, "b": 0.5}
    scores = [
        a_score(
            *(variant, seed, fold, 25.0),
            scenes={scene: level[scene] + gain[variant] + 0.2 * seed for scene in own},
        )
        for variant in gain
        for seed in (0, 1)
        for fold, own in ((1, "st"), (2, "uv"))
    ]
    summary = SweepSummary("mine", Path("out"), "folds", scores, folds_in_all=2)
    over_polynomial, _, found = summary.differences
    assert (over_polynomial.name, over_polynomial.other) == ("a", POLYNOMIAL)
    assert over_polynomial.values["psnr"].mean == pytest.approx(
        np.mean(list(level.values())) - 19.9
    )
    assert (found.name, found.other, found.scenes) == ("b", "a", 4)
    psnr = found.values["psnr"]
    assert (psnr.low, psnr.mean, psnr.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.values["ms_ssim"].mean == 0
    text = summary.as_text()
    assert re.search(r"^b - a +4 +\+0.50 \[\+0.50, \+0.50\]", text, re.MULTILINE)
    assert "That is 4 scenes, too few" in text.replace("\n", " ")
    assert "not known which" not in text
    assert summary.to_dict()["differences"][2]["values"]["psnr"]["mean"] == pytest.approx(0.5)


def test_without_scenes_variants_are_compared_fold_by_fold():
    psnr = {"a": (21.0, 23.0, 22.0), "b": (21.5, 24.0, 22.0)}
    scores = [
        a_score(variant, seed, fold, own + seed)
        for seed in (0, 1)
        for variant, values in psnr.items()
        for fold, own in enumerate(values, start=1)
    ]
    summary = SweepSummary("mine", Path("out"), "folds", scores, folds_in_all=5)
    assert summary.differences == []
    found = summary.fold_differences[-1]
    gains = np.subtract(psnr["b"], psnr["a"])
    assert found.values["psnr"].value == pytest.approx(gains.mean())
    assert found.values["psnr"].deviation == pytest.approx(gains.std(ddof=1))
    text = summary.as_text()
    assert "CPU minutes" not in text  # they are not known
    assert re.search(r"^b - a +\+0.50 ± 0.50 ", text, re.MULTILINE)
    assert "folds 1, 2 and 3 of 5" in text
    assert "patches of one scene may be in several folds" in text.replace("\n", " ")


def test_baselines_that_are_not_the_same_for_all_have_a_row_each():
    scores = [a_score("shards=a", 0, None, 21.0), a_score("shards=b", 0, None, 22.0)]
    summary = SweepSummary("mine", Path("out"), "val", scores)
    assert [row.name for row in summary.baselines] == [PHONE, POLYNOMIAL]
    other = replace(scores[1], shards="b", methods=scores[1].methods | {PHONE: Measured(9, 0.1)})
    rows = SweepSummary("mine", Path("out"), "val", [scores[0], other]).baselines
    assert [(row.name, row.mean("psnr").value) for row in rows[:2]] == [
        (f"{PHONE} (shards=a)", 18),
        (f"{PHONE} (shards=b)", 9),
    ]
    starts = [
        replace(score, init=score.variant, methods=score.methods | {START: Measured(psnr, 0.1)})
        for score, psnr in zip(scores, (3, 4), strict=True)
    ]
    rows = SweepSummary("mine", Path("out"), "val", starts).baselines
    assert [(row.name, row.mean("psnr").value) for row in rows] == [
        (PHONE, 18),
        (POLYNOMIAL, 20),
        (f"{START} (shards=a)", 3),
        (f"{START} (shards=b)", 4),
    ]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Phone and DSLR patches in [0, 1] of a folder of patch pairs, imported as shards."""
    phone, dslr, numbers = make_patches(6, SIZE, 0)
    dslr[::FOLDS] //= 2  # what suits one fold does not suit the other
    write_patches(tmp_path / "phone", phone)
    write_patches(tmp_path / "canon", dslr)
    train = ImportPatchesConfig(split="train")
    stages.import_patches(tmp_path / "phone", tmp_path / "canon", tmp_path / "shards", train)
    (tmp_path / "mine.toml").write_text(STANDSTILL)
    monkeypatch.chdir(tmp_path)
    return phone / 255, dslr / 255, numbers


def test_imported_patches_are_in_folds_by_their_numbers(imported):
    phone, dslr, numbers = imported
    summary = run_sweep("mine.toml", folds=FOLDS)
    for fold, score in enumerate(summary.scores):
        own = numbers % FOLDS == fold
        fitted, leaked = (
            mean_psnr(polynomial(phone[seen], dslr[seen], phone[own]), dslr[own])
            for seen in (~own, numbers >= 0)
        )
        assert abs(leaked - fitted) > 1
        assert score.methods[PHONE].psnr == pytest.approx(
            mean_psnr(phone[own], dslr[own]), abs=1e-4
        )
        found = [score.methods[name].psnr for name in (NETWORK, POLYNOMIAL)]
        assert found == pytest.approx([fitted, fitted], abs=0.05)
    assert "pair k is in fold k modulo 2" in summary.as_text().replace("\n", " ")


def test_the_network_that_training_starts_from_stands_beside(imported, tmp_path, capsys):
    """Also if it is of another kind than the recipe's."""
    save_model(tmp_path / "start.safetensors", build_generator("srcnn").eval(), {})
    changes = ["train.init=start.safetensors"]
    with console.shown():
        summary = run_sweep("mine.toml", changes=changes, folds=FOLDS)
    assert "holds no colour polynomial" not in capsys.readouterr().err
    for score in summary.scores:
        start, end = (score.methods[name].psnr for name in (START, NETWORK))
        assert end == pytest.approx(start, abs=1e-2)
        assert abs(start - score.methods[POLYNOMIAL].psnr) > 1
        (measured,) = stages.evaluate(
            "start.safetensors", next((summary.output / "folds").glob(f"*-{score.fold}-of-2"))
        ).splits[1:]
        assert start == measured.scores[NETWORK].psnr
    assert [pair.other for pair in summary.fold_differences] == [START]
    save_model(tmp_path / "start.safetensors", build_generator("srcnn").eval(), {})
    with pytest.raises(OutputExistsError, match="another network to start from"):
        run_sweep("mine.toml", changes=changes, folds=FOLDS)


def test_a_network_to_start_from_brings_its_kind_unless_another_is_given(imported, tmp_path):
    save_model(tmp_path / "a", build_generator("resnet-8-32", norm="instance").eval(), {})
    (variant,) = read_grid("mine.toml", None, ["train.init=a"]).variants
    assert (variant.step.config.generator, variant.step.config.norm) == ("resnet-8-32", "instance")
    changes = ["train.init=a", "train.norm=batch"]
    (variant,) = read_grid("mine.toml", None, changes).variants
    assert (variant.step.config.generator, variant.step.config.norm) == ("resnet-8-32", "batch")
    with pytest.raises(DpedkitError, match="there is no such model file"):
        run_sweep("mine.toml", changes=["train.init=b"])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("a/x/shards,b/y", ["shards-shards", "shards-y"]),
        ("a/x,b/x/", ["shards-a_x", "shards-b_x_"]),
        ("a/x,x", ["shards-a_x", "shards-x"]),
    ],
)
def test_runs_are_named_by_the_last_part_of_a_path_where_that_is_enough(values, names):
    grid = read_grid("cpu", None, [f"train.shards={values}"])
    assert [variant.file_name for variant in grid.variants] == names
    assert [variant.label for variant in grid.variants] == [
        f"shards={value}" for value in values.split(",")
    ]


@pytest.mark.parametrize("how", [{"folds": FOLDS}, {"split": "test"}])
def test_a_sweep_does_not_warn_that_there_is_no_val_split(patches, tmp_path, caplog, how):
    phone, dslr, _ = make_patches(len(SCENE), SIZE, 0)
    splits = {"train": (phone, dslr, SCENE), "test": (phone, dslr, SCENE + 10)}
    describe_pairs(write_shards(tmp_path / "no-val", splits))
    summary = run_sweep("mine.toml", changes=["train.shards=no-val"], **how)
    assert "no val split" not in caplog.text
    page = next((summary.output / "runs").glob("*/report/index.html")).read_text()
    assert "there is no val split" in page
    (variant,) = read_grid("mine.toml", None, []).variants
    stages.train("no-val", variant.step.config)
    assert "no val split" in caplog.text


def test_some_folds_are_done_first_and_the_others_later(patches, trained, tmp_path):
    first = run_sweep("mine.toml", folds=FOLDS, only=[2])
    assert [score.fold for score in first.scores] == [2]
    assert [place.name[-6:] for place in (first.output / "folds").iterdir()] == ["2-of-2"]
    summary = run_sweep("mine.toml", folds=FOLDS)
    assert [score.fold for score in summary.scores] == [1, 2]
    assert summary.scores[1] == first.scores[0]
    assert [name[-6:] for name, *_ in trained] == ["fold-2", "fold-1"]
    for only, folds, words in (([3], 2, "numbered from 1 to 2"), ([1], None, "--cross-validate")):
        with pytest.raises(UsageError, match=words):
            run_sweep("mine.toml", folds=folds, only=only)


def test_folds_keep_the_thumbnails_of_their_photos(patches, tmp_path):
    made = make_thumbnails(int(SCENE.max()) + 1, 0)
    phone, dslr, _ = make_patches(len(SCENE), SIZE, 0)
    folder = write_shards(
        tmp_path / "with thumbnails",
        {"train": (phone[:3], dslr[:3], SCENE[:3]), "val": (phone[3:], dslr[3:], SCENE[3:])},
        made,
    )
    describe_pairs(folder)
    fold_shards(folder, tmp_path / "fold", FoldConfig(fold=1, folds=FOLDS))
    for split, fold in (("test", 0), ("train", 1)):
        reader = open_split(tmp_path / "fold", split)
        numbers = np.unique(SCENE[fold == TESTED]).tolist()
        found = reader.thumbnails(numbers)
        for number, thumbnail in zip(numbers, found, strict=True):
            np.testing.assert_array_equal(thumbnail.pixels, made[number].pixels)


def test_processor_time_is_that_of_all_goes_and_unknown_after_a_kill(patches, monkeypatch):
    train = stages.train

    def interrupted(*arguments, **named):
        spend(0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("mine.toml")
    monkeypatch.setattr(stages, "train", train)
    clock = Path("sweeps/mine/results/as_in_the_recipe-seed-0.training.json")
    before = read_json(clock)
    assert before["cpu_seconds"] >= 0.2
    write_json(clock, {**before, "cpu_seconds": 100.0})
    summary = run_sweep("mine.toml")
    assert summary.scores[0].cpu_seconds > 100
    assert "CPU minutes" in summary.as_text().partition("\n-")[0]
    assert not clock.exists()

    write_json(
        clock.with_name("as_in_the_recipe-seed-1.training.json"), {**before, "running": True}
    )
    unknown = run_sweep("mine.toml", seeds=2)
    assert [score.cpu_seconds is None for score in unknown.scores] == [False, True]


def spend(seconds):
    """Let the processor work."""
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass


def test_results_of_earlier_versions_are_measured_again(patches, trained):
    summary = run_sweep("mine.toml")
    file = summary.output / "results" / "as_in_the_recipe-seed-0.json"
    setting = read_json(file)["setting"]
    old = {"variant": "as in the recipe", "seed": 0, "fold": None, "psnr": 1.0, "ms_ssim": 0.1}
    old |= {"polynomial_psnr": 1.0, "polynomial_ms_ssim": 0.1, "scenes": {}}
    write_json(file, {"setting": setting, "score": old})
    again = run_sweep("mine.toml")
    assert again.scores == [replace(summary.scores[0], cpu_seconds=None)]
    write_json(file, {"setting": setting, "score": [1]})
    with pytest.raises(DpedkitError, match=r"seed-0\.json is damaged; delete it"):
        run_sweep("mine.toml")


def test_the_page_has_the_tables_and_links_the_runs(patches):
    summary = run_sweep("mine.toml", changes=["train.batch=1,2"], folds=FOLDS)
    place = summary.output / "report"
    page = (place / "index.html").read_text()
    assert page.count("../runs/batch-1-seed-0-fold-") == 2
    for name in ("scores", "differences", "folds"):
        assert f'href="{name}.csv"' in page
        assert len((place / f"{name}.csv").read_text().splitlines()) > 2
    assert "batch=2 - batch=1" in page


def test_names_of_runs_are_never_too_long_for_a_file():
    changes = [f"train.{key}=10000000" for key in ("steps", "batch", "evaluate_every")]
    changes += [f"train.{key}=0.00000001" for key in ("content_weight", "pixel_weight", "clip")]
    changes += ["train.evaluate_patches=10000,10001"]
    changes[1] = "train.batch=1000"
    names = [variant.file_name for variant in read_grid("cpu", None, changes).variants]
    assert max(map(len, names)) <= 120
    assert len(set(names)) == 2


def test_the_command_prints_a_table(patches, capsys):
    command = ["sweep", "mine.toml", "--set", "train.batch=1,2", "--cross-validate", "2", "-q"]
    assert execute([*command, "--only", "1;2"]) == 2
    assert "'1;2' is not a list of numbers" in capsys.readouterr().err
    assert execute(command) == 0
    text = capsys.readouterr().out
    assert re.search(r"^batch=1 +2 +\d", text, re.MULTILINE)
    assert re.search(r"^fold +patches +untouched phone +.* batch=1 +batch=2$", text, re.MULTILINE)
    assert "No patch of a fold was used for training" in text.replace("\n", " ")
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
    assert not (tmp_path / "sweeps").exists()
    write_shards(tmp_path / "published", {"test": make_patches(3, SIZE, 0)})
    describe_pairs(tmp_path / "published")
    with pytest.raises(DpedkitError, match="with `dpedkit import-patches --split train`"):
        run_sweep(str(tmp_path / "mine.toml"), changes=["train.shards=published"], folds=2)
    (tmp_path / "mine.toml").write_text("[align]\n")
    with pytest.raises(UsageError, match=r"no \[train\] table"):
        run_sweep(str(tmp_path / "mine.toml"))
