"""Shards that are damaged on the disk are refused before anything is made from them."""

import os

import pytest
from fake_shards import make_patches, write_shards

from dpedkit.core.errors import DpedkitError
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.driver import evaluate
from dpedkit.models import build_generator, save_model
from dpedkit.shards import checksums
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.config import ExportConfig, FilterConfig, MergeConfig
from dpedkit.shards.conversion import filter_shards, merge_shards
from dpedkit.shards.export import export_patches
from dpedkit.training.config import TrainConfig
from dpedkit.training.loop import train


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(checksums.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path):
    splits = {"train": make_patches(12, 32, 0), "val": make_patches(3, 32, 1)}
    return write_shards(tmp_path / "shards", splits)


def zero(file, count=500):
    """Zero a stretch of pixels in place, as a bad disk would, and keep size and time."""
    state = file.stat()
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    assert any(content[middle : middle + count])
    content[middle : middle + count] = bytes(count)
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def run_train(shards, output, verify):
    config = TrainConfig(
        generator="srcnn", steps=1, batch=2, content="msssim-l1", norm="none", verify=verify,
        texture_weight=0.0, device="cpu",
    )  # fmt: skip
    train(shards, config, runs=output)


def run_evaluate(shards, output, verify):
    save_model(output.with_suffix(".safetensors"), build_generator("srcnn"), {})
    evaluate(output.with_suffix(".safetensors"), shards, EvaluateConfig(verify=verify))


USERS = {
    "filter": lambda s, o, v: filter_shards(s, o, FilterConfig(verify=v, min_corr=0.9)),
    "merge": lambda s, o, v: merge_shards([s], o, MergeConfig(verify=v)),
    "export": lambda s, o, v: export_patches(s, o, ExportConfig(verify=v)),
    "train": run_train,
    "evaluate": run_evaluate,
}


@pytest.mark.parametrize("user", ["export", "train", "evaluate", "filter", "merge"])
def test_damaged_shards_are_refused_by_name_with_the_cure(shards, tmp_path, user):
    zero(shards / "train-00000.h5")
    with pytest.raises(DpedkitError, match=r"train-00000\.h5 is damaged.*Copy.*--no-verify"):
        USERS[user](shards, tmp_path / "output", True)
    assert not (tmp_path / "output").exists()


def test_no_verify_uses_them_all_the_same(shards, tmp_path):
    zero(shards / "train-00000.h5")
    export_patches(shards, tmp_path / "output", ExportConfig(verify=False))
    assert len(list((tmp_path / "output").rglob("*.jpg"))) == 30


def test_splits_that_are_not_used_are_not_read(shards):
    zero(shards / "val-00000.h5")
    check_shards(shards, ["train", "test"])
    with pytest.raises(DpedkitError, match=r"val-00000\.h5"):
        check_shards(shards)


def test_a_missing_shard_is_named(shards):
    (shards / "train-00000.h5").unlink()
    with pytest.raises(DpedkitError, match=r"train-00000\.h5 is missing"):
        check_shards(shards)


class TestMemory:
    @pytest.fixture
    def reads(self, monkeypatch):
        """The files that were hashed, by name."""
        names = []
        before = checksums.file_sha256
        monkeypatch.setattr(
            checksums, "file_sha256", lambda path: names.append(path.name) or before(path)
        )
        return names

    @pytest.fixture
    def old(self, shards, monkeypatch):
        """Shards that were written long before they are read."""
        monkeypatch.setattr(checksums, "_SETTLED_NS", -1)
        return shards

    def test_a_sound_file_is_read_once(self, old, reads):
        check_shards(old)
        check_shards(old)
        assert sorted(reads) == ["train-00000.h5", "val-00000.h5"]

    def test_a_changed_file_is_read_again(self, old):
        check_shards(old)
        zero(old / "train-00000.h5")
        with pytest.raises(DpedkitError, match="damaged"):
            check_shards(old)

    def test_a_damaged_file_is_refused_every_time(self, old):
        zero(old / "train-00000.h5")
        for _ in range(2):
            with pytest.raises(DpedkitError, match="damaged"):
                check_shards(old)

    def test_a_file_of_this_moment_is_not_remembered(self, shards, reads):
        """It could change within the same tick of the file system's clock."""
        check_shards(shards)
        check_shards(shards)
        assert len(reads) == 4

    def test_a_copy_is_read_by_itself(self, old, reads, tmp_path):
        check_shards(old)
        old.rename(tmp_path / "moved")
        check_shards(tmp_path / "moved")
        assert len(reads) == 4

    @pytest.mark.parametrize("content", ["", "[1, 2", '{"a": 1}', "[]"])
    def test_a_damaged_memory_is_no_memory(self, old, tmp_path, content):
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "sound-shards.json").write_text(content)
        check_shards(old)

    def test_a_cache_that_cannot_be_written_costs_only_time(self, old, tmp_path):
        (tmp_path / "cache").write_text("a file where the folder should be")
        check_shards(old)
        check_shards(old)
