"""A few kills of every command, and what else can happen to a run; `python -m tests.faults` does
more kills and prints counts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.__main__ import BAD, disturb
from tests.faults.children import finish, run, start
from tests.faults.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "kills"),
    [("import-patches", 2), *(pytest.param(name, 4, marks=pytest.mark.slow) for name in SCENARIOS)],
)
def test_a_disturbed_command_ends_as_an_undisturbed_one(name, kills, tmp_path):
    counts, wrong = disturb(name, kills, kills // 2, 1, tmp_path / "disturbed")
    assert counts["kills"] >= kills
    assert [counts[column] for column in BAD] == [0, 0], wrong


def test_what_is_compared_can_differ(tmp_path):
    """Of a shards folder: a byte of a shard, a missing file, another record of a pair."""
    scenario = SCENARIOS["import-patches"]
    folder = tmp_path / "work"
    folder.mkdir()
    scenario.prepare(folder)
    assert run((*scenario.arguments, "-j", "1"), folder).code == 0
    whole = scenario.result(folder)
    shard = folder / "shards" / "train-00000.h5"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert scenario.result(folder) != whole
    shard.write_bytes(content)
    assert scenario.result(folder) == whole
    pairs = folder / "shards" / "pairs.jsonl"
    first, *others = pairs.read_text().splitlines(keepends=True)
    pairs.write_text(json.dumps({**json.loads(first), "split": "val"}) + "\n" + "".join(others))
    assert scenario.result(folder) != whole
    pairs.unlink()
    assert scenario.result(folder) != whole


# ------------------------------------------------------------- while a run of `align` is going on


@pytest.fixture(scope="module")
def input_of_align(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    SCENARIOS["align"].prepare(folder)
    return folder


@pytest.fixture
def raw(tmp_path, input_of_align):
    """The input of `align` twice: for the run that is disturbed, and as it should end."""
    folders = tmp_path / "disturbed" / "work", tmp_path / "whole" / "work"
    for folder in folders:
        shutil.copytree(input_of_align, folder)
    return folders


def begin(folder, jobs=1):
    """Begin `align`, and wait until the first pair is done."""
    process = start((*SCENARIOS["align"].arguments, "-j", str(jobs)), folder)
    journal = folder / "aligned" / "journal.jsonl"
    until = time.monotonic() + 60
    while not journal.exists() or not journal.read_bytes().endswith(b"\n"):
        assert process.is_alive() and time.monotonic() < until
        time.sleep(0.005)
    return process


def align(folder):
    outcome = run((*SCENARIOS["align"].arguments, "-j", "1"), folder)
    assert outcome.code == 0, outcome.said
    return same(folder)


def same(folder):
    """What is compared, without the times of photos that were copied."""
    return SCENARIOS["align"].result(folder)


@pytest.mark.slow
def test_a_photo_that_vanishes_is_told_and_done_when_it_is_back(raw):
    work, whole = raw
    process = begin(work)
    photo = work / "phone" / "2.png"
    aside = work / "aside.png"
    photo.rename(aside)
    outcome = finish(process, work)
    assert outcome.code in (0, 1, 3)
    assert "Traceback" not in outcome.said
    assert "2.png" in outcome.said
    assert "2.png was there when the run began, and is gone" in outcome.said
    aside.rename(photo)
    assert align(work) == align(whole)


@pytest.mark.slow
def test_a_photo_that_changes_is_done_again(raw):
    work, whole = raw
    process = begin(work)
    for folder in raw:
        shutil.copyfile(folder / "dslr" / "1.jpg", folder / "dslr" / "0.jpg")
    outcome = finish(process, work)
    assert "Traceback" not in outcome.said
    run((*SCENARIOS["align"].arguments, "-j", "1"), work)
    run((*SCENARIOS["align"].arguments, "-j", "1"), whole)
    assert same(work) == same(whole)


@pytest.mark.slow
def test_a_second_run_in_the_folder_ends_and_the_first_goes_on(raw):
    work, whole = raw
    process = begin(work)
    second = run((*SCENARIOS["align"].arguments, "-j", "1"), work)
    assert second.code == 1
    assert "Another run is working in aligned" in second.said
    assert finish(process, work).code == 0
    assert same(work) == align(whole)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux alone lists children so")
def test_a_killed_worker_changes_nothing(raw):
    work, whole = raw
    process = begin(work, jobs=2)
    for worker in workers_of(process.pid)[:1]:
        os.kill(worker, signal.SIGKILL)
    outcome = finish(process, work)
    assert outcome.code == 0, outcome.said
    assert same(work) == align(whole)


def workers_of(process):
    children = Path(f"/proc/{process}/task").glob("*/children")
    found = [int(child) for file in children for child in file.read_text().split()]
    return [pid for pid in found if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
def test_the_command_counts_what_it_does():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kills", "1", "--full-disks", "1", "enhance"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, row, total = (line.split() for line in done.stdout.splitlines())
    assert dict(zip(header, row, strict=True))["kills"] == "1"
    assert total[1:] == row[1:-1]
