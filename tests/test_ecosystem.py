"""What dpedkit writes in the hands of others: Hugging Face, PyTorch's loader and hub, the shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import write_shards
from torch.utils.data import DataLoader

import dpedkit
from dpedkit.align.config import AlignFoldersConfig
from dpedkit.align.sidecars import IMAGE_LIST, write_image_list
from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.core.records import ACCEPTED, REJECTED, PairRecord, SourcePhoto
from dpedkit.images import write_photo
from dpedkit.models import build_generator, save_model
from dpedkit.shards import open_split
from dpedkit.shards.card import write_card
from dpedkit.shards.index import INDEX_FILE, PAIRS_FILE

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(11)


def patches(count: int, pairs: int) -> tuple[np.ndarray, ...]:
    phone, dslr = RNG.integers(0, 256, (2, count, 20, 20, 3), dtype=np.uint8)
    return phone, dslr, np.sort(RNG.integers(0, pairs, count)).astype(np.int32)


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_shards(tmp_path / "shards", {"train": patches(30, 4), "test": patches(7, 2)})


def record(name: str, camera: str, *, accepted: bool = True) -> PairRecord:
    return PairRecord(
        0,
        name,
        ACCEPTED if accepted else REJECTED,
        "" if accepted else "blurred",
        SourcePhoto(f"/raw/{name}.jpg", 1, 1, camera="Apple iPhone X"),
        SourcePhoto(f"/raw/{name}.nef", 1, 1, camera=camera),
        evidence={"residual_median": 0.25, "ncc": 1} if accepted else {},
    )


@pytest.fixture
def aligned(tmp_path) -> Path:
    """Two accepted pairs and a rejected one, with pictures and other files beside them."""
    folder = tmp_path / "aligned"
    records = [record("b", "Nikon D5500"), record("c", "Nikon D5500", accepted=False),
               record("a", "")]  # fmt: skip
    for side, level in (("phone", 40), ("dslr", 200)):
        (folder / side).mkdir(parents=True)
        for name in "ab":
            write_photo(folder / side / f"{name}.png", np.full((8, 9, 3), level, np.uint8))
    (folder / "report" / "thumbnails").mkdir(parents=True)
    write_photo(folder / "report" / "thumbnails" / "a.jpg", np.zeros((4, 4, 3), np.uint8))
    write_image_list(folder, records, AlignFoldersConfig())
    return folder


class TestImageFolder:
    def test_lists_the_images_of_accepted_pairs(self, aligned):
        rows = read_jsonl(aligned / IMAGE_LIST)
        assert [row["name"] for row in rows] == ["b", "a"]
        for row in rows:
            assert (aligned / row["phone_file_name"]).is_file()
            assert (aligned / row["dslr_file_name"]).is_file()
        assert rows[0]["dslr_camera"] == "Nikon D5500"

    def test_without_images_there_is_no_list(self, aligned):
        write_image_list(aligned, [], AlignFoldersConfig(images=False))
        assert not (aligned / IMAGE_LIST).exists()

    def test_hugging_face_sees_two_image_columns(self, aligned, tmp_path):
        datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
        found = datasets.load_dataset(
            "imagefolder", data_dir=str(aligned), cache_dir=str(tmp_path / "cache"), split="train"
        )
        assert len(found) == 2
        by_name = {row["name"]: row for row in found}
        assert by_name["a"]["phone"].size == by_name["a"]["dslr"].size == (9, 8)
        assert np.asarray(by_name["b"]["dslr"])[0, 0, 0] == 200


class TestCard:
    def test_says_what_is_in_the_folder(self, shards):
        cameras = [["Apple iPhone X", "Nikon D5500"]] * 2 + [["Apple iPhone X", "Nikon Z6"]]
        kept = [{"name": f"{n}", "kept": 5, "cameras": both} for n, both in enumerate(cameras)]
        dropped = {"name": "3", "kept": 0, "cameras": ["Apple iPhone X", "Nikon D5500"]}
        write_jsonl(shards / PAIRS_FILE, [*kept, dropped])
        index = read_json(shards / INDEX_FILE)
        index["patch_config"]["licence"] = "cc-by-4.0"
        write_json(shards / INDEX_FILE, index)
        text = write_card(shards).read_text()
        assert 'pretty_name: "Patch pairs: Apple iPhone X and Nikon D5500"' in text
        assert 'license: "cc-by-4.0"' in text
        assert "- phone: Apple iPhone X (3 photos)" in text
        assert "- DSLR: Nikon D5500 (2 photos), Nikon Z6 (1 photo)" in text
        described = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
        assert described["train"].endswith("| 30 |") and described["test"].endswith("| 7 |")
        assert 'path: "val-*.h5"' not in text  # there are none
        assert "| min_corr |" in text

    def test_without_a_licence_it_says_so(self, shards):
        text = write_card(shards).read_text()
        assert "Photos: unknown. Ask the photographers" in text
        assert "- phone: not known" in text

    def test_hugging_face_reads_the_splits(self, shards, tmp_path):
        datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
        write_card(shards)
        found = datasets.load_dataset(str(shards), cache_dir=str(tmp_path / "cache"))
        assert {split: len(rows) for split, rows in found.items()} == {"train": 30, "test": 7}
        expected, _ = open_split(shards, "train").gather([3])
        np.testing.assert_array_equal(np.array(found["train"][3]["phone"]), expected[0])
        stated = re.search(r"patches\.(with_format\(.*\))", (shards / "README.md").read_text())
        patch = eval(f"found.{stated[1]}")["train"][3]["phone"]
        assert isinstance(patch, np.ndarray) and patch.dtype == np.uint8
        np.testing.assert_array_equal(patch, expected[0])


class TestDpedShards:
    def test_pairs_are_those_of_the_shards(self, shards):
        dataset = dpedkit.DpedShards(shards, "train")
        assert len(dataset) == 30
        phone, dslr = open_split(shards, "train").gather(range(30))
        for index in (0, 17, -1):
            for found, stored in zip(dataset[index], (phone, dslr), strict=True):
                assert found.dtype == torch.float32 and found.shape == (3, 20, 20)
                np.testing.assert_array_equal((found * 255).round().permute(1, 2, 0), stored[index])
        with pytest.raises(IndexError):
            dataset[30]
        assert len(list(dataset)) == 30

    @pytest.mark.parametrize("workers", [0, 1])
    def test_in_pytorchs_loader(self, shards, workers):
        loader = DataLoader(dpedkit.DpedShards(str(shards), "test"), 4, num_workers=workers)
        batches = [phone for phone, _ in loader]
        assert [tuple(batch.shape) for batch in batches] == [(4, 3, 20, 20), (3, 3, 20, 20)]
        phone, _ = open_split(shards, "test").gather(range(7))
        whole = torch.cat(batches).permute(0, 2, 3, 1)
        np.testing.assert_array_equal((whole * 255).round(), phone)

    def test_a_transform_sees_both_patches(self, shards):
        plain = dpedkit.DpedShards(shards, "test")
        turned = dpedkit.DpedShards(shards, "test", lambda *pair: [p.flip(-1) for p in pair])
        for before, after in zip(plain[2], turned[2], strict=True):
            assert torch.equal(before.flip(-1), after)


class TestHub:
    @pytest.fixture
    def model(self, tmp_path) -> Path:
        path = tmp_path / "model.safetensors"
        save_model(path, build_generator("srcnn"), {})
        return path

    def test_a_network_from_its_file(self, model):
        loaded = torch.hub.load(str(ROOT), "enhancer", str(model), source="local")
        photos = torch.rand(1, 3, 16, 24)
        with torch.no_grad():
            assert torch.equal(loaded(photos), dpedkit.load_model(str(model))(photos))

    def test_an_untrained_network(self):
        network = torch.hub.load(str(ROOT), "generator", "srcnn", source="local")
        assert network.architecture == "srcnn"


@pytest.mark.parametrize(
    ("words", "expected"), [("dpedkit al", "align"), ("dpedkit align --pair-b", "--pair-by"),
                            ("dpedkit pairs a b --pair-by t", "time")],
)  # fmt: skip
def test_the_shell_completes(words, expected):
    environment = {
        **os.environ,
        "_DPEDKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    command = [sys.executable, "-m", "dpedkit"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"plain,{expected}"], done.stderr
