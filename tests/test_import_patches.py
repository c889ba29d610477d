"""Published patch pairs become shards: what is found, in what order, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_shards import make_patches
from PIL import Image

from dpedkit.core.errors import DpedkitError, OutputExistsError, TooManyRejectedError
from dpedkit.import_patches import driver
from dpedkit.import_patches.config import ImportPatchesConfig
from dpedkit.import_patches.driver import import_patches
from dpedkit.shards import ExportConfig, export_patches, open_split, pair_names, verify

SIZE = 24


def write_patches(folder: Path, patches: np.ndarray, suffix: str = "png") -> Path:
    folder.mkdir(parents=True)
    for number, patch in enumerate(patches):
        Image.fromarray(patch).save(folder / f"{number}.{suffix}")
    return folder


def write_dped(root: Path, counts: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The folders of DPED, as PNG to know every pixel; returns the patches of each place."""
    written = {}
    for seed, (place, count) in enumerate(counts.items()):
        phone, dslr, _ = make_patches(count, SIZE, seed)
        write_patches(root / place / root.name, phone)
        write_patches(root / place / "canon", dslr)
        written[place] = phone, dslr
    return written


def run_import(folder, output, dslr=None, *, jobs=1, overwrite=False, **settings):
    config = ImportPatchesConfig(**settings)
    return import_patches(folder, dslr, output, config, jobs=jobs, overwrite=overwrite)


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


@pytest.fixture
def small_shards(monkeypatch):
    """Shards and pieces of work so small that a few patches fill several."""
    monkeypatch.setattr(driver, "PATCHES_PER_SHARD", 7)
    monkeypatch.setattr(driver, "_PAIRS_AT_ONCE", 3)


def test_dped_keeps_its_splits_and_its_order(tmp_path, small_shards):
    root = tmp_path / "dped" / "iphone"
    written = write_dped(root, {"training_data": 23, "test_data/patches": 11})
    summary = run_import(root, tmp_path / "shards")
    assert summary.patches == {"train": 23, "val": 0, "test": 11}
    for split, place in (("train", "training_data"), ("test", "test_data/patches")):
        reader = open_split(tmp_path / "shards", split)
        phone, dslr = reader.gather(np.arange(len(reader)))
        np.testing.assert_array_equal(phone, written[place][0])
        np.testing.assert_array_equal(dslr, written[place][1])
    assert pair_names(tmp_path / "shards")[9:12] == ["train/9", "train/10", "train/11"]
    assert verify(tmp_path / "shards").sound
    # The folder above will do as long as it holds one phone.
    assert run_import(root.parent, tmp_path / "other").patches == summary.patches
    assert shard_bytes(tmp_path / "other") == shard_bytes(tmp_path / "shards")


def test_any_number_of_workers_gives_the_same_bytes(tmp_path, small_shards):
    write_dped(tmp_path / "sony", {"training_data": 20})
    run_import(tmp_path / "sony", tmp_path / "one")
    run_import(tmp_path / "sony", tmp_path / "two", jobs=2)
    assert shard_bytes(tmp_path / "one") == shard_bytes(tmp_path / "two")


