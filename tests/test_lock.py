"""One run at a time in a folder: against real other processes, killed ones included."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_aligned import write_aligned
from fake_shards import make_patches, write_shards
from PIL import Image

from dpedkit.cli import execute
from dpedkit.core import lock
from dpedkit.core.errors import DpedkitError, FolderInUseError
from dpedkit.core.lock import LOCK_NAME, locked
from dpedkit.training.run_folder import new_run

HOLD = """
import sys
from pathlib import Path
from dpedkit.core.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path):
    """Another process that holds the lock of a folder; killed at the latest at the end."""
    process = start(HOLD, folder)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        kill(process)


def start(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def simulated(tmp_path: Path) -> tuple[list[str], Path]:
    out = tmp_path / "raw"
    small = ["--phone-megapixels", "0.3", "--dslr-megapixels", "0.5"]
    return ["simulate", "-o", str(out), "--pairs", "1", "-j", "1", *small], out


def aligned(tmp_path: Path) -> tuple[list[str], Path]:
    write_aligned(tmp_path, 1, {})
    out = tmp_path / "out"
    sides = [str(tmp_path / "raw" / side) for side in ("phone", "dslr")]
    return ["align", *sides, "-o", str(out), "-j", "1"], out


def cut(tmp_path: Path) -> tuple[list[str], Path]:
    out = tmp_path / "out"
    given = [str(write_aligned(tmp_path, 1, {})), "-o", str(out), "-j", "1"]
    return ["patches", *given, "--test-pairs", "0", "--val-pairs", "0"], out


def some_shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards", {"train": make_patches(4, 20, 0)})


def trained(tmp_path: Path) -> tuple[list[str], Path]:
    short = ["--steps", "1", "--batch", "2", "--content", "msssim-l1", "--texture-weight", "0"]
    names = ["--runs", str(tmp_path), "--name", "run", "--generator", "colour-residual"]
    return ["train", str(some_shards(tmp_path)), *names, *short], tmp_path / "run"


def imported(tmp_path: Path) -> tuple[list[str], Path]:
    folders = [tmp_path / "phone", tmp_path / "dslr"]
    for folder, patches in zip(folders, make_patches(2, 20, 0)[:2], strict=True):
        folder.mkdir()
        for number, patch in enumerate(patches):
            Image.fromarray(patch).save(folder / f"{number}.png")
    out = tmp_path / "out"
    return ["import-patches", *map(str, folders), "-o", str(out), "-j", "1"], out


def exported(tmp_path: Path) -> tuple[list[str], Path]:
    out = tmp_path / "out"
    return ["shards", "export", str(some_shards(tmp_path)), "-o", str(out)], out


def recipe(tmp_path: Path) -> tuple[list[str], Path]:
    file = tmp_path / "small.toml"
    file.write_text("[simulate]\npairs = 1\nphone-megapixels = 0.3\ndslr-megapixels = 0.5\n")
    out = tmp_path / "work"
    return ["run", str(file), "--folder", str(out), "-j", "1"], out


STAGES = [simulated, aligned, cut, trained, imported, exported, recipe]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_second_run_ends_at_once_and_harms_nothing(stage, tmp_path, capsys):
    command, out = stage(tmp_path)
    with held(out) as holder:
        before = contents(tmp_path)
        assert execute(command) == 1
        said = capsys.readouterr().err
        assert f"is working in {out} (process {holder.pid} on {os.uname().nodename}, since" in said
        assert said.count("error:") == 1
        assert contents(tmp_path) == before
        kill(holder)
        assert (out / LOCK_NAME).exists()
        execute(command)
    assert "is working in" not in capsys.readouterr().err
    assert not list(tmp_path.rglob(LOCK_NAME))


def test_overwrite_waits_for_nobody_and_removes_nothing_of_a_live_run(tmp_path, capsys):
    command, out = simulated(tmp_path)
    assert execute(command) == 0
    with held(out):
        before = contents(out)
        assert execute([*command, "--seed", "7", "--overwrite"]) == 1
        assert contents(out) == before
    assert execute([*command, "--seed", "7", "--overwrite"]) == 0
    assert LOCK_NAME not in contents(out)
    capsys.readouterr()


CONTEND = """
import os, sys, time
from pathlib import Path
from dpedkit.core.errors import FolderInUseError
from dpedkit.core.lock import locked
folder, inside = map(Path, sys.argv[1:])
entered, until = 0, time.monotonic() + 1.5
while time.monotonic() < until:
    try:
        with locked(folder):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another is inside
            time.sleep(0.0002)
            inside.unlink()
            entered += 1
    except FolderInUseError:
        pass
print(entered)
"""


def test_only_one_of_many_is_ever_inside(tmp_path):
    folder = tmp_path / "runs" / "001"  # comes and goes with the lock
    processes = [start(CONTEND, folder, tmp_path / "inside") for _ in range(4)]
    entered = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(map(int, entered)) > 20
    assert contents(tmp_path) == {}


WORK = """
import os, sys, time
from pathlib import Path
from dpedkit.core.lock import locked
from dpedkit.core.parallel import ordered_map
def nap(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)
with locked(Path(sys.argv[1])):
    list(ordered_map(nap, [Path(sys.argv[1]) / name for name in "ab"], 2))
"""


def test_workers_that_outlive_a_killed_run_do_not_hold_its_lock(tmp_path):
    process = start(WORK, tmp_path)
    signs = [tmp_path / "a", tmp_path / "b"]
    deadline = time.monotonic() + 60
    while not all(sign.exists() and sign.read_text() for sign in signs):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    workers = [int(sign.read_text()) for sign in signs]
    try:
        for worker in workers:
            os.kill(worker, 0)  # is there
        with locked(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        process.communicate(timeout=60)


def test_runs_without_a_name_get_a_number_each(tmp_path):
    with held(tmp_path / "001"), lock.until_end():
        assert new_run(tmp_path, None, overwrite=False).path == tmp_path / "002"
    assert not (tmp_path / "002").exists()  # nothing came of it


def test_a_process_passes_its_own_lock(tmp_path):
    with lock.until_end():
        lock.take(tmp_path)
        with locked(tmp_path / "." / "x" / ".."):
            pass
        assert (tmp_path / LOCK_NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_blocks_within_each_other_hold_until_the_outermost_ends(tmp_path):
    @lock.until_end()
    def stage():
        lock.take(tmp_path)

    with lock.until_end():
        stage()
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_the_work_goes_on_with_a_warning(code, tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "out"):
        assert list(tmp_path.iterdir()) == [tmp_path / "out"]
        assert not (tmp_path / "out" / LOCK_NAME).exists()
    assert "out cannot be locked (" in caplog.text


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_where_nothing_can_be_written_nobody_is_locked_out(code, tmp_path, monkeypatch, caplog):
    def refuse(path, *arguments, **settings):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DpedkitError, match="file/out"), locked(tmp_path / "file" / "out"):
        pass


def test_a_lock_that_is_not_signed_yet_holds_too(tmp_path):
    with (tmp_path / LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FolderInUseError, match="it has just started"), locked(tmp_path):
            pass


def test_another_thread_is_another_run(tmp_path):
    def work():
        with lock.until_end():
            lock.take(tmp_path)

    with lock.until_end(), ThreadPoolExecutor(1) as other:
        lock.take(tmp_path)
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()}"):
            other.submit(work).result()
        assert (tmp_path / LOCK_NAME).exists()
    work()


def test_threads_that_work_in_folders_of_their_own_end_their_own_locks(tmp_path):
    inside, leave = threading.Event(), threading.Event()

    @lock.until_end()
    def stay():
        lock.take(tmp_path / "long")
        inside.set()
        assert leave.wait(10)

    with ThreadPoolExecutor(1) as other:
        going = other.submit(stay)
        assert inside.wait(10)
        with lock.until_end():
            lock.take(tmp_path / "short")
        assert not (tmp_path / "short").exists()
        assert (tmp_path / "long" / LOCK_NAME).exists()
        leave.set()
        going.result()
    assert not (tmp_path / "long").exists()
