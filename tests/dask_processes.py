"""A real Dask scheduler and real workers, each a process on the loopback interface."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PATIENCE_S = 60


class DaskProcesses:
    """A scheduler whose workers can be added and killed.

    Attributes
    ----------
    address : str
    scheduler : subprocess.Popen
    workers : list of subprocess.Popen
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen] = []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
        )
        until = time.monotonic() + _PATIENCE_S
        while not file.exists() or not file.read_text().rstrip().endswith("}"):
            assert self.scheduler.poll() is None, "the scheduler did not start"
            assert time.monotonic() < until, "the scheduler takes too long"
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]

    def add_workers(self, count: int, *options: str) -> None:
        """Start workers of one thread each, which nobody starts again when they die."""
        for _ in range(count):
            self.workers.append(
                self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *options)
            )

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        python_path = os.pathsep.join([str(_ROOT), str(_ROOT / "tests")])
        with (self.folder / f"{what}{len(self.workers)}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", what, "--no-dashboard", *arguments],
                env={**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )


@contextlib.contextmanager
def dask_processes(folder: Path, workers: int) -> Iterator[DaskProcesses]:
    """A scheduler with workers, all killed at the end."""
    folder.mkdir()
    started = DaskProcesses(folder)
    try:
        started.add_workers(workers)
        yield started
    finally:
        for process in (*started.workers, started.scheduler):
            process.kill()
            process.wait()