def test_what_export_writes_comes_back(tmp_path):
    write_dped(tmp_path / "iphone", {"training_data": 6, "val_data/patches": 4})
    first = run_import(tmp_path / "iphone", tmp_path / "shards")
    config = ExportConfig(phone="pixel", image="png")
    export_patches(tmp_path / "shards", tmp_path / "exported", config)
    again = run_import(tmp_path / "exported" / "pixel", tmp_path / "again")
    assert first.patches == again.patches == {"train": 6, "val": 4, "test": 0}
    for split in ("train", "val"):
        readers = [open_split(tmp_path / name, split) for name in ("shards", "again")]
        for a, b in zip(*(reader.gather(range(len(reader))) for reader in readers), strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_plain_folders(tmp_path):
    phone, dslr, _ = make_patches(5, SIZE, 0)
    sides = write_patches(tmp_path / "p", phone, "jpg"), write_patches(tmp_path / "canon", dslr)
    assert run_import(sides[0], tmp_path / "a", sides[1]).patches["test"] == 5
    assert run_import(sides[0], tmp_path / "b", sides[1], split="train").patches["train"] == 5
    both = tmp_path / "both"
    both.mkdir()
    for side in sides:
        side.rename(both / side.name)
    assert run_import(both, tmp_path / "c").patches["test"] == 5
    reader = open_split(tmp_path / "c", "test")
    phone_luma, dslr_luma = (x @ [0.299, 0.587, 0.114] for x in reader.gather([3]))
    expected = np.corrcoef(phone_luma.ravel(), dslr_luma.ravel())[0, 1]
    assert reader.ncc[3] == pytest.approx(expected, abs=1e-6)


def test_names_that_do_not_match_are_listed(tmp_path):
    write_dped(tmp_path / "iphone", {"training_data": 15})
    sides = [tmp_path / "iphone" / "training_data" / name for name in ("iphone", "canon")]
    for number in (3, 11, 2, 7):
        (sides[1] / f"{number}.png").unlink()
    (sides[0] / "5.png").unlink()
    with pytest.raises(DpedkitError) as caught:
        run_import(tmp_path / "iphone", tmp_path / "shards")
    assert f"only in {sides[0]}: 2, 3, 7 and 1 more; only in {sides[1]}: 5)" in str(caught.value)
    assert not (tmp_path / "shards").exists()


def test_unreadable_patches_are_left_out_and_named(tmp_path, small_shards, caplog):
    write_dped(tmp_path / "iphone", {"training_data": 12, "test_data/patches": 3})
    bad = tmp_path / "iphone" / "training_data" / "canon" / "4.png"
    bad.write_bytes(bad.read_bytes()[:200])
    small = tmp_path / "iphone" / "training_data" / "iphone" / "8.png"
    Image.new("RGB", (SIZE, SIZE - 1)).save(small)
    with pytest.raises(TooManyRejectedError, match="2 of 15 patch pairs") as caught:
        run_import(tmp_path / "iphone", tmp_path / "shards")
    summary = caught.value.summary
    assert list(summary.failed) == ["train/4", "train/8"]
    assert "canon/4.png is damaged" in summary.as_text()
    assert f"{small.parent.name}/8.png is 24x23 px" in summary.as_text()
    assert str(bad) in caplog.text
    assert summary.patches == {"train": 10, "val": 0, "test": 3}
    assert open_split(tmp_path / "shards", "train").pair.tolist() == [
        *(0, 1, 2, 3, 5, 6),
        *(7, 9, 10, 11),
    ]
    assert verify(tmp_path / "shards").sound
    allowed = run_import(tmp_path / "iphone", tmp_path / "shards", max_failed=0.2)
    assert allowed.failed == summary.failed
    json.dumps(allowed.to_dict(), allow_nan=False)


RUN_IN_PROCESS = """
import sys
from pathlib import Path
from dpedkit.import_patches import driver
from dpedkit.import_patches.config import ImportPatchesConfig
driver.PATCHES_PER_SHARD, driver._PAIRS_AT_ONCE = 7, 3
folder, output = map(Path, sys.argv[1:])
driver.import_patches(folder, None, output, ImportPatchesConfig(), jobs=1)
"""


def test_killed_and_continued_gives_the_same_bytes(tmp_path, small_shards):
    write_dped(tmp_path / "iphone", {"training_data": 400})
    run_import(tmp_path / "iphone", tmp_path / "whole")
    output = tmp_path / "killed"
    arguments = [sys.executable, "-c", RUN_IN_PROCESS, str(tmp_path / "iphone"), str(output)]
    process = subprocess.Popen(arguments)
    while process.poll() is None and len(list(output.glob("*.h5"))) < 3:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(output.glob("*.h5"))) < 58
    run_import(tmp_path / "iphone", output)
    assert shard_bytes(output) == shard_bytes(tmp_path / "whole")
    assert sorted(p.name for p in output.iterdir() if p.suffix != ".h5") == [
        "index.json",
        "pairs.jsonl",
    ]


