"""The shard format: what is written is read back, and strangers' files are refused."""

from __future__ import annotations

import dataclasses
import json
import mmap
import multiprocessing
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import write_jsonl
from dpedkit.shards import describe, open_split, pair_names, split_counts, verify
from dpedkit.shards import writer as shard_writer
from dpedkit.shards.config import ExportConfig
from dpedkit.shards.finished import file_sha256, remove_work
from dpedkit.shards.finishing import describe_splits
from dpedkit.shards.format import FIELDS, SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.layout import inspect_shard
from dpedkit.shards.statistics import window_totals
from dpedkit.shards.writer import Source, write_shard, write_split

SIZE = 12
Trick = Callable[[h5py.File, Path], None]


def columns(count: int, pair: int, seed: int) -> Columns:
    """Random patches whose NCC is right and whose windows differ.

    Gzip finds something to save in the DSLR's; the phone's noise it would only make larger.
    """
    rng = np.random.default_rng(seed)
    phone = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    dslr = np.clip(phone + rng.integers(-9, 10, phone.shape), 0, 255).astype(np.uint8) // 8 * 8
    weights = np.array([0.299, 0.587, 0.114])
    ncc = [
        np.corrcoef((a @ weights).ravel(), (b @ weights).ravel())[0, 1]
        for a, b in zip(phone, dslr, strict=True)
    ]
    return {
        "phone": phone,
        "dslr": dslr,
        "ncc": np.array(ncc, np.float32).reshape(count),
        "xy": np.column_stack([np.arange(count) * SIZE, np.zeros(count)]).astype(np.int32),
        "shift": rng.normal(size=(count, 2)).astype(np.float32),
        "angle": rng.normal(size=count).astype(np.float32),
        "shift_error": rng.random(count).astype(np.float32),
        "pair": np.full(count, pair, np.int32),
    }


PAIR_SPLITS = ("train", "test", "train", "val", "train")
PAIR_COUNTS = (7, 4, 9, 3, 6)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shards folder of five pairs, eight patches a shard."""
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 8)
    return make_folder(tmp_path / "shards", compress=False)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same patches in compressed shards."""
    monkeypatch.setattr(shard_writer, "PATCHES_PER_SHARD", 8)
    return make_folder(tmp_path / "packed", compress=True)


def make_folder(folder: Path, *, compress: bool) -> Path:
    folder.mkdir()
    pairs = [columns(count, number, number) for number, count in enumerate(PAIR_COUNTS)]
    entries = {}
    for split in SPLITS:
        mine = [pair for pair, its in zip(pairs, PAIR_SPLITS, strict=True) if its == split]
        sources = [Source(len(pair["ncc"]), lambda pair=pair: pair) for pair in mine]
        entries[split] = write_split(
            folder, split, sources, SIZE, {"min_corr": 0.9}, compress=compress
        )
    remove_work(folder)
    write_jsonl(
        folder / PAIRS_FILE,
        [{"name": f"p{n}", "split": split} for n, split in enumerate(PAIR_SPLITS)],
    )
    write_json(
        folder / INDEX_FILE,
        {
            "format": SHARD_FORMAT,
            "kind": KIND,
            "tool_version": "0",
            "config": {"min_corr": 0.9},
            "patch_config": {"min_corr": 0.9, "size": SIZE, "correlate": "luma"},
            "complete": True,
            "patch_size": SIZE,
            "splits": describe_splits(entries, []),
        },
    )
    return folder


def train_columns(name: str) -> np.ndarray:
    numbers = [n for n, split in enumerate(PAIR_SPLITS) if split == "train"]
    return np.concatenate([columns(PAIR_COUNTS[n], n, n)[name] for n in numbers])


