"""Cutting an aligned folder into shards: bad input, provenance, and the same bytes always."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray

from dpedkit.core.atomic import write_json
from dpedkit.core.console import QUIET, set_verbosity
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.core.records import (
    ACCEPTED,
    ALIGNED_FORMAT,
    PHONE_THUMBNAILS,
    REJECTED,
    PairRecord,
    SourcePhoto,
    WrittenFile,
    phone_thumbnail,
)
from dpedkit.geometry import PairMap
from dpedkit.images import read_photo, write_photo
from dpedkit.patches import PatchConfig, cut_patches
from dpedkit.shards import (
    ExportConfig,
    FilterConfig,
    MergeConfig,
    export_patches,
    filter_shards,
    merge_shards,
    open_split,
    pair_names,
    split_counts,
    verify,
)
from dpedkit.shards import writer as shard_writer
from dpedkit.shards.card import write_card
from dpedkit.shards.finished import FinishedShards

SIZE = 32
CONFIG = PatchConfig(size=SIZE)


def photos(seed: int, height: int = 110, width: int = 140) -> tuple[NDArray, NDArray]:
    """Two aligned photos of one random scene, one of them darker and noisy."""
    import cv2

    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.normal(size=(height // 3, width // 3, 3)), (width, height))
    dslr = np.clip(120 + 50 * scene, 0, 255).astype(np.uint8)
    phone = np.clip(0.7 * dslr + rng.normal(10, 2, dslr.shape), 0, 255).astype(np.uint8)
    return phone, dslr


def make_aligned(folder: Path, count: int, **description: object) -> Path:
    """An aligned folder of `count` accepted pairs, some with a thumbnail, and one rejected pair.

    The originals are gone.
    """
    for side in ("phone", "dslr", PHONE_THUMBNAILS):
        (folder / side).mkdir(parents=True)
    records = []
    for number in range(count):
        name = f"{number:04d}"
        phone, dslr = photos(number)
        write_photo(folder / "phone" / f"{name}.png", phone)
        write_photo(folder / "dslr" / f"{name}.png", dslr)
        source = SourcePhoto(f"/raw/iphone/{name}.jpg", 1, 1, 300, 200)
        files = {}
        if number % 2:
            write_photo(phone_thumbnail(folder, name), photos(number, 171, 256)[0])
            files[PHONE_THUMBNAILS] = WrittenFile.of(phone_thumbnail(folder, name))
        crop = (1, 2, 140, 110)
        records.append(PairRecord(number, name, ACCEPTED, "", source, source, crop, files=files))
    records.insert(1, PairRecord(count, "bad", REJECTED, "unrelated photos", source, source))
    write_jsonl(folder / "pairs.jsonl", [record.to_dict() for record in records])
    whole = {
        "format": ALIGNED_FORMAT,
        "kind": "aligned",
        "config": {"image_format": "png", "a": 1},
        "complete": True,
    }
    write_json(folder / "dataset.json", whole | description)
    return folder


@pytest.fixture(autouse=True)
def quiet() -> None:
    set_verbosity(QUIET)


@pytest.fixture(scope="session")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_aligned(tmp_path_factory.mktemp("patches") / "aligned", 10)


@pytest.fixture
def own_aligned(aligned: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(aligned, tmp_path / "aligned"))


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -------------------------------------------------------------------------------- what comes out


def test_the_shards_hold_what_the_summary_says(aligned: Path, tmp_path: Path) -> None:
    output = tmp_path / "shards"
    summary = cut_patches(aligned, output, CONFIG, jobs=1)
    assert verify(output).sound, verify(output).as_text()
    assert summary.tried == 10 * 12
    assert summary.kept + sum(summary.dropped.values()) == summary.tried
    assert sum(split_counts(output).values()) == summary.kept > 60
    assert all(count > 0 for count in split_counts(output).values())
    assert sum(its["thumbnails"] for its in summary.splits.values()) == 5
    assert sorted(path.name for path in output.iterdir()) == [
        "index.json",
        "pairs.jsonl",
        "test-00000.h5",
        "train-00000.h5",
        "val-00000.h5",
    ]
    json.dumps(summary.to_dict())
    assert f"{summary.kept} patch pairs kept of 120 windows" in summary.as_text()


def test_every_patch_can_be_traced_to_its_place_in_the_phone_photo(
    aligned: Path, tmp_path: Path
) -> None:
    cut_patches(aligned, tmp_path / "shards", CONFIG, jobs=1)
    names = pair_names(tmp_path / "shards")
    pairs = read_jsonl(tmp_path / "shards" / "pairs.jsonl")
    assert names == [f"{number:04d}" for number in range(10)]
    for split in ("train", "val", "test"):
        reader = open_split(tmp_path / "shards", split)
        phone, _ = reader.gather(range(len(reader)))
        for patch, pair, (x, y) in zip(phone, reader.pair, reader.column("xy"), strict=True):
            assert pairs[pair]["split"] == split
            photo = read_photo(aligned / "phone" / f"{names[pair]}.png")
            np.testing.assert_array_equal(patch, photo[y : y + SIZE, x : x + SIZE])
    assert pairs[3]["phone"] == "iphone/0003.jpg"
    assert pairs[3]["kept"] + sum(pairs[3]["dropped"].values()) == pairs[3]["tried"] == 12


def test_dropped_windows_are_sampled_with_their_place_and_reason(
    own_aligned: Path, tmp_path: Path
) -> None:
    photo = read_photo(own_aligned / "dslr" / "0005.png").copy()
    photo[:, :80] = photos(50)[1][:, :80]  # two and a half columns of windows show another scene
    write_photo(own_aligned / "dslr" / "0005.png", photo)
    cut_patches(own_aligned, tmp_path / "one", CONFIG, jobs=1)
    cut_patches(own_aligned, tmp_path / "two", CONFIG, jobs=2)
    one, two = (read_jsonl(tmp_path / name / "pairs.jsonl") for name in ("one", "two"))
    assert [line["dropped_sample"] for line in one] == [line["dropped_sample"] for line in two]
    for line in one:
        found = Counter(window["reason"] for window in line["dropped_sample"])
        assert found == {reason: min(count, 3) for reason, count in line["dropped"].items()}
    low = [window for window in one[5]["dropped_sample"] if window["reason"] == "low NCC"]
    assert len(low) == 3
    assert all(window["xy"][0] < 80 and window["ncc"] <= CONFIG.min_corr for window in low)


def test_patches_of_a_split_stand_in_pair_order_over_several_shards(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    cut_patches(aligned, whole, CONFIG, jobs=1)
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 7)
    cut_patches(aligned, divided, CONFIG, jobs=1)
    assert verify(divided).sound
    assert len(list(divided.glob("train-*.h5"))) > 5
    one, other = open_split(whole, "train"), open_split(divided, "train")
    assert (np.diff(one.pair) >= 0).all()
    for a, b in zip(one.gather(range(len(one))), other.gather(range(len(other))), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------- the same bytes, always


def test_two_workers_make_the_same_bytes_as_one(aligned: Path, tmp_path: Path) -> None:
    cut_patches(aligned, tmp_path / "one", CONFIG, jobs=1)
    cut_patches(aligned, tmp_path / "two", CONFIG, jobs=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_second_run_changes_nothing(aligned: Path, tmp_path: Path) -> None:
    first = cut_patches(aligned, tmp_path / "shards", CONFIG, jobs=1)
    before = digest(tmp_path / "shards")
    again = cut_patches(aligned, tmp_path / "shards", CONFIG, jobs=1)
    assert again.resumed_complete and not first.resumed_complete
    assert again.kept == first.kept
    assert digest(tmp_path / "shards") == before


def _cut(aligned: Path, output: Path, jobs: int, patches_per_shard: int) -> None:
    shard_writer.PATCHES_PER_SHARD = patches_per_shard
    set_verbosity(QUIET)
    cut_patches(aligned, output, CONFIG, jobs=jobs)
    # A child of multiprocessing runs no exit handlers: it would wait until idle workers leave.
    get_reusable_executor().shutdown()


def _kill_until_done(
    aligned: Path,
    output: Path,
    jobs: int,
    kills: int,
    seconds: tuple[float, float],
    whole: dict[str, str],
) -> None:
    """Kill runs at random moments, then let one finish; begin anew when one ended before that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dpedkit.patches.driver", "h5py"])
    moments = random.Random(3)
    died = 0
    while died <= kills:
        process = context.Process(target=_cut, args=(aligned, output, jobs, 20))
        process.start()
        if died < kills:
            process.join(moments.uniform(*seconds))
            process.kill()
        process.join()
        if process.exitcode == 0:
            assert digest(output) == whole
            if died == kills:
                return
            shutil.rmtree(output)
        else:
            assert process.exitcode == -signal.SIGKILL
            died += 1
    pytest.fail("the last run was not killed, and died all the same")


