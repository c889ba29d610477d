"""Thumbnails on their way: `align` makes them of whole photos, `patches` puts them into shards."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_align_folders import FAST, run
from test_align_folders import raw as raw
from test_align_folders import scene_photos as scene_photos

from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.images import make_thumbnail, read_photo
from dpedkit.patches import PatchConfig, cut_patches
from dpedkit.shards import open_split, verify
from dpedkit.shards.index import INDEX_FILE

CONFIG = PatchConfig(size=32, test_pairs=1, val_pairs=1)
SPLITS = ("train", "val", "test")


@pytest.fixture
def aligned(raw) -> Path:
    run(raw)
    return raw / "aligned"


def forget_thumbnails(aligned: Path) -> None:
    """Leave the folder as earlier versions did, which made no thumbnails."""
    shutil.rmtree(aligned / "thumbnails")
    records = read_jsonl(aligned / "pairs.jsonl")
    for record in records:
        record["files"].pop("thumbnails", None)
    write_jsonl(aligned / "pairs.jsonl", records)


def shard_bytes(shards: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*shards.glob("*.h5"), shards / "pairs.jsonl"]}


def test_the_thumbnails_are_those_of_the_whole_photos(raw, aligned):
    summary = cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    assert verify(raw / "shards").sound, verify(raw / "shards").as_text()
    records = {record["name"]: record for record in read_jsonl(aligned / "pairs.jsonl")}
    lines = read_jsonl(raw / "shards" / "pairs.jsonl")
    seen = 0
    for split in SPLITS:
        reader = open_split(raw / "shards", split)
        assert reader.has_thumbnails
        for pair in np.unique(reader.pair).tolist():
            (found,) = reader.thumbnails([pair])
            original = read_photo(raw / "phone" / f"{lines[pair]['name']}.png")
            np.testing.assert_array_equal(found.pixels, make_thumbnail(original))
            x, y, width, height = records[lines[pair]["name"]]["crop"]
            scale = 256 / original.shape[1]
            expected = (x * scale, y * scale, width * scale, height * scale)
            assert found.crop == pytest.approx(expected, rel=1e-6)
            seen += 1
    assert seen == 3
    assert {split: its["thumbnails"] for split, its in summary.splits.items()} == dict.fromkeys(
        SPLITS, 1
    )


def test_the_originals_are_not_needed_any_more(raw, aligned):
    cut_patches(aligned, raw / "expected", CONFIG, jobs=1)
    shutil.rmtree(raw / "phone")
    cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    assert shard_bytes(raw / "shards") == shard_bytes(raw / "expected")


def test_a_folder_of_an_earlier_version_gets_the_same_from_the_originals(raw, aligned):
    cut_patches(aligned, raw / "expected", CONFIG, jobs=1)
    forget_thumbnails(aligned)
    cut_patches(aligned, raw / "shards", CONFIG, jobs=2)
    assert shard_bytes(raw / "shards") == shard_bytes(raw / "expected")
    assert run(raw).reused == 3  # `align` itself does not make them again
    assert not list((aligned / "thumbnails").iterdir())


@pytest.mark.parametrize("change", ["gone", "replaced"])
def test_without_thumbnail_and_original_the_pair_has_none_and_a_warning_says_so(
    raw, aligned, change, caplog
):
    forget_thumbnails(aligned)
    photo = raw / "phone" / "1.png"
    if change == "gone":
        photo.unlink()
    else:
        shutil.copy(raw / "phone" / "2.png", photo)
    summary = cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    warnings = [record.message for record in caplog.records if "thumbnail" in record.message]
    assert len(warnings) == 1
    assert "1 photo pair without a thumbnail (1)" in warnings[0]
    assert verify(raw / "shards").sound, verify(raw / "shards").as_text()
    readers = [open_split(raw / "shards", split) for split in SPLITS]
    assert [reader.has_thumbnails for reader in readers] == [
        set(reader.pair.tolist()) != {1} for reader in readers
    ]
    assert sum(its["thumbnails"] for its in summary.splits.values()) == 2
    assert sum(its["pairs"] for its in summary.splits.values()) == 3


def test_without_images_the_shards_are_the_same(raw, aligned):
    cut_patches(aligned, raw / "expected", CONFIG, jobs=1)
    run(raw, dataclasses.replace(FAST, images=False), output="geometry")
    for earlier in (False, True):
        if earlier:
            forget_thumbnails(raw / "geometry")
        output = raw / f"shards{earlier}"
        cut_patches(raw / "geometry", output, CONFIG, jobs=1)
        assert shard_bytes(output) == shard_bytes(raw / "expected")


def test_no_thumbnails_leaves_them_out_and_is_recorded(raw, aligned):
    config = dataclasses.replace(CONFIG, thumbnails=False)
    shutil.rmtree(aligned / "thumbnails")  # they are not even looked at
    cut_patches(aligned, raw / "shards", config, jobs=1)
    assert verify(raw / "shards").sound
    assert not open_split(raw / "shards", "train").has_thumbnails
    assert read_json(raw / "shards" / INDEX_FILE)["patch_config"]["thumbnails"] is False
    assert not any(b"thumbnail_pair" in content for content in shard_bytes(raw / "shards").values())


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_a_thumbnail_that_is_not_as_it_was_written_is_refused_and_made_again(raw, aligned, damage):
    cut_patches(aligned, raw / "expected", CONFIG, jobs=1)
    path = aligned / "thumbnails" / "2.png"
    content = path.read_bytes()
    path.unlink()
    if damage == "shorter":
        path.write_bytes(content[:900])
    elif damage == "changed":
        path.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    with pytest.raises(
        DpedkitError, match=r"thumbnails/2\.png (is missing|has changed).*dpedkit align"
    ):
        cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    run(raw)
    assert path.read_bytes() == content
    cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    assert shard_bytes(raw / "shards") == shard_bytes(raw / "expected")


def test_a_record_whose_crop_is_not_in_its_photo_costs_its_pair_only(raw, aligned):
    records = read_jsonl(aligned / "pairs.jsonl")
    records[0]["phone"]["width"] = 300
    write_jsonl(aligned / "pairs.jsonl", records)
    summary = cut_patches(aligned, raw / "shards", CONFIG, jobs=1)
    assert list(summary.failed) == ["0"]
    assert "its crop is not part of its phone photo" in summary.failed["0"]


def test_pairs_rejected_later_leave_no_thumbnail(raw, aligned):
    (raw / "dslr" / "1.jpg").write_bytes(b"")
    (raw / "decisions.csv").write_text("name,decision,note\n2,rejected,\n")
    run(raw, dataclasses.replace(FAST, decisions=str(raw / "decisions.csv"), max_rejected=0.9))
    assert [path.name for path in (aligned / "thumbnails").iterdir()] == ["0.png"]


def test_finished_shards_of_format_1_are_not_made_again_by_what_makes_no_thumbnails(tmp_path):
    from fake_shards import as_format_1
    from test_patches import photos

    from dpedkit.images import write_photo
    from dpedkit.import_patches.driver import import_patches

    for side, pixels in zip(("phone", "dslr"), photos(1, 40, 40), strict=True):
        (tmp_path / side).mkdir()
        write_photo(tmp_path / side / "0.png", pixels)
    import_patches(tmp_path / "phone", tmp_path / "dslr", tmp_path / "shards")
    as_format_1(tmp_path / "shards")
    before = shard_bytes(tmp_path / "shards")
    import_patches(tmp_path / "phone", tmp_path / "dslr", tmp_path / "shards")
    assert shard_bytes(tmp_path / "shards") == before