@pytest.mark.parametrize("stored", ["folder", "packed"])
def test_gather_returns_the_written_pixels_in_the_order_asked(
    request: pytest.FixtureRequest, stored: str
) -> None:
    reader = open_split(request.getfixturevalue(stored), "train")
    assert len(reader) == 22
    assert reader.nbytes == 22 * 2 * SIZE * SIZE * 3
    order = np.random.default_rng(0).permutation(22)
    phone, dslr = reader.gather(order)
    np.testing.assert_array_equal(phone, train_columns("phone")[order])
    np.testing.assert_array_equal(dslr, train_columns("dslr")[order])
    assert phone.flags.writeable and phone.dtype == np.uint8
    one_shard = reader.gather([3, 1, 3])
    np.testing.assert_array_equal(one_shard[0], train_columns("phone")[[3, 1, 3]])
    into = np.zeros_like(phone), np.zeros_like(dslr)
    assert reader.gather(order, out=into)[0] is into[0]
    np.testing.assert_array_equal(into[1], dslr)


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system cannot be told")
@pytest.mark.parametrize("stored", ["folder", "packed"])
def test_announced_patches_are_those_that_the_system_is_told_of(
    request: pytest.FixtureRequest, stored: str
) -> None:
    reader = open_split(request.getfixturevalue(stored), "train")
    told = []

    class Told:
        def __init__(self, shard: int) -> None:
            self.shard = shard

        def madvise(self, advice: int, start: int, length: int) -> None:
            assert advice == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            told.append((self.shard, start, start + length))

    reader._files = [Told(shard) for shard in range(3)]  # type: ignore[misc]
    reader.announce([9, 21])
    for shard, row in ((1, 1), (2, 5)):
        layout = inspect_shard(reader.folder / f"train-{shard:05d}.h5")
        for name in ("phone", "dslr"):
            start, stop = layout.extent(name, row, row + 1)
            assert any(n == shard and a <= start and stop <= b for n, a, b in told)
    assert len(told) == 4
    open_split(reader.folder, "train").announce([0, 1])  # the system accepts it


@pytest.mark.parametrize("field", [field.name for field in FIELDS])
def test_every_field_is_read_back_across_shards(folder: Path, field: str) -> None:
    values = open_split(folder, "train").column(field)
    np.testing.assert_array_equal(values, train_columns(field))


def test_counts_names_and_description(folder: Path) -> None:
    assert split_counts(folder) == {"train": 22, "val": 3, "test": 4}
    assert pair_names(folder) == ["p0", "p1", "p2", "p3", "p4"]
    assert set(open_split(folder, "test").pair) == {1}
    described = describe(folder)
    assert described.splits["train"].shards == 3
    assert "patches of 12x12 px" in described.as_text()
    json.dumps(described.to_dict())


@pytest.mark.parametrize("index", [-1, 22])
def test_a_number_outside_the_split_is_an_index_error(folder: Path, index: int) -> None:
    with pytest.raises(IndexError):
        open_split(folder, "train").gather([0, index])


def test_a_split_without_patches_has_length_zero(folder: Path) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    index["splits"]["val"] = {"patches": 0, "shards": []}
    write_json(folder / INDEX_FILE, index)
    reader = open_split(folder, "val")
    assert len(reader) == 0
    assert reader.ncc.shape == (0,)
    assert reader.gather([])[0].shape == (0, SIZE, SIZE, 3)


def _sum_of_first(reader: object) -> int:
    return int(reader.gather([0])[0].sum())  # type: ignore[attr-defined]


