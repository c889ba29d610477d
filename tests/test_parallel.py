import os
import signal
import time
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
