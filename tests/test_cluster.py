"""`--cluster`: a real scheduler and worker processes give what one machine gives."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dask_processes import dask_processes
from PIL import Image
from small_recipe import SMALL_RECIPE
from test_align_folders import contents
from test_align_pair import SCENE, photograph, true_map
from test_import_patches import write_dped
from test_patches import digest

from dpedkit.cli import execute
from dpedkit.core import cluster, console, lock
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.parallel import ordered_map

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """A scheduler with two workers that no test kills."""
    with dask_processes(tmp_path_factory.mktemp("dask") / "processes", 2) as started:
        yield started


def tell(number):
    time.sleep(0.02 * (3 - number % 3))  # later items finish first
    console.say(f"item {number}")
    return number, os.getpid(), str(Path.cwd())


def refuse(number):
    raise DpedkitError(f"no {number}")


def test_results_come_in_order_with_their_messages(dask, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    console.set_verbosity(console.NORMAL)
    with cluster.connected(dask.address), console.shown():
        results = list(ordered_map(tell, range(12), jobs=1))
    assert [number for number, _, _ in results] == list(range(12))
    assert {folder for _, _, folder in results} == {str(tmp_path)}
    assert os.getpid() not in {process for _, process, _ in results}
    assert capsys.readouterr().err == "".join(f"item {number}\n" for number in range(12))
    assert cluster.current() is None


def test_an_error_of_a_worker_is_the_error_of_the_run(dask):
    with cluster.connected(dask.address), pytest.raises(DpedkitError, match="no 3"):
        list(ordered_map(refuse, [3], jobs=1))


def test_workers_with_other_versions_are_refused(dask, monkeypatch):
    other = {**cluster._versions(), "numpy": "1.0"}
    monkeypatch.setattr(cluster, "_versions", lambda: other)
    with cluster.connected(dask.address), pytest.raises(DpedkitError, match=r"this machine 1\.0"):
        list(ordered_map(tell, [1], jobs=1))


def test_workers_that_see_another_folder_are_refused(dask, tmp_path, monkeypatch):
    conditions = cluster._Conditions(tmp_path / "none", 20, {}, cluster._versions())
    monkeypatch.setattr(cluster, "_SIGHT_S", 0)
    with pytest.raises(DpedkitError, match=r"does not see .*none"):
        conditions.refuse_other_folders()
    with lock.until_end():
        lock.take(tmp_path)
        here = cluster._Conditions.here()
        here.refuse_other_folders()
        (tmp_path / lock.LOCK_NAME).write_text("another run")
        with pytest.raises(DpedkitError, match="share"):
            here.refuse_other_folders()
        with pytest.raises(DpedkitError, match="has ended"):
            here.refuse_without_lock()


def test_what_is_no_scheduler_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(UsageError, match="looks like tcp://"), cluster.connected("10.0.0.1:8786"):
        pass
    with (
        pytest.raises(DpedkitError, match="No Dask scheduler answers at tcp://127"),
        cluster.connected("tcp://127.0.0.1:9"),
    ):
        pass


def test_a_missing_extra_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code = execute(["align", str(tmp_path), str(tmp_path), "--cluster", "tcp://127.0.0.1:9"])
    assert code == 1
    assert "pip install 'dpedkit[cluster]'" in capsys.readouterr().err


# ------------------------------------------------------------------- processes that die


def die_at_three(item):
    _, number = item
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(item):
    folder, number = item
    if number == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(number):
    time.sleep(0.3)
    return number


def test_what_a_dead_worker_did_is_done_elsewhere(tmp_path):
    with dask_processes(tmp_path / "dask", 2) as dask, cluster.connected(dask.address):
        items = [(tmp_path, number) for number in range(10)]
        assert list(ordered_map(die_once, items, jobs=1)) == list(range(10))
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_lost_alone(tmp_path):
    with dask_processes(tmp_path / "dask", 10) as dask, cluster.connected(dask.address):
        items = [(tmp_path, number) for number in range(6)]
        results = list(ordered_map(die_at_three, items, jobs=1, lost=lambda item, cause: cause))
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
    assert "its process died" in results[3]


def test_a_single_worker_does_the_work_too(tmp_path):
    with dask_processes(tmp_path / "dask", 1) as dask, cluster.connected(dask.address):
        processes = {process for _, process, _ in ordered_map(tell, range(4), jobs=1)}
    assert processes == {dask.workers[0].pid}


def test_a_lost_scheduler_is_a_sentence(tmp_path):
    done = []
    with (
        dask_processes(tmp_path / "dask", 2) as dask,
        cluster.connected(dask.address),
        pytest.raises(DpedkitError, match=r"was lost\. What was finished is kept"),
    ):
        for number in ordered_map(slow, range(40), jobs=1):
            done.append(number)
            if number == 1:
                dask.scheduler.kill()
    assert done == list(range(len(done))) and len(done) < 40


# --------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Twelve pairs of photos, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("raw")
    for side in ("phone", "dslr"):
        (folder / side).mkdir()
    for number in range(12):
        corner = 15 * number
        phone = photograph(SCENE, true_map(0.001 * number), seed=number)
        Image.fromarray(phone).save(folder / "phone" / f"{number:02}.png")
        dslr = np.ascontiguousarray(SCENE[:, corner : corner + 820])
        Image.fromarray(dslr).save(folder / "dslr" / f"{number:02}.jpg", quality=95)
    (folder / "dslr" / "05.jpg").write_bytes(b"no photo")
    return folder


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "dpedkit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def lines_of(journal):
    return len(journal.read_bytes().splitlines()) if journal.exists() else 0


def wait_for_lines(journal, count, process):
    until = time.monotonic() + 120
    while lines_of(journal) < count:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


ALIGN = ("align", "../raw/phone", "../raw/dslr", "--field", "off", "--max-rejected", "0.5")


@pytest.mark.slow
def test_commands_on_a_cluster_leave_what_they_leave_on_one_machine(raw, tmp_path):
    """One worker is killed in the middle of `align`, then one in the middle of `patches`."""
    shutil.copytree(raw, tmp_path / "raw")
    write_dped(tmp_path / "iphone", {"training_data": 40})
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    with dask_processes(tmp_path / "dask", 3) as dask:
        there = ("--cluster", dask.address)
        expected = finish(*ALIGN, "-j", "1", cwd=one)
        process = start(*ALIGN, *there, cwd=many)
        wait_for_lines(many / "aligned" / "journal.jsonl", 3, process)
        dask.workers[0].kill()
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == expected[:2]
        assert without_times(err) == without_times(expected[2])
        assert_same_aligned(one / "aligned", many / "aligned")

        patches = ("patches", "--size", "32")
        expected = finish(*patches, "-j", "1", cwd=one)
        process = start(*patches, *there, cwd=many)
        wait_for_lines(many / "shards" / "work" / "pairs.jsonl", 2, process)
        dask.workers[1].kill()
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == expected[:2]
        assert without_times(err) == without_times(expected[2])
        assert digest(one / "shards") == digest(many / "shards")

        imports = ("import-patches", tmp_path / "iphone", "-o", "imported")
        expected = finish(*imports, "-j", "1", cwd=one)
        assert finish(*imports, *there, cwd=many)[:2] == expected[:2]
        assert digest(one / "imported") == digest(many / "imported")

        for folder, workers in ((one, ("-j", "1")), (many, there)):
            (folder / "chain.toml").write_text(f'folder = "chain"\n{SMALL_RECIPE}size = 32\n')
            assert finish("run", "chain.toml", *workers, cwd=folder)[0] == 0
        # The photos of the two are other files, which `pairs.jsonl` tells apart.
        left = [digest(folder / "chain" / "shards") for folder in (one, many)]
        assert [shards.pop("pairs.jsonl") for shards in left] and left[0] == left[1]

        shard = many / "shards" / "train-00000.h5"
        verify = ("shards", "verify", "shards")
        assert finish(*verify, *there, cwd=many)[:2] == finish(*verify, "-j", "1", cwd=many)[:2]
        whole = shard.read_bytes()
        middle = len(whole) // 2
        shard.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        there_result = finish(*verify, *there, cwd=many)
        assert there_result[0] == 1 and "damaged" in there_result[1]
        assert there_result[:2] == finish(*verify, "-j", "1", cwd=many)[:2]


@pytest.mark.slow
def test_align_goes_on_after_a_lost_scheduler(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    finish(*ALIGN, "-j", "1", cwd=one)
    with dask_processes(tmp_path / "dask", 2) as dask:
        process = start(*ALIGN, "--cluster", dask.address, cwd=many)
        wait_for_lines(many / "aligned" / "journal.jsonl", 2, process)
        dask.scheduler.kill()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "was lost. What was finished is kept" in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1
    assert finish(*ALIGN, "-j", "1", cwd=many)[0] == 0
    assert_same_aligned(one / "aligned", many / "aligned")


def without_times(text):
    """Messages without rates, durations, and the lines of progress that depend on them."""
    lines = [line for line in text.splitlines() if " left" not in line]
    return [re.sub(r", [0-9.]+(/s| s each), in [0-9:]+", "", line) for line in lines]


def assert_same_aligned(one, many):
    (files, records), (others, other_records) = contents(one), contents(many)
    assert records == other_records
    assert files.keys() == others.keys()
    # The report shows how long each pair took.
    assert [name for name in files if files[name] != others[name]] in ([], ["report/index.html"])
