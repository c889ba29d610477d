import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpedkit.core import atomic
from dpedkit.core.atomic import (
    before_finishing,
    complete_or_absent,
    explain_os_error,
    make_folder,
    remove_unfinished,
    remove_unfinished_below,
    write_json,
    write_text,
)
from dpedkit.core.errors import DpedkitError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), complete_or_absent(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_under_the_final_name_while_writing(tmp_path):
    path = tmp_path / "a.txt"
    with complete_or_absent(path) as part:
        part.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError("h5: No space left on device")]
)
def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path, error):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with (
        pytest.raises(DpedkitError, match=r"disk is full.*a\.json"),
        complete_or_absent(path) as part,
    ):
        part.write_text("{")
        raise error
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_file_in_the_way_of_the_folder_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DpedkitError, match=r"out/a\.txt cannot be written: not a directory"):
        write_text(tmp_path / "out" / "a.txt", "x")


def test_what_may_not_be_read_is_told_from_what_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "in.txt").touch()
    denied = PermissionError(errno.EACCES, "denied")
    assert "cannot be written: permission denied" in str(
        explain_os_error(denied, tmp_path / "in.txt")
    )
    assert "cannot be written: permission denied" in str(
        explain_os_error(denied, tmp_path / "absent")
    )
    # Root may read everything, so the system's answer is given for it.
    monkeypatch.setattr(os, "access", lambda path, mode: path.exists() and mode != os.R_OK)
    assert "in.txt cannot be read: permission denied" in str(
        explain_os_error(denied, tmp_path / "in.txt")
    )


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DpedkitError, match="is a file"):
        make_folder(tmp_path / "out")


WRITE_SLOWLY = """
import sys
from pathlib import Path
from dpedkit.core.atomic import complete_or_absent
with complete_or_absent(Path(sys.argv[1])) as part, part.open("w") as file:
    for _ in range(2):
        file.write(sys.argv[2] * 100_000)
        file.flush()
        print("half", flush=True)
        sys.stdin.readline()
"""


def start_writer(path: Path, letter: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_SLOWLY, str(path), letter],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(writer: subprocess.Popen) -> None:
    writer.communicate("\n\n", timeout=60)
    assert writer.returncode == 0


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    first, second = start_writer(path, "a"), start_writer(path, "b")
    for writer in (first, second):  # both are in the middle of their writing
        assert writer.stdout.readline() == "half\n"
    finish(first)
    assert path.read_text() == "a" * 200_000
    finish(second)
    assert path.read_text() == "b" * 200_000
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_leaves_is_removed(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    path.parent.mkdir()
    for clean in (lambda: remove_unfinished([path]), lambda: remove_unfinished_below(tmp_path)):
        writer = start_writer(path, "a")
        assert writer.stdout.readline() == "half\n"
        writer.kill()
        writer.communicate()
        assert len(list(path.parent.glob("a.txt.*.part"))) == 1
        (path.parent / "b.txt.part").touch()  # not named as dpedkit names them
        (path.parent / "a.txt.old").touch()
        clean()
        assert {p.name for p in path.parent.iterdir()} == {"b.txt.part", "a.txt.old"}


def test_only_the_named_files_leftovers_are_removed(tmp_path):
    (tmp_path / "b.txt.12.part").touch()
    remove_unfinished([tmp_path / "a.txt"])
    assert (tmp_path / "b.txt.12.part").exists()


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(tmp_path / "a.json", {"psnr": value})
    assert list(tmp_path.iterdir()) == []


def test_a_check_can_keep_a_file_from_its_name(tmp_path, monkeypatch):
    """As that of a worker whose run is gone, and the lock with it."""
    monkeypatch.setattr(atomic, "_checks", [])

    def end():
        raise SystemExit

    before_finishing(end)
    with pytest.raises(SystemExit):
        write_text(tmp_path / "a.txt", "late")
    assert list(tmp_path.iterdir()) == []
