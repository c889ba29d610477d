"""From two folders of raw photos to an enhanced photo, through the command line alone."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from html import unescape

import h5py
import numpy as np
import pytest

from dpedkit.cli import execute

SMALL = ("--pairs", "4", "--phone-megapixels", "0.35", "--dslr-megapixels", "0.9")
TINY_TRAINING = (
    *("--generator", "colour-residual", "--steps", "4", "--batch", "2", "--content", "msssim-l1"),
    *("--texture-weight", "0", "--colour-weight", "0", "--tv-weight", "0"),
    *("--pixel-weight", "1", "--evaluate-every", "2", "--evaluate-patches", "4"),
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_json(capsys, *arguments):
    """The exit code and the one JSON object on stdout."""
    capsys.readouterr()
    code = execute([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_commands_one_after_the_other(here, capsys):
    code, made = run_json(capsys, "simulate", *SMALL)
    assert (code, made["pairs"]) == (0, 4)
    code, aligned = run_json(capsys, "align", "raw/iphone", "raw/canon", "-j", "1")
    assert (code, aligned["accepted"]) == (0, 4)
    code, cut = run_json(capsys, "patches", "--min-corr", "0.8", "-j", "1")
    assert code == 0
    assert cut["kept"] > 20
    code, _ = run_json(capsys, "train", "shards/", *TINY_TRAINING)
    assert code == 0
    assert (here / "runs/001/model.safetensors").is_file()
    assert (here / "runs/001/last.safetensors").is_file()
    code, measured = run_json(capsys, "evaluate", "runs/001", "shards/")
    assert code == 0
    assert {split["split"] for split in measured["splits"]} == {"train", "val", "test"}
    assert measured["verdict"] in unescape((here / "runs/001/report/index.html").read_text())
    code, _ = run_json(
        capsys, "enhance", "runs/001", "raw/iphone/0001.jpg", "-o", "out", "--side-by-side"
    )
    assert code == 0
    assert (here / "out/0001.jpg").is_file()
    assert (here / "out/0001-before-after.jpg").is_file()
    for folder in ("aligned", "shards", "runs/001"):
        page = (here / folder / "report/index.html").read_text()
        assert page.startswith("<!doctype html>")
        assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "needs a network"
    # The same again does nothing over, and other settings are refused.
    image = here / "aligned/dslr/0001.png"
    before = image.stat().st_mtime_ns
    assert execute(["align", "raw/iphone", "raw/canon", "-q"]) == 0
    assert execute(["align", "raw/iphone", "raw/canon", "--min-verified", "50"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert len((here / "aligned/pairs.jsonl").read_text().splitlines()) == 4
    assert image.stat().st_mtime_ns == before


def test_rejected_pairs_beyond_the_limit_are_exit_code_3(here, capsys):
    assert execute(["simulate", *SMALL, "--pairs", "3", "-q"]) == 0
    for name in ("0001", "0002"):
        (here / f"raw/iphone/{name}.jpg").write_text("no photo")
    code, result = run_json(capsys, "align", "raw/iphone", "raw/canon", "-j", "1")
    assert code == result["exit_code"] == 3
    assert (result["accepted"], result["rejected"]) == (1, 2)
    assert "2 of 3 pairs were rejected" in result["error"]
    assert "not a photo" in (here / "aligned/report/index.html").read_text()


def test_ctrl_c_is_exit_code_130_and_the_same_command_continues(here, capsys):
    assert execute(["simulate", *SMALL, "-q"]) == 0
    for number in range(5, 17):  # enough work that the signal comes in the middle of it
        for photo in here.glob("raw/*/0001.jpg"):
            shutil.copy(photo, photo.with_stem(f"{number:04d}"))
    command = [sys.executable, "-m", "dpedkit", "align", "raw/iphone", "raw/canon", "-j", "1"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, a shell has them ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = here / "aligned/journal.jsonl"
    while not (journal.exists() and journal.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Interrupted. Finished work is kept." in err
    assert "Traceback" not in err
    code, result = run_json(capsys, "align", "raw/iphone", "raw/canon", "-j", "1")
    assert code == 0
    assert result["accepted"] == 16
    assert 1 <= result["reused"] < 16


def test_patches_straight_from_the_originals_are_the_same(here, capsys):
    run_json(capsys, "simulate", *SMALL)
    for name, option in (("with", "--images"), ("without", "--no-images")):
        run_json(capsys, "align", "raw/iphone", "raw/canon", "-o", name, option, "-j", "1")
        code, cut = run_json(capsys, "patches", name, "-o", f"{name}-shards", "-j", "1")
        assert code == 0
        assert cut["kept"] > 20
    assert not (here / "without/dslr").exists()
    shards = sorted(path.name for path in (here / "with-shards").glob("*.h5"))
    assert shards
    for shard in shards:
        paths = (here / f"{name}-shards" / shard for name in ("with", "without"))
        with contextlib.ExitStack() as stack:
            one, other = (stack.enter_context(h5py.File(path)) for path in paths)
            for field in ("phone", "dslr", "xy", "ncc", "shift"):
                np.testing.assert_array_equal(one[field], other[field])
    # An original that is not the one that was aligned any more must not be cut.
    changed = here / "raw/canon/0001.jpg"
    changed.write_bytes((here / "raw/canon/0002.jpg").read_bytes())
    code, cut = run_json(capsys, "patches", "without", "-o", "again", "-j", "1")
    assert list(cut["failed"]) == ["0001"]