@pytest.mark.parametrize("stored", ["folder", "packed"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_that_was_used_can_be_handed_to_other_processes(
    request: pytest.FixtureRequest, stored: str, method: str
) -> None:
    reader = open_split(request.getfixturevalue(stored), "train")
    here = _sum_of_first(reader)
    assert len(pickle.dumps(reader)) < 4000  # paths, not pixels
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_sum_of_first, (reader,)) == here


@pytest.mark.parametrize("compress", [False, True])
def test_the_same_patches_give_the_same_bytes_however_they_are_divided(
    tmp_path: Path, compress: bool
) -> None:
    whole = columns(10, 0, 0)
    halves = [
        {name: values[part] for name, values in whole.items()}
        for part in (slice(0, 3), slice(3, 10))
    ]
    write_shard(tmp_path / "a.h5", [whole], 10, SIZE, {}, compress=compress)
    write_shard(tmp_path / "b.h5", halves, 10, SIZE, {}, compress=compress)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_h5py_reads_compressed_shards_like_others(folder: Path, packed: Path) -> None:
    """Nothing but HDF5's own gzip is needed, and a chunk is one patch."""
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as plain, h5py.File(packed / path.name) as small:
            assert small["dslr"].compression == "gzip"
            assert small["dslr"].chunks == (1, SIZE, SIZE, 3)
            for field in FIELDS:
                np.testing.assert_array_equal(plain[field.name][:], small[field.name][:])


@pytest.mark.parametrize("stored", ["folder", "packed"])
def test_hugging_face_reads_a_shard_as_it_is(
    request: pytest.FixtureRequest, stored: str, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    path = request.getfixturevalue(stored) / "train-00001.h5"
    rows = datasets.load_dataset(
        "hdf5", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    expected = inspect_shard(path).columns()
    assert sorted(rows.column_names) == sorted(expected)
    for name, values in expected.items():
        found = np.array(rows[:][name])
        assert found.shape == values.shape
        np.testing.assert_array_equal(found.astype(values.dtype), values)


# ---------------------------------------------------------------------------- damaged folders


@pytest.mark.parametrize("stored", ["folder", "packed"])
def test_a_sound_folder_verifies(request: pytest.FixtureRequest, stored: str) -> None:
    found = verify(request.getfixturevalue(stored))
    assert found.sound, found.as_text()
    assert (found.patches, found.shards) == (29, 5)


def test_one_flipped_bit_is_found_and_the_file_named(folder: Path) -> None:
    path = folder / "train-00001.h5"
    content = bytearray(path.read_bytes())
    content[inspect_shard(path).offsets["phone"] + 5] ^= 1
    path.write_bytes(content)
    found = verify(folder)
    assert not found.sound
    assert "train-00001.h5" in found.as_text() and "SHA-256" in found.as_text()


def _spoil_chunk(path: Path) -> None:
    chunks = inspect_shard(path).compressed["dslr"]
    content = bytearray(path.read_bytes())
    content[chunks.offsets[2] : chunks.offsets[2] + 8] = b"no  zlib"
    path.write_bytes(content)


def test_a_patch_that_cannot_be_unpacked_is_found(packed: Path) -> None:
    """Even where the SHA-256 is that of the damaged file."""
    path = packed / "train-00001.h5"
    _spoil_chunk(path)
    with pytest.raises(DpedkitError, match=r"train-00001\.h5 is damaged: patch 2"):
        open_split(packed, "train").gather([8 + 2])
    index = json.loads((packed / INDEX_FILE).read_text())
    index["splits"]["train"]["shards"][1]["sha256"] = file_sha256(path)
    write_json(packed / INDEX_FILE, index)
    assert "train-00001.h5 is damaged: patch 2" in verify(packed).as_text()


@pytest.mark.parametrize("grow", [b"", b"x"])
def test_a_chunk_grows_to_one_patch_and_no_further(packed: Path, grow: bytes) -> None:
    """A few bytes of gzip can stand for gigabytes."""
    patches = inspect_shard(packed / "val-00000.h5").compressed["dslr"]
    chunk = zlib.compress(bytes(SIZE * SIZE * 3) + 10**7 * grow)
    bomb = packed / "bomb"
    bomb.write_bytes(chunk)
    table = {"offsets": np.array([0]), "sizes": np.array([len(chunk)]), "packed": np.array([True])}
    hostile = dataclasses.replace(patches, path=bomb, **table)
    if not grow:
        assert not hostile[0].any()
        return
    tracemalloc.start()
    with pytest.raises(DpedkitError, match="cannot be decompressed"):
        hostile[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_a_pair_in_two_splits_is_found(folder: Path) -> None:
    lines = [{"name": f"p{n}", "split": split} for n, split in enumerate(PAIR_SPLITS)]
    lines[2]["split"] = "test"
    write_jsonl(folder / PAIRS_FILE, lines)
    assert "pair 2 has patches in train" in verify(folder).as_text()


def test_an_unlisted_shard_is_found(folder: Path) -> None:
    (folder / "train-00009.h5").write_bytes(b"")
    assert "train-00009.h5 is not in the index" in verify(folder).as_text()


def test_values_that_contradict_the_pixels_are_found(folder: Path) -> None:
    """A writer with a bug: the SHA-256 is right, the content is not."""
    path = folder / "val-00000.h5"
    wrong = columns(3, 3, 3)
    wrong["ncc"] = wrong["ncc"] - 0.1
    wrong["xy"][1] = wrong["xy"][0]
    write_shard(path, [wrong], 3, SIZE, {})
    index = json.loads((folder / INDEX_FILE).read_text())
    index["splits"]["val"]["shards"][0]["sha256"] = file_sha256(path)
    write_json(folder / INDEX_FILE, index)
    text = verify(folder).as_text()
    assert "NCC of 3 of 3" in text and "same window twice" in text


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "train-00000.h5").unlink(), "train-00000.h5 is missing"),
        (lambda f: (f / "train-00000.h5").write_bytes(b"no shard"), "damaged or not a shard"),
        (lambda f: _truncate(f / "train-00000.h5"), r"train-00000\.h5.*copy it again"),
        (lambda f: (f / "train-00002.h5").replace(f / "train-00000.h5"), "index says"),
        (lambda f: (f / INDEX_FILE).unlink(), "has no index.json"),
        (lambda f: (f / INDEX_FILE).write_text("{"), "index.json is damaged"),
        (lambda f: _edit(f, kind="aligned"), "holds 'aligned' data"),
        (lambda f: _edit(f, format=99), "format 99"),
        (lambda f: _edit(f, complete=False), "not finished"),
        (lambda f: _edit(f, splits={}), "index.json is damaged"),
    ],
)
def test_a_damaged_folder_is_one_clear_sentence(folder: Path, damage, sentence: str) -> None:  # type: ignore[no-untyped-def]
    damage(folder)
    with pytest.raises(DpedkitError, match=sentence):
        open_split(folder, "train")


