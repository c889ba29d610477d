import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from dpedkit.core.errors import DpedkitError
from dpedkit.core.parallel import count_workers, ordered_map


def square_slowly(number):
    time.sleep(0.02 * (5 - number % 5))  # later items finish first
    return number * number


def die(number):
    os._exit(9)


def threads(_):
    import cv2

    return cv2.getNumThreads()


def fail(number):
    raise DpedkitError(f"no {number}")


def test_order_and_results_do_not_depend_on_the_number_of_workers():
    one = list(ordered_map(square_slowly, range(8), jobs=1))
    assert one == [n * n for n in range(8)] == list(ordered_map(square_slowly, range(8), jobs=2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_opencv_has_one_thread(jobs):
    assert set(ordered_map(threads, range(3), jobs=jobs)) == {1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_through(jobs):
    with pytest.raises(DpedkitError, match="no 3"):
        list(ordered_map(fail, [3], jobs=jobs))


def test_a_killed_worker_is_a_sentence():
    with pytest.raises(DpedkitError, match="--jobs 1"):
        list(ordered_map(die, [1, 2], jobs=2))


def interrupted(number):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.02)
    return number


def test_ctrl_c_is_for_the_caller_alone():
    assert list(ordered_map(interrupted, range(3), jobs=2)) == [0, 1, 2]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def folder(_):
    return str(Path.cwd())


def test_workers_are_where_the_caller_is(tmp_path, monkeypatch):
    for name in ("first", "second"):
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        assert set(ordered_map(folder, range(3), jobs=2)) == {str(here)}


@pytest.mark.filterwarnings("ignore:Failed to inspect CPU affinity")  # joblib, on Linux alone
def test_zero_means_every_core(monkeypatch):
    assert 1 <= count_workers(0) <= os.cpu_count()
    assert count_workers(3) == 3
    # macOS and Windows have no affinity of CPUs.
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_workers(0) >= min(2, os.cpu_count())


def die_at_seven(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def test_an_item_that_kills_its_process_is_lost_alone():
    results = list(
        ordered_map(die_at_seven, range(20), jobs=2, lost=lambda item, cause: (item, cause))
    )
    assert results[:7] + results[8:] == [n for n in range(20) if n != 7]
    assert results[7][0] == 7
    assert "SIGSEGV" in results[7][1]


def die_once(path):
    if path.name == "3" and not path.exists():
        path.touch()
        os._exit(9)
    return path.name


def test_an_item_that_was_only_unlucky_is_done(tmp_path):
    items = [tmp_path / str(n) for n in range(8)]
    assert list(ordered_map(die_once, items, jobs=2, lost=lambda item, cause: cause)) == [
        *map(str, range(8))
    ]


PARENT = """
import sys, time
from pathlib import Path
from dpedkit.core.atomic import write_text
from dpedkit.core.parallel import ordered_map
folder = Path(sys.argv[1])
def work(n):
    write_text(folder / f"begun{n}", "")
    time.sleep(4)
    (folder / f"late{n}").touch()
    write_text(folder / f"done{n}", "")
list(ordered_map(work, range(4), jobs=2))
"""


def processes_of(folder):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str(folder).encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="Linux alone lists processes so"
)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_and_finish_no_file(tmp_path, kind):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, "MARK": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    while len(list(tmp_path.glob("begun*"))) < 2:
        time.sleep(0.05)
    assert len(processes_of(tmp_path)) >= 3
    parent.send_signal(kind)
    began = time.monotonic()
    parent.communicate()  # ends when nobody holds its stdout any more
    while processes_of(tmp_path):
        time.sleep(0.1)
    assert time.monotonic() - began < 5
    assert not list(tmp_path.glob("done*"))
    assert not list(tmp_path.glob("late*"))


def test_a_worker_that_joblib_replaces_is_no_news_and_other_warnings_are():
    for _ in ordered_map(square_slowly, range(2), jobs=2):
        warnings.warn("A worker stopped while some jobs were given to the executor.", stacklevel=1)
        with pytest.warns(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
    with pytest.warns(UserWarning, match="A worker stopped"):
        warnings.warn("A worker stopped while some jobs were given to the executor.", stacklevel=1)
