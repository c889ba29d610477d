"""Damaged and hostile lists, records and streams: one sentence each, and never a wait."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fake_shards import make_patches, write_shards
from PIL import Image

from dpedkit import images
from dpedkit.cli import execute
from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.core.lists import read_list
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.models import load_model
from dpedkit.shards import FilterConfig, MergeConfig, filter_shards, merge_shards, read_index
from dpedkit.training.config import TrainConfig

NESTED = "[" * 100_000
HUGE = "1" * 10_000
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.mark.parametrize("value", [NESTED, HUGE, '{"a": ' * 50_000])
def test_deep_and_huge_json_is_one_sentence(tmp_path, value):
    path = tmp_path / "a.json"
    path.write_text(value + "\n")
    for read in (read_json, read_jsonl):
        with pytest.raises(DpedkitError, match=r"a\.json.* damaged"):
            read(path)


@pytest.mark.parametrize("value", [NESTED, HUGE, NESTED + "]" * 100_000])
def test_deep_and_huge_toml_is_one_sentence(tmp_path, value):
    path = tmp_path / "a.toml"
    path.write_text(f"steps = {value}\n")
    with pytest.raises(DpedkitError, match=r"a\.toml is not valid TOML"):
        read_toml(path)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_settings_are_finite(value):
    with pytest.raises(DpedkitError, match="learning_rate is"):
        TrainConfig(learning_rate=value)


@pytest.mark.parametrize("cell", ["x" * 140_000, '"' + "x" * 140_000])
def test_a_cell_beyond_the_limit_of_csv_is_one_sentence(tmp_path, cell):
    path = tmp_path / "pairs.csv"
    path.write_text(f"phone,dslr\n{cell},b.jpg\n")
    with pytest.raises(DpedkitError, match=r"pairs\.csv, line 2 cannot be read"):
        read_list(path)


@pytest.fixture
def shards(tmp_path):
    folder = write_shards(tmp_path / "shards", {"train": make_patches(6, 32, 0)})
    pairs = [
        {"name": f"{n}", "dslr": f"{n}.jpg", "split": "train", "tried": 1, "kept": 1, "dropped": {}}
        for n in range(6)
    ]
    write_jsonl(folder / "pairs.jsonl", pairs)
    return folder


EDITS = {
    "no dropped": lambda pairs: pairs[0].pop("dropped"),
    "dropped is a list": lambda pairs: pairs[0].update(dropped=[1]),
    "a reason counts in words": lambda pairs: pairs[0].update(dropped={"flat": "many"}),
    "no split": lambda pairs: pairs[0].pop("split"),
    "another split": lambda pairs: pairs[0].update(split="holdout"),
    "a list for a split": lambda pairs: pairs[0].update(split=["train"]),
    "kept in words": lambda pairs: pairs[0].update(kept="all"),
    "a number for a photo": lambda pairs: pairs[0].update(dslr=7),
    "a histogram in words": lambda pairs: pairs[0].update(ncc_histogram="many"),
    "one line less": lambda pairs: pairs.pop(),
    "no lines": lambda pairs: pairs.clear(),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("command", ["filter", "merge"])
def test_edited_pairs_are_one_sentence(shards, tmp_path, edit, command):
    pairs = read_jsonl(shards / "pairs.jsonl")
    EDITS[edit](pairs)
    write_jsonl(shards / "pairs.jsonl", pairs)
    with pytest.raises(DpedkitError, match=r"pairs\.jsonl"):
        if command == "filter":
            filter_shards(shards, tmp_path / "out", FilterConfig(min_corr=0.9))
        else:
            merge_shards([shards], tmp_path / "out", MergeConfig())


@needs_pipes
class TestPipes:
    """Nothing writes into these: whoever opens one waits for ever."""

    @pytest.fixture
    def pipe(self, tmp_path):
        def make(name):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            os.mkfifo(path)
            return path

        return make

    @pytest.mark.parametrize("name", ["a.jpg", "a.dng"])
    def test_photos(self, pipe, name):
        path = pipe(name)
        for read in (images.read_photo, images.photo_size):
            with pytest.raises(PhotoError, match="not a regular file"):
                read(path)
        with pytest.raises(DpedkitError, match="not a regular file"):
            images.list_photos(path.parent)

    def test_models_lists_recipes_and_records(self, pipe):
        for read in (load_model, read_list, read_toml, read_json, read_jsonl):
            with pytest.raises(DpedkitError, match="not a regular file"):
                read(pipe("input"))

    def test_shards(self, pipe, shards):
        pipe("shards/train-00000.h5")
        with pytest.raises(DpedkitError, match="not a regular file"):
            filter_shards(shards, shards.parent / "out", FilterConfig())
        pipe("shards/index.json")
        with pytest.raises(DpedkitError, match=r"index\.json|not a shards folder"):
            read_index(shards)


def photo_folders(folder, name):
    for side in ("phone", "dslr"):
        (folder / side).mkdir()
        picture = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
        try:
            picture.save(os.fsdecode(os.fsencode(folder / side) + b"/" + name))
        except OSError:
            pytest.skip("this file system takes text as names only")


def test_names_that_are_no_text_cannot_stand_in_a_list(tmp_path, capsys):
    photo_folders(tmp_path, b"caf\xe9.png")
    output = tmp_path / "pairs.csv"
    folders = [str(tmp_path / side) for side in ("phone", "dslr")]
    assert execute(["pairs", *folders, "-o", str(output)]) == 1
    assert "cannot be listed" in capsys.readouterr().err
    assert not output.exists()


def run_command(arguments, shell_ending=""):
    line = f'exec "$0" -m dpedkit "$@" {shell_ending}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize("ending", ["2>&-", "<&-", "<&- 2>&-"])
def test_a_closed_stream_changes_nothing(shards, ending):
    command = ["shards", "info", shards, "--json"]
    done = run_command(command, ending)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_command(command).stdout != ""


def test_workers_have_the_streams_that_were_closed(shards):
    command = ["shards", "verify", shards, "-j", "2", "--json"]
    done, expected = run_command(command, "<&- 2>&-"), run_command(command)
    assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout)
    assert "died" not in done.stdout


def test_nothing_is_written_into_a_file_in_place_of_a_closed_stream(shards, tmp_path):
    done = run_command(
        ["shards", "merge", shards, "-o", tmp_path / "all", "--no-verify"], "1>&- 2>&-"
    )
    assert done.returncode == 0
    assert read_index(tmp_path / "all").count("train") == 6


def test_every_failure_is_one_object_with_json(shards, tmp_path, capsys, monkeypatch):
    (shards / "train-00000.h5").write_bytes(b"nothing")
    for arguments in (
        ["shards", "verify", str(shards), "--json"],
        ["train", str(tmp_path / "gone"), "--json"],
        ["shards", "filter", "--json"],
        ["--json"],
        ["no-such-command", "--json"],
    ):
        code = execute(arguments)
        result = json.loads(capsys.readouterr().out)
        assert code == result["exit_code"] != 0
        assert result["error"]

    def fault(*args):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("dpedkit.shards.describe", fault, raising=False)
    with pytest.raises(ZeroDivisionError):
        execute(["shards", "info", str(shards), "--json"])
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1