@pytest.mark.parametrize(
    ("pairs", "jobs", "kills", "seconds"),
    [
        (10, 1, 6, (0.02, 0.25)),
        pytest.param(60, 1, 40, (0.02, 0.25), marks=pytest.mark.slow),
        # Workers take about a second to start; killed runs leave theirs behind for a moment.
        pytest.param(300, 3, 34, (0.1, 2.2), marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path,
    pairs: int,
    jobs: int,
    kills: int,
    seconds: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aligned = make_aligned(tmp_path / "aligned", pairs)
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 20)
    cut_patches(aligned, tmp_path / "whole", CONFIG, jobs=1)
    whole = digest(tmp_path / "whole")
    _kill_until_done(aligned, tmp_path / "killed", jobs, kills, seconds, whole)


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_run_stopped_between_two_shards_resumes(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    """Stopped when some staged files are gone already because their shard is finished."""
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 20)
    cut_patches(aligned, tmp_path / "whole", CONFIG, jobs=1)
    write, written = shard_writer.write_shard, []

    def write_some(path: Path, *arguments: object, **settings: object) -> None:
        if len(written) > stop_after:
            raise KeyboardInterrupt
        write(path, *arguments, **settings)  # type: ignore[arg-type]
        written.append(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_writer, "write_shard", write_some)
        cut_patches(aligned, tmp_path / "stopped", CONFIG, jobs=1)
    cut_patches(aligned, tmp_path / "stopped", CONFIG, jobs=1)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


@pytest.mark.parametrize("released", [False, True])
def test_a_finished_shard_that_was_damaged_is_not_kept(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    """As after a power cut: written again, or refused once its staged patches are gone."""
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 20)
    output = tmp_path / "stopped"
    cut_patches(aligned, tmp_path / "whole", CONFIG, jobs=1)
    add = FinishedShards.add

    def stop(self: FinishedShards, path: Path) -> str:
        if released and path.name == "train-00000.h5":
            return add(self, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FinishedShards, "add", stop)
        cut_patches(aligned, output, CONFIG, jobs=1)
    damaged = output / "train-00000.h5"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    damaged.write_bytes(content)
    if released:
        with pytest.raises(DpedkitError, match=r"stopped holds a damaged shard.*--overwrite"):
            cut_patches(aligned, output, CONFIG, jobs=1)
    cut_patches(aligned, output, CONFIG, jobs=1, overwrite=released)
    assert digest(output) == digest(tmp_path / "whole")


# -------------------------------------------------------------------------------- other settings


def test_shards_of_other_settings_are_replaced_only_when_asked(
    aligned: Path, tmp_path: Path
) -> None:
    output = tmp_path / "shards"
    strict = PatchConfig(size=SIZE, min_corr=0.97)
    cut_patches(aligned, output, CONFIG, jobs=1)
    before = digest(output)
    with pytest.raises(DpedkitError, match=r"min_corr: was 0\.9, now 0\.97.*--overwrite"):
        cut_patches(aligned, output, strict, jobs=1)
    assert digest(output) == before
    cut_patches(aligned, output, strict, jobs=1, overwrite=True)
    assert verify(output).sound
    assert open_split(output, "train").ncc.min() > 0.97


@pytest.mark.parametrize("change", ["config", "map", "photo"])
def test_shards_of_photos_aligned_otherwise_are_not_continued(
    own_aligned: Path, tmp_path: Path, change: str
) -> None:
    cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)
    if change == "config":
        description = json.loads((own_aligned / "dataset.json").read_text())
        write_json(
            own_aligned / "dataset.json", description | {"config": {"image_format": "png", "a": 2}}
        )
    elif change == "map":
        records = read_jsonl(own_aligned / "pairs.jsonl")
        records[0]["map"] = {"phone_to_dslr": [1.5]}
        write_jsonl(own_aligned / "pairs.jsonl", records)
    else:
        write_photo(own_aligned / "phone" / "0002.png", photos(77)[0])
    with pytest.raises(DpedkitError, match=r"aligned photos: was .*--overwrite"):
        cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "does not exist; create it with `dpedkit align"),
        (lambda folder: (folder / "dataset.json").unlink(), "has no dataset.json.*first"),
        (lambda folder: (folder / "dataset.json").write_text("x"), "dataset.json is damaged"),
        (lambda folder: (folder / "pairs.jsonl").unlink(), "pairs.jsonl is missing"),
        (lambda folder: (folder / "pairs.jsonl").write_text("{}\n"), "record of pair '\\?'"),
        (lambda folder: _describe(folder, complete=False), "is incomplete"),
        (lambda folder: _describe(folder, kind="shards"), "holds 'shards' data"),
        (lambda folder: _describe(folder, format=99), "aligned format 99"),
        (lambda folder: _reject_all(folder), "no accepted pair among 11"),
    ],
)
def test_a_folder_that_cannot_be_cut_is_one_clear_sentence(  # type: ignore[no-untyped-def]
    own_aligned: Path, tmp_path: Path, spoil, sentence: str
) -> None:
    spoil(own_aligned)
    with pytest.raises(DpedkitError, match=sentence):
        cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)
    assert not (tmp_path / "shards").exists()


