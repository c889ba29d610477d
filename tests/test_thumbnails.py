"""Thumbnails of whole photos: made, stored in shards, read, checked, passed on and left out."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fake_shards import as_format_1, make_thumbnails, write_shards
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.images import make_thumbnail, read_photo
from dpedkit.shards import (
    DpedShards,
    ExportConfig,
    FilterConfig,
    MergeConfig,
    describe,
    export_patches,
    filter_shards,
    merge_shards,
    open_split,
    verify,
)
from dpedkit.shards import writer as shard_writer
from dpedkit.shards.card import write_card
from dpedkit.shards.finished import file_sha256
from dpedkit.shards.index import INDEX_FILE, PAIRS_FILE
from dpedkit.shards.layout import inspect_shard
from dpedkit.shards.thumbnails import Thumbnail

SIZE = 12
PAIRS = 5


# ------------------------------------------------------------------------------------- one photo


@given(st.integers(1, 700), st.integers(1, 700))
def test_the_longer_side_is_256_and_the_proportions_are_kept(height, width):
    thumbnail = make_thumbnail(np.zeros((height, width, 3), np.uint8))
    if max(height, width) <= 256:
        assert thumbnail.shape[:2] == (height, width)
    else:
        assert max(thumbnail.shape[:2]) == 256
        for side, whole in zip(thumbnail.shape, (height, width), strict=False):
            assert abs(side - max(1, whole * 256 / max(height, width))) <= 0.5


def test_each_pixel_is_the_mean_of_its_area():
    photo = np.random.default_rng(0).integers(0, 256, (300, 1024, 3), np.uint8)
    means = photo.reshape(75, 4, 256, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(make_thumbnail(photo), means, atol=0.5)


def test_a_small_photo_is_kept_as_it_is():
    photo = np.random.default_rng(1).integers(0, 256, (256, 3, 3), np.uint8)
    np.testing.assert_array_equal(make_thumbnail(photo), photo)


def test_what_is_no_photo_is_refused():
    with pytest.raises(TypeError, match="photo is a float64 array"):
        make_thumbnail(np.zeros((4, 4, 3)))


def test_the_crop_lies_where_its_pixels_are():
    """A white rectangle is the crop; the thumbnail is white there and nowhere else."""
    photo = np.zeros((800, 1200, 3), np.uint8)
    crop = (150, 75, 900, 600)
    photo[75:675, 150:1050] = 255
    small = Thumbnail.of(make_thumbnail(photo), (1200, 800), crop)
    x, y, width, height = small.crop
    white = small.pixels[..., 0] / 255
    assert white.sum(axis=1).max() == pytest.approx(width, abs=0.02)
    assert white.sum(axis=0).max() == pytest.approx(height, abs=0.02)
    centre = np.average(np.arange(256), weights=white.sum(axis=0))
    assert centre == pytest.approx(x + width / 2 - 0.5, abs=0.02)
    centre = np.average(np.arange(small.size[1]), weights=white.sum(axis=1))
    assert centre == pytest.approx(y + height / 2 - 0.5, abs=0.02)


# ----------------------------------------------------------------------------------- in a folder


def patches(count: int, pairs: np.ndarray) -> tuple[np.ndarray, ...]:
    phone = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return phone, phone, pairs  # equal, so that their NCC is the 1 that is recorded


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def folder(request, tmp_path, monkeypatch) -> Path:
    """Pairs 0 to 3 to train on, in shards of 8 patches, and pair 4 to test."""
    return make(tmp_path / "shards", monkeypatch, make_thumbnails(PAIRS, 3), request.param)


def make(path, monkeypatch, thumbnails, compress=False) -> Path:
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 8)
    train = patches(20, np.repeat([0, 1, 2, 3], [3, 9, 2, 6]))
    shards = write_shards(
        path,
        {"train": train, "test": patches(5, np.full(5, 4))},
        thumbnails,
        compress=compress,
    )
    distinct_windows(shards)
    return shards


def distinct_windows(shards: Path) -> None:
    """Give each patch its own corner, without which no folder is sound."""
    change(shards, lambda file: _set(file, "xy", np.arange(2 * len(file["ncc"])).reshape(-1, 2)))
    lines = [
        {**line, "dslr": line["name"], "tried": 9, "kept": 9, "dropped": {}}
        for line in read_jsonl(shards / PAIRS_FILE)
    ]
    write_jsonl(shards / PAIRS_FILE, lines)


def _set(file, name, values):
    file[name][:] = values


def change(shards: Path, trick, *, files: str = "*.h5") -> None:
    """Change shards, and the index with them, as a writer with a bug would."""
    index = read_json(shards / INDEX_FILE)
    for split in index["splits"].values():
        for entry in split["shards"]:
            path = shards / entry["file"]
            if path.match(files):
                with h5py.File(path, "r+") as file:
                    trick(file)
                entry["sha256"] = file_sha256(path)
    write_json(shards / INDEX_FILE, index)


def test_thumbnails_are_read_back_as_they_were_written(folder):
    reader = open_split(folder, "train")
    assert reader.has_thumbnails
    made = make_thumbnails(PAIRS, 3)
    found = reader.thumbnails([2, 0, 3, 2])
    for pair, thumbnail in zip([2, 0, 3, 2], found, strict=True):
        np.testing.assert_array_equal(thumbnail.pixels, made[pair].pixels)
        assert thumbnail.crop == pytest.approx(made[pair].crop, rel=1e-6)
        assert thumbnail.padded().shape == (256, 256, 3)
    assert found[0] is found[3]
    assert reader.thumbnails([]) == []
    with pytest.raises(DpedkitError, match=r"no thumbnail.*1 photo pair in its train.*4"):
        reader.thumbnails([1, 4])


def test_each_shard_has_those_of_its_own_pairs_and_h5py_reads_them(folder):
    expected = {"train-00000.h5": [0, 1], "train-00001.h5": [1, 2, 3], "train-00002.h5": [3]}
    made = make_thumbnails(PAIRS, 3)
    for name, pairs in expected.items():
        with h5py.File(folder / name) as file:
            assert file["thumbnail_pair"][:].tolist() == pairs
            for row, pair in enumerate(pairs):
                width, height = file["thumbnail_size"][row]
                pixels = file["thumbnail"][row]
                np.testing.assert_array_equal(pixels[:height, :width], made[pair].pixels)
                assert not pixels[height:].any() and not pixels[:, width:].any()


def test_a_sound_folder_verifies_and_is_described(folder):
    assert verify(folder).sound, verify(folder).as_text()
    described = describe(folder)
    assert {name: split.thumbnails for name, split in described.splits.items()} == {
        "train": 4,
        "val": 0,
        "test": 1,
    }


def test_a_reader_is_handed_to_other_processes_without_the_pixels(folder):
    reader = open_split(folder, "train")
    unused = len(pickle.dumps(reader))
    first = reader.thumbnails([1])[0]
    assert len(pickle.dumps(reader)) == unused < 8000
    again = pickle.loads(pickle.dumps(reader)).thumbnails([1])[0]
    np.testing.assert_array_equal(first.pixels, again.pixels)


def test_without_thumbnails_there_is_none_and_a_sentence_says_so(tmp_path, monkeypatch):
    some = make_thumbnails(PAIRS, 3)
    del some[2]
    for name, thumbnails in (("none", {}), ("some", some)):
        shards = make(tmp_path / name, monkeypatch, thumbnails)
        assert not open_split(shards, "train").has_thumbnails
        assert verify(shards).sound, verify(shards).as_text()
        with pytest.raises(DpedkitError, match=f"{name} has no thumbnail.*dpedkit patches"):
            DpedShards(shards, "train", thumbnails=True)
        assert len(DpedShards(shards, "train")[0]) == 2
    assert open_split(tmp_path / "some", "test").has_thumbnails
    with h5py.File(tmp_path / "none" / "train-00000.h5") as file:
        assert not any(name.startswith("thumbnail") for name in file)


# --------------------------------------------------------------------------------------- PyTorch


def test_the_dataset_returns_them_when_asked(folder):
    dataset = DpedShards(folder, "train", lambda *pair: [p.flip(-1) for p in pair], thumbnails=True)
    plain = DpedShards(folder, "train")
    made = make_thumbnails(PAIRS, 3)
    phone, _, thumbnail, size = dataset[13]
    assert torch.equal(phone, plain[13][0].flip(-1))
    assert thumbnail.dtype == torch.float32 and thumbnail.shape == (3, 256, 256)
    np.testing.assert_array_equal((thumbnail * 255).round().permute(1, 2, 0), made[2].padded())
    assert size.tolist() == list(made[2].size)
    assert torch.equal(dataset[-1][3], torch.tensor(made[3].size))
    batches = list(DataLoader(dataset, 8, num_workers=1))
    assert [tuple(batch[2].shape) for batch in batches] == [(8, 3, 256, 256)] * 2 + [
        (4, 3, 256, 256)
    ]
    assert torch.cat([batch[3] for batch in batches]).tolist() == [
        list(made[pair].size) for pair in dataset.reader.pair
    ]


# -------------------------------------------------------------------------------------- format 1


def test_format_1_is_read_like_format_2_without_thumbnails(tmp_path, monkeypatch):
    new = make(tmp_path / "new", monkeypatch, {})
    old = as_format_1(make(tmp_path / "old", monkeypatch, {}))
    assert verify(old).sound, verify(old).as_text()
    one, other = open_split(old, "train"), open_split(new, "train")
    assert not one.has_thumbnails
    for a, b in zip(one.gather(range(20)), other.gather(range(20)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert describe(old).splits["train"].thumbnails == 0
    assert "dataset_info" not in write_card(old).read_text()
    made = make(tmp_path / "with", monkeypatch, make_thumbnails(PAIRS, 3))
    lines = [{**line, "dslr": f"other {line['name']}"} for line in read_jsonl(made / PAIRS_FILE)]
    write_jsonl(made / PAIRS_FILE, lines)
    merge_shards([old, made], tmp_path / "merged", MergeConfig())
    assert verify(tmp_path / "merged").sound, verify(tmp_path / "merged").as_text()
    merged = open_split(tmp_path / "merged", "train")
    assert not merged.has_thumbnails
    assert len(merged.thumbnails([PAIRS + 1])) == 1


def test_format_1_with_thumbnails_beside_its_fields_is_read_without(tmp_path, monkeypatch):
    """Its version says that there are none."""
    old = as_format_1(make(tmp_path / "old", monkeypatch, make_thumbnails(PAIRS, 3)))
    assert not open_split(old, "train").has_thumbnails


# --------------------------------------------------------------------------------- from old to new


def test_filtering_keeps_those_of_the_pairs_that_are_left(folder, tmp_path):
    low = lambda file: _set(file, "ncc", np.where(file["pair"][:] == 1, 0.93, 1))  # noqa: E731
    change(folder, low)
    filter_shards(folder, tmp_path / "kept", FilterConfig(min_corr=0.95))
    filtered = open_split(tmp_path / "kept", "train")
    assert filtered.has_thumbnails and set(filtered.pair.tolist()) == {0, 2, 3}
    with pytest.raises(DpedkitError, match="no thumbnail"):
        filtered.thumbnails([1])
    np.testing.assert_array_equal(
        filtered.thumbnails([3])[0].pixels, make_thumbnails(PAIRS, 3)[3].pixels
    )
    lines = read_jsonl(tmp_path / "kept" / PAIRS_FILE)
    assert [line["thumbnail"] for line in lines] == [True, False, True, True, True]


def test_filtering_can_leave_all_of_them_out(folder, tmp_path):
    config = FilterConfig(min_corr=0.9, thumbnails=False)
    filter_shards(folder, tmp_path / "private", config)
    private = tmp_path / "private"
    assert verify(private).sound, verify(private).as_text()
    assert len(open_split(private, "train")) == 20
    assert read_json(private / INDEX_FILE)["patch_config"]["thumbnails"] is False
    assert "whole photo" not in (private / "README.md").read_text()
    for path in private.glob("*.h5"):
        assert b"thumbnail_pair" not in path.read_bytes()


def test_merging_renumbers_them_with_their_pairs(folder, tmp_path, monkeypatch):
    other = make(tmp_path / "other", monkeypatch, make_thumbnails(PAIRS, 8))
    merge_shards([folder, other], tmp_path / "merged", MergeConfig())
    merged = open_split(tmp_path / "merged", "train")
    assert merged.has_thumbnails
    for pair in range(4):
        for shift, seed in ((0, 3), (PAIRS, 8)):
            (found,) = merged.thumbnails([pair + shift])
            np.testing.assert_array_equal(found.pixels, make_thumbnails(PAIRS, seed)[pair].pixels)


def test_compressing_and_back_gives_the_same_bytes(tmp_path, monkeypatch):
    plain = make(tmp_path / "plain", monkeypatch, make_thumbnails(PAIRS, 3))
    merge_shards([plain], tmp_path / "one", MergeConfig())
    merge_shards([tmp_path / "one"], tmp_path / "packed", MergeConfig(compress=True))
    merge_shards([tmp_path / "packed"], tmp_path / "back", MergeConfig())
    for path in (tmp_path / "one").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "back" / path.name).read_bytes()
    packed = inspect_shard(tmp_path / "packed" / "train-00000.h5").thumbnails
    assert packed.compressed is not None
    assert packed.compressed.sizes.sum() < 0.5 * 2 * 256 * 256 * 3


def test_export_writes_them_when_asked(folder, tmp_path):
    export_patches(folder, tmp_path / "without", ExportConfig(image="png"))
    assert not list((tmp_path / "without").rglob("thumbnails*"))
    export_patches(folder, tmp_path / "dped", ExportConfig(image="png", thumbnails=True))
    home = tmp_path / "dped" / "iphone" / "training_data"
    made = make_thumbnails(PAIRS, 3)
    with (home / "thumbnails.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, (row, pair) in enumerate(zip(rows, open_split(folder, "train").pair, strict=True)):
        assert (row["patch"], row["thumbnail"]) == (str(number), f"{pair}.png")
        read = read_photo(home / "thumbnails" / row["thumbnail"])
        np.testing.assert_array_equal(read, made[pair].pixels)
        crop = [float(row[name]) for name in ("x", "y", "width", "height")]
        assert crop == pytest.approx(made[pair].crop, abs=1e-3)


def test_export_of_thumbnails_that_are_not_there_is_refused(tmp_path, monkeypatch):
    shards = make(tmp_path / "none", monkeypatch, {})
    with pytest.raises(DpedkitError, match="no thumbnail"):
        export_patches(shards, tmp_path / "out", ExportConfig(thumbnails=True))
    assert not (tmp_path / "out").exists()


def test_the_card_says_that_whole_photos_are_shown(folder, tmp_path):
    text = write_card(folder).read_text()
    assert "show the whole photos" in text and "--no-thumbnails" in text


def test_hugging_face_reads_patches_and_thumbnails(folder, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    write_card(folder)
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(folder), cache_dir=cache)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 20, "test": 5}
    expected, _ = open_split(folder, "train").gather([3])
    np.testing.assert_array_equal(np.array(found["train"][3]["phone"]), expected[0])
    photos = datasets.load_dataset(str(folder), "thumbnails", cache_dir=cache, split="train")
    assert photos["thumbnail_pair"][:] == [0, 1, 1, 2, 3, 3]  # one for each shard
    made = make_thumbnails(PAIRS, 3)
    np.testing.assert_array_equal(np.array(photos[3]["thumbnail"]), made[2].padded())
    assert photos[3]["thumbnail_size"] == list(made[2].size)


# ---------------------------------------------------------------------------------------- damage


def _renamed(name):
    def trick(file):
        file.move(name, "elsewhere")

    return trick


def _replaced(name, change, **storage):
    def trick(file):
        values = change(file[name][:])
        del file[name]
        file.create_dataset(name, data=values, **storage)

    return trick


def _wrong(name, row, value):
    def trick(file):
        file[name][row] = value

    return trick


DAMAGE = [
    (_renamed("thumbnail"), "no field 'thumbnail'"),
    (_renamed("thumbnail_pair"), "no field 'thumbnail_pair'"),
    (_renamed("thumbnail_crop"), "no field 'thumbnail_crop'"),
    (_replaced("thumbnail_pair", lambda v: v[:0]), "claims 0 thumbnails"),
    (_replaced("thumbnail_pair", lambda v: np.arange(99, dtype="<i4")), "claims 99 thumbnails"),
    (_replaced("thumbnail_pair", lambda v: v.astype("<i8")), "'thumbnail_pair' is <i8"),
    (_replaced("thumbnail", lambda v: v[:, :255]), "must be .*256, 256, 3"),
    (_replaced("thumbnail", lambda v: v, chunks=(2, 256, 256, 3)), "stored neither contiguously"),
    (_replaced("thumbnail_size", lambda v: v, chunks=True), "'thumbnail_size' is chunked"),
    (_wrong("thumbnail_pair", 1, 0), "not in ascending order"),
    (_wrong("thumbnail_pair", 0, -1), "not in ascending order"),
    (_wrong("thumbnail_size", 1, (257, 9)), "not of 1 to 256 px"),
    (_wrong("thumbnail_size", 0, (0, 9)), "not of 1 to 256 px"),
    (_wrong("thumbnail_crop", 0, (0, 0, 400, 2)), "does not lie in its thumbnail"),
    (_wrong("thumbnail_crop", 0, (-1, 0, 2, 2)), "does not lie in its thumbnail"),
    (_wrong("thumbnail_crop", 0, (0, 0, 0, 2)), "does not lie in its thumbnail"),
    (_wrong("thumbnail_crop", 1, (np.nan, 0, 1, 1)), "does not lie in its thumbnail"),
]


@pytest.mark.parametrize(("trick", "sentence"), DAMAGE)
def test_impossible_thumbnails_are_refused(folder, trick, sentence):
    change(folder, trick, files="train-00000.h5")
    with pytest.raises(DpedkitError, match=rf"train-00000\.h5.*{sentence}"):
        open_split(folder, "train")
    assert not verify(folder).sound


def test_a_link_in_place_of_thumbnails_is_refused(folder):
    def link(file):
        del file["thumbnail"]
        file["thumbnail"] = h5py.ExternalLink(str(folder / "train-00001.h5"), "thumbnail")

    change(folder, link, files="train-00000.h5")
    with pytest.raises(DpedkitError, match=r"'thumbnail' is a link to elsewhere"):
        open_split(folder, "train")


@pytest.mark.parametrize(
    ("trick", "sentence"),
    [
        (_wrong("thumbnail_pair", 1, 4), "thumbnails of photo pairs of which it has no patches"),
        (_wrong("thumbnail_size", 0, (9, 9)), "thumbnail of pair 0 does not end where its size"),
    ],
)
def test_verify_finds_thumbnails_that_do_not_fit_the_patches(
    tmp_path, monkeypatch, trick, sentence
):
    shards = make(tmp_path / "shards", monkeypatch, make_thumbnails(PAIRS, 3))
    change(shards, _wrong("thumbnail_crop", 0, (0, 0, 1, 1)), files="train-00000.h5")
    change(shards, trick, files="train-00000.h5")
    assert sentence in verify(shards).as_text()


@pytest.mark.parametrize("number", [0, 2])
def test_verify_finds_lines_that_are_wrong_about_thumbnails(tmp_path, monkeypatch, number):
    some = make_thumbnails(PAIRS, 3)
    del some[2]
    shards = make(tmp_path / "shards", monkeypatch, some)
    lines = read_jsonl(shards / PAIRS_FILE)
    lines[number]["thumbnail"] = not lines[number]["thumbnail"]
    write_jsonl(shards / PAIRS_FILE, lines)
    text = verify(shards).as_text()
    assert f"pair {number} has {'no' if number == 2 else 'a'} thumbnail in the shards" in text


def test_a_compressed_thumbnail_that_cannot_be_unpacked_is_named(tmp_path, monkeypatch):
    shards = make(tmp_path / "shards", monkeypatch, make_thumbnails(PAIRS, 3), compress=True)
    path = shards / "train-00001.h5"
    chunks = inspect_shard(path).thumbnails.compressed
    content = bytearray(path.read_bytes())
    content[chunks.offsets[1] : chunks.offsets[1] + 8] = b"no  zlib"
    path.write_bytes(content)
    with pytest.raises(DpedkitError, match=r"train-00001\.h5 is damaged: thumbnail 1"):
        open_split(shards, "train").thumbnails([2])
    change(shards, lambda file: None, files="train-00001.h5")
    assert "thumbnail 1 cannot be decompressed" in verify(shards).as_text()


def test_a_flipped_bit_of_a_thumbnail_is_found(tmp_path, monkeypatch):
    shards = make(tmp_path / "shards", monkeypatch, make_thumbnails(PAIRS, 3))
    path = shards / "test-00000.h5"
    content = bytearray(path.read_bytes())
    content[inspect_shard(path).thumbnails.offset + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DpedkitError, match=r"test-00000\.h5 is damaged: the SHA-256"):
        merge_shards([shards], tmp_path / "merged", MergeConfig())