def test_missing_and_empty_folders_say_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DpedkitError, match="no such folder; make it with `dpedkit patches`"):
        open_split(tmp_path / "none", "train")
    with pytest.raises(DpedkitError, match="is empty"):
        open_split(tmp_path, "train")
    (tmp_path / "shard.h5").touch()
    with pytest.raises(DpedkitError, match=r"shard\.h5 is a file; give the folder"):
        open_split(tmp_path / "shard.h5", "train")


def test_an_index_cannot_reach_outside_its_folder(folder: Path) -> None:
    (folder / "train-00000.h5").replace(folder.parent / "train-00000.h5")
    index = json.loads((folder / INDEX_FILE).read_text())
    index["splits"]["train"]["shards"][0]["file"] = "../train-00000.h5"
    write_json(folder / INDEX_FILE, index)
    with pytest.raises(DpedkitError, match="not a valid shard"):
        open_split(folder, "train")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _edit(folder: Path, **values: object) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    write_json(folder / INDEX_FILE, {**index, **values})


# ---------------------------------------------------------------------------- strangers' files


def _external_link(file: h5py.File, other: Path) -> None:
    del file["phone"]
    file["phone"] = h5py.ExternalLink(str(other), "phone")


def _soft_link(file: h5py.File, other: Path) -> None:
    del file["dslr"]
    file["dslr"] = h5py.SoftLink("/phone")


