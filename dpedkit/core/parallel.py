"""Work spread over processes: same results in the same order for any number of workers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from dpedkit.core import console
from dpedkit.core.errors import DpedkitError
from dpedkit.core.process import keep_freed_memory, one_thread, own_process

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_workers(jobs: int) -> int:
    """The number of worker processes for a ``--jobs`` setting; 0 stands for every usable core."""
    if jobs:
        return jobs
    from joblib import cpu_count

    return int(cpu_count())  # also within the limits of a container and of CPU affinity


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of the items.

    Each worker keeps OpenCV and BLAS to one thread, so that N workers use N cores and results do
    not depend on how many there are. At most two items a worker are in flight, which bounds the
    memory. With one worker everything happens in this process.

    Raises
    ------
    DpedkitError
        If a worker process was killed, as the system does when memory runs out.
    """
    workers = count_workers(jobs)
    if workers == 1:
        for item in items:
            yield _one_thread(function, item)
        return

    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
        parallel = Parallel(return_as="generator", pre_dispatch=2 * workers, batch_size=1)
        here = Path.cwd()
        with _deaf_to_ctrl_c():
            call = delayed(_in_worker)
            results = parallel(call(here, console.shown_level(), function, item) for item in items)
    try:
        yield from results
    except TerminatedWorkerError:
        raise DpedkitError(
            "A worker process was killed, most likely because memory ran out. Run the same "
            f"command again with fewer workers (--jobs {max(1, workers // 2)}); it continues "
            "where it stopped."
        ) from None


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let the processes that are begun here never see Ctrl-C, and this one see it afterwards.

    A terminal sends it to the workers too, which would each show a traceback. This process ends
    them when it is interrupted.
    """
    if sys.platform == "win32":  # where signals cannot be blocked
        yield
        return
    resource_tracker.ensure_running()  # or joblib begins it here, which ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_worker(
    folder: Path, level: int | None, function: Callable[[Any], Result], item: Any
) -> Result:
    """Call `function` where the caller is, and as loud: joblib keeps workers for later calls."""
    own_process()
    os.chdir(folder)
    with console.shown(level):
        return _one_thread(function, item)


def _one_thread(function: Callable[[Any], Result], item: Any) -> Result:
    """Call `function` with OpenCV and BLAS kept to one thread: sums keep their order."""
    keep_freed_memory()
    with one_thread:
        return function(item)