def test_other_patches_or_settings_are_refused(tmp_path):
    write_dped(tmp_path / "iphone", {"training_data": 4})
    run_import(tmp_path / "iphone", tmp_path / "shards")
    before = shard_bytes(tmp_path / "shards")
    run_import(tmp_path / "iphone", tmp_path / "shards")  # complete: nothing to do
    with pytest.raises(OutputExistsError, match="split: was 'test', now 'val'"):
        run_import(tmp_path / "iphone", tmp_path / "shards", split="val")
    for side in ("iphone", "canon"):
        (tmp_path / "iphone" / "training_data" / side / "3.png").unlink()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run_import(tmp_path / "iphone", tmp_path / "shards")
    assert shard_bytes(tmp_path / "shards") == before
    run_import(tmp_path / "iphone", tmp_path / "shards", overwrite=True)
    assert len(open_split(tmp_path / "shards", "train")) == 3


def test_what_is_no_folder_of_patches(tmp_path):
    with pytest.raises(DpedkitError, match="no such folder"):
        run_import(tmp_path / "none", tmp_path / "shards")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DpedkitError, match="does not have the folders of DPED"):
        run_import(tmp_path / "empty", tmp_path / "shards")
    with pytest.raises(DpedkitError, match="holds no patches"):
        run_import(tmp_path / "empty", tmp_path / "shards", tmp_path / "empty")
    write_dped(tmp_path / "dped" / "iphone", {"training_data": 1})
    write_dped(tmp_path / "dped" / "sony", {"training_data": 1})
    with pytest.raises(DpedkitError, match=r"several phones \(iphone, sony\)"):
        run_import(tmp_path / "dped", tmp_path / "shards")
    (tmp_path / "dped" / "sony" / "training_data" / "third").mkdir()
    with pytest.raises(DpedkitError, match="it holds canon, sony, third"):
        run_import(tmp_path / "dped" / "sony", tmp_path / "shards")
    photos = [
        write_patches(tmp_path / name, np.zeros((1, 30, 40, 3), np.uint8)) for name in ("a", "b")
    ]
    with pytest.raises(DpedkitError, match="use `dpedkit align`"):
        run_import(photos[0], tmp_path / "shards", photos[1])
    Image.new("RGB", (SIZE, SIZE)).save(photos[0] / "0.jpg")
    with pytest.raises(DpedkitError, match=r"holds both 0\.jpg and 0\.png"):
        run_import(photos[0], tmp_path / "shards", photos[1])
    assert not (tmp_path / "shards").exists()


def test_a_patch_that_kills_its_decoder_is_left_out_and_the_others_are_read(
    tmp_path, small_shards, monkeypatch
):
    root = tmp_path / "iphone"
    written = write_dped(root, {"test_data/patches": 8})
    seen = []

    def dying(function, items, jobs, *, lost):
        for item in items:
            seen.append(len(item))
            deadly = any(phone.stem == "4" for _, (phone, _) in item)
            yield lost(item, "its process died (SIGSEGV)") if deadly else function(item)

    monkeypatch.setattr(driver, "ordered_map", dying)
    summary = run_import(root, tmp_path / "shards", split="test", max_failed=0.5)
    assert (summary.patches["test"], seen) == (7, [3, 3, 1, 1, 1, 1, 1])
    phone, _ = open_split(tmp_path / "shards", "test").gather(range(7))
    np.testing.assert_array_equal(phone, np.delete(written["test_data/patches"][0], 4, axis=0))
    lines = (tmp_path / "shards" / "pairs.jsonl").read_text().splitlines()
    (error,) = [record["error"] for record in map(json.loads, lines) if record.get("error")]
    assert error == "iphone/4.png and its DSLR patch could not be read: its process died (SIGSEGV)"