def _external_storage(file: h5py.File, other: Path) -> None:
    shape = file["phone"].shape
    del file["phone"]
    file.create_dataset("phone", shape, "u1", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def _virtual(file: h5py.File, other: Path) -> None:
    shape = file["phone"].shape
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(str(other), "phone", shape)
    del file["phone"]
    file.create_virtual_dataset("phone", layout)


def _rechunked(**storage: object) -> Trick:
    def trick(file: h5py.File, other: Path) -> None:
        pixels = file["phone"][:]
        del file["phone"]
        file.create_dataset("phone", data=pixels, **storage)

    return trick


def _chunks_missing(file: h5py.File, other: Path) -> None:
    shape = file["phone"].shape
    del file["phone"]
    file.create_dataset("phone", shape, "u1", chunks=(1, *shape[1:]), compression="gzip")


def _small_field_chunked(file: h5py.File, other: Path) -> None:
    values = file["ncc"][:]
    del file["ncc"]
    file.create_dataset("ncc", data=values, chunks=(1,), compression="gzip")


def _group(file: h5py.File, other: Path) -> None:
    del file["ncc"]
    file.create_group("ncc")


def _wrong_dtype(file: h5py.File, other: Path) -> None:
    values = file["ncc"][:].astype(">f8")
    del file["ncc"]
    file["ncc"] = values


def _wrong_shape(file: h5py.File, other: Path) -> None:
    del file["xy"]
    file["xy"] = np.zeros((3, 3), np.int32)


def _absurd_size(file: h5py.File, other: Path) -> None:
    file.attrs["patch_size"] = np.int64(2**40)


def _future_format(file: h5py.File, other: Path) -> None:
    file.attrs["format"] = np.int64(SHARD_FORMAT + 1)


def _past_format(file: h5py.File, other: Path) -> None:
    file.attrs["format"] = np.int64(0)


def _format_as_text(file: h5py.File, other: Path) -> None:
    file.attrs["format"] = "1"


def _no_field(file: h5py.File, other: Path) -> None:
    del file["angle"]


@pytest.mark.parametrize(
    "trick",
    [
        _external_link,
        _soft_link,
        _external_storage,
        _virtual,
        _rechunked(chunks=(2, SIZE, SIZE, 3), compression="gzip"),
        _rechunked(chunks=(1, SIZE, SIZE, 3)),
        _rechunked(chunks=(1, SIZE, SIZE, 3), compression="lzf"),
        _rechunked(chunks=(1, SIZE, SIZE, 3), compression="gzip", shuffle=True),
        _chunks_missing,
        _small_field_chunked,
        _group,
        _wrong_dtype,
        _wrong_shape,
        _absurd_size,
        _future_format,
        _past_format,
        _format_as_text,
        _no_field,
    ],
)
def test_a_shard_that_is_not_plain_data_is_refused(tmp_path: Path, trick: Trick) -> None:
    other, path = tmp_path / "other.h5", tmp_path / "train-00000.h5"
    for target in (other, path):
        write_shard(target, [columns(3, 0, 0)], 3, SIZE, {})
    inspect_shard(path)
    with h5py.File(path, "r+") as file:
        trick(file, other)
    with pytest.raises(DpedkitError, match=r"train-00000\.h5"):
        inspect_shard(path)


def test_a_claim_of_more_data_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.h5"
    write_shard(path, [columns(3, 0, 0)], 3, SIZE, {})
    with h5py.File(path, "r+") as file:
        for field in FIELDS:
            del file[field.name]
            # Contiguous space is only taken when something is written.
            file.create_dataset(field.name, field.shape(10**9, SIZE), field.dtype)
    with pytest.raises(DpedkitError, match="cut short"):
        inspect_shard(path)


@pytest.mark.parametrize("count", [-1, 10**9, 2**61, 2**62, 2**63 - 1])
def test_an_absurd_number_of_patches_is_refused(tmp_path: Path, count: int) -> None:
    """Counts whose bytes would wrap round in 64 bits are among them."""
    path = tmp_path / "train-00000.h5"
    write_shard(path, [columns(77, 0, 0)], 77, SIZE, {})
    # Object headers hold the extent of one-dimensional fields twice: as it is, and at most.
    extent, wanted = (77).to_bytes(8, "little"), count.to_bytes(8, "little", signed=True)
    content = path.read_bytes()
    assert content.count(extent * 2) == 4
    path.write_bytes(content.replace(extent * 2, wanted * 2))
    with pytest.raises(DpedkitError, match=r"train-00000\.h5"):
        inspect_shard(path)


@pytest.mark.parametrize(
    "name", ["canon", "Canon", "../../zz", "/tmp/zz", "a/b", "", ".", "..", "a\\b"]
)
def test_export_takes_plain_folder_names_only(name):
    with pytest.raises(UsageError, match="phone is"):
        ExportConfig(phone=name)


def test_histograms_in_other_bins_are_not_added_up():
    pair = {"tried": 2, "kept": 1, "dropped": {"flat": 1}, "shift_histogram": [1] * 160}
    older = pair | {"shift_histogram": [5] * 32}
    totals = window_totals([pair, older])
    assert totals["tried"] == 4
    assert totals["shift"]["counts"] == [1] * 160