def _describe(folder: Path, **values: object) -> None:
    description = json.loads((folder / "dataset.json").read_text())
    write_json(folder / "dataset.json", description | values)


def _reject_all(folder: Path) -> None:
    records = read_jsonl(folder / "pairs.jsonl")
    write_jsonl(folder / "pairs.jsonl", [record | {"status": REJECTED} for record in records])


def test_a_damaged_or_missing_photo_costs_its_pair_only(own_aligned: Path, tmp_path: Path) -> None:
    (own_aligned / "phone" / "0001.png").unlink()
    cut_short = own_aligned / "dslr" / "0004.png"
    cut_short.write_bytes(cut_short.read_bytes()[:900])
    write_photo(own_aligned / "dslr" / "0006.png", photos(6, height=90)[1])
    summary = cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)
    assert sorted(summary.failed) == ["0001", "0004", "0006"]
    assert "left out: 0006: the two aligned photos differ in size" in summary.as_text()
    assert verify(tmp_path / "shards").sound
    assert set(open_split(tmp_path / "shards", "train").pair).isdisjoint({1, 4, 6})


def test_when_nothing_is_kept_the_reasons_and_the_cure_are_told(
    own_aligned: Path, tmp_path: Path
) -> None:
    for number in range(10):
        write_photo(own_aligned / "dslr" / f"{number:04d}.png", photos(number + 100)[1])
    with pytest.raises(DpedkitError, match=r"none of the 120 windows.*--min-corr") as failure:
        cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)
    assert "low NCC" in str(failure.value) and "%" in str(failure.value)
    # Following the advice must not end in a refusal.
    lower = PatchConfig(size=SIZE, min_corr=-1, max_mismatch=0, max_part_shift=0)
    assert cut_patches(own_aligned, tmp_path / "shards", lower, jobs=1).kept > 0


def test_photos_smaller_than_a_window_are_named_as_such(aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(DpedkitError, match="use a smaller --size"):
        cut_patches(aligned, tmp_path / "shards", PatchConfig(size=120), jobs=1)


def test_reserving_every_pair_is_refused_before_the_work(aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none is left for training"):
        cut_patches(aligned, tmp_path / "s", PatchConfig(size=SIZE, test_pairs=10), jobs=1)


def test_a_folder_of_something_else_is_left_alone(aligned: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(DpedkitError, match="not made by this command"):
        cut_patches(aligned, tmp_path, CONFIG, jobs=1, overwrite=True)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"


# ------------------------------------------------------------------- shards made from shards


@pytest.fixture(scope="session")
def shards(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    set_verbosity(QUIET)
    output = tmp_path_factory.mktemp("shards") / "shards"
    cut_patches(aligned, output, CONFIG, jobs=1)
    return output


def test_filtering_is_cutting_with_a_higher_limit(
    aligned: Path, shards: Path, tmp_path: Path
) -> None:
    limit = float(np.median(open_split(shards, "train").ncc))
    filter_shards(shards, tmp_path / "filtered", FilterConfig(min_corr=limit))
    direct = PatchConfig(size=SIZE, min_corr=limit)
    cut_patches(aligned, tmp_path / "direct", direct, jobs=1)
    assert verify(tmp_path / "filtered").sound
    for split in ("train", "val", "test"):
        one, other = (open_split(tmp_path / name, split) for name in ("filtered", "direct"))
        np.testing.assert_array_equal(one.column("xy"), other.column("xy"))
        np.testing.assert_array_equal(one.pair, other.pair)
        np.testing.assert_array_equal(one.column("dslr"), other.column("dslr"))


def test_a_lower_limit_cannot_be_filtered(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cut with --min-corr 0\.9.*`dpedkit patches"):
        filter_shards(shards, tmp_path / "out", FilterConfig(min_corr=0.5))
    with pytest.raises(DpedkitError, match="no patch to train on"):
        filter_shards(shards, tmp_path / "out", FilterConfig(min_corr=1))
    with pytest.raises(UsageError, match="is one of the inputs"):
        filter_shards(shards, shards, FilterConfig(min_corr=0.95), overwrite=True)
    assert verify(shards).sound


def test_merging_keeps_splits_and_renumbers_pairs(shards: Path, tmp_path: Path) -> None:
    limit = float(np.median(open_split(shards, "train").ncc))
    filter_shards(shards, tmp_path / "half", FilterConfig(min_corr=limit))
    merged = tmp_path / "merged"
    merge_shards([shards, tmp_path / "half"], merged, MergeConfig())
    assert verify(merged).sound, verify(merged).as_text()
    assert pair_names(merged) == 2 * pair_names(shards)
    for folder in (tmp_path / "half", merged):
        assert "| train |" in (folder / "README.md").read_text()
    for split in ("train", "val", "test"):
        parts = [open_split(folder, split) for folder in (shards, tmp_path / "half")]
        both = open_split(merged, split)
        expected = np.concatenate([parts[0].pair, parts[1].pair + len(pair_names(shards))])
        np.testing.assert_array_equal(both.pair, expected)
        pixels = np.concatenate([part.column("phone") for part in parts])
        np.testing.assert_array_equal(both.column("phone"), pixels)


def test_a_licence_is_kept_named_later_and_not_claimed_for_photos_of_others(
    aligned: Path, shards: Path, tmp_path: Path
) -> None:
    free = tmp_path / "free"
    for licence in ("cc-by-4.0", "cc0-1.0", "unknown"):
        cut_patches(aligned, free, PatchConfig(size=SIZE, licence=licence), jobs=1)
    assert 'license: "cc0-1.0"' in write_card(free).read_text()
    limit = float(np.median(open_split(free, "train").ncc))
    filter_shards(free, tmp_path / "half", FilterConfig(min_corr=limit))
    merge_shards([free, tmp_path / "half"], tmp_path / "both", MergeConfig())
    merge_shards([free, shards], tmp_path / "mixed", MergeConfig())
    for name, licence in (("half", "cc0-1.0"), ("both", "cc0-1.0"), ("mixed", "unknown")):
        assert f'license: "{licence}"' in (tmp_path / name / "README.md").read_text()


def test_merging_counts_no_folder_double(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shards)
    for again in (shards, tmp_path / "link"):
        with pytest.raises(UsageError, match="is given twice"):
            merge_shards([shards, again], tmp_path / "merged", MergeConfig())
    assert not (tmp_path / "merged").exists()


def test_merging_never_puts_one_photo_into_two_splits(
    aligned: Path, shards: Path, tmp_path: Path
) -> None:
    cut_patches(aligned, tmp_path / "other", PatchConfig(size=SIZE, seed=5), jobs=1)
    with pytest.raises(
        DpedkitError, match=r"tested on what it was trained on.*--seed.*--split-file"
    ):
        merge_shards([shards, tmp_path / "other"], tmp_path / "merged", MergeConfig())


def test_compressed_shards_hold_the_same_and_unpack_to_the_same_bytes(
    aligned: Path, shards: Path, tmp_path: Path
) -> None:
    packed, unpacked, again = (tmp_path / name for name in ("packed", "unpacked", "again"))
    cut_patches(aligned, packed, PatchConfig(size=SIZE, compress=True), jobs=1)
    assert verify(packed).sound, verify(packed).as_text()
    size = [sum(path.stat().st_size for path in folder.glob("*.h5")) for folder in (packed, shards)]
    assert size[0] < size[1]
    merge_shards([packed], unpacked, MergeConfig())
    merge_shards([unpacked], again, MergeConfig(compress=True))
    for name in ("train-00000.h5", "val-00000.h5", "test-00000.h5"):
        assert (unpacked / name).read_bytes() == (shards / name).read_bytes()
        assert (again / name).read_bytes() == (packed / name).read_bytes()
    limit = float(np.median(open_split(shards, "train").ncc))
    filter_shards(packed, tmp_path / "half", FilterConfig(min_corr=limit, compress=True))
    assert verify(tmp_path / "half").sound


@pytest.mark.parametrize("image", ["png", "jpg"])
def test_export_writes_the_folders_of_dped(shards: Path, tmp_path: Path, image: str) -> None:
    summary = export_patches(shards, tmp_path / "dped", ExportConfig(image=image))
    home = tmp_path / "dped" / "iphone"
    for split, place in (("train", "training_data"), ("test", "test_data/patches")):
        reader = open_split(shards, split)
        assert summary.patches[split] == len(reader)
        phone, dslr = reader.gather(range(len(reader)))
        for folder, patches in (("iphone", phone), ("canon", dslr)):
            files = sorted((home / place / folder).iterdir(), key=lambda path: int(path.stem))
            assert [path.name for path in files] == [f"{n}.{image}" for n in range(len(patches))]
            read = np.stack([read_photo(path) for path in files]).astype(int)
            assert np.abs(read - patches).mean() <= (0 if image == "png" else 6)


def _record_files(folder: Path) -> None:
    """Note the images in the records, as `dpedkit align` does."""
    records = read_jsonl(folder / "pairs.jsonl")
    for record in records:
        if record["status"] == ACCEPTED:
            record["files"] = {
                side: asdict(WrittenFile.of(folder / side / f"{record['name']}.png"))
                for side in ("phone", "dslr")
            }
    write_jsonl(folder / "pairs.jsonl", records)


@pytest.mark.parametrize("damage", ["missing", "cut short", "changed"])
def test_images_that_are_not_as_they_were_written_are_refused_with_the_cure(
    own_aligned: Path, tmp_path: Path, damage: str
) -> None:
    _record_files(own_aligned)
    image = own_aligned / "phone" / "0003.png"
    content = image.read_bytes()
    image.unlink()
    if damage == "cut short":
        image.write_bytes(content[:900])
    elif damage == "changed":
        image.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    with pytest.raises(
        DpedkitError, match=r"phone/0003\.png (is missing|has changed).*dpedkit align"
    ):
        cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1)
    image.write_bytes(content)
    assert cut_patches(own_aligned, tmp_path / "shards", CONFIG, jobs=1).failed == {}
    fresh = tmp_path / "fresh"
    cut_patches(own_aligned, fresh, CONFIG, jobs=1)
    assert digest(tmp_path / "shards") == digest(fresh)


@pytest.mark.parametrize("killed", [False, True])
def test_an_original_that_comes_back_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    folder = make_aligned(tmp_path / "aligned", 5, config={"image_format": "png", "images": False})
    records = read_jsonl(folder / "pairs.jsonl")
    for record in records:
        for side in ("phone", "dslr"):
            source = SourcePhoto.of(folder / side / f"{record['name']}.png") if (
                record["status"] == ACCEPTED
            ) else SourcePhoto("", 0, 0)  # fmt: skip
            record[side] = asdict(source)
        record["crop"], record["files"] = [0, 0, 140, 110], {}
        record["map"] = PairMap(np.eye(3), (140, 110), (140, 110)).to_dict()
    write_jsonl(folder / "pairs.jsonl", records)
    cut_patches(folder, tmp_path / "expected", CONFIG, jobs=1)
    hidden = folder / "dslr" / "0002.hidden"
    hidden.with_suffix(".png").rename(hidden)
    if killed:
        monkeypatch.setattr("dpedkit.patches.driver._pack", _stop)
        with pytest.raises(KeyboardInterrupt):
            cut_patches(folder, tmp_path / "shards", CONFIG, jobs=1)
        monkeypatch.undo()
    else:
        assert set(cut_patches(folder, tmp_path / "shards", CONFIG, jobs=1).failed) == {"0002"}
    hidden.rename(hidden.with_suffix(".png"))
    assert cut_patches(folder, tmp_path / "shards", CONFIG, jobs=1).failed == {}
    assert digest(tmp_path / "shards") == digest(tmp_path / "expected")


def _stop(*args: object) -> None:
    raise KeyboardInterrupt


def test_shards_hold_no_paths_of_somebodys_computer(own_aligned: Path, tmp_path: Path) -> None:
    (own_aligned / "phone" / "0001.png").unlink()  # whose error names the file
    settings = {"image_format": "png", "decisions": str(tmp_path / "decisions.csv")}
    _describe(own_aligned, config=settings)
    output = tmp_path / "shards"
    cut_patches(own_aligned, output, CONFIG, jobs=1)
    filter_shards(output, tmp_path / "filtered", FilterConfig(min_corr=0.95))
    merge_shards([output], tmp_path / "merged", MergeConfig())
    for folder in (output, tmp_path / "filtered", tmp_path / "merged"):
        write_card(folder)
        for path in folder.iterdir():
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert b"/raw/" not in content, path
    pair = read_jsonl(output / "pairs.jsonl")[0]
    assert (pair["phone"], pair["dslr"]) == ("iphone/0000.jpg", "iphone/0000.jpg")
    assert json.loads((output / "index.json").read_text())["aligned"] == "../aligned"
