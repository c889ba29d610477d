"""Work spread over processes: same results in the same order for any number of workers."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from dpedkit.core import cluster, console
from dpedkit.core.atomic import before_finishing
from dpedkit.core.errors import EXIT_INTERRUPTED, DpedkitError
from dpedkit.core.process import SharedChange, keep_freed_memory, one_thread, own_process

Item = TypeVar("Item")
Result = TypeVar("Result")

_WATCH_S = 1.0
_SIGNAL = re.compile(r"SIG[A-Z]+")


def count_workers(jobs: int) -> int:
    """The number of worker processes for a ``--jobs`` setting; 0 stands for every usable core."""
    if jobs:
        return jobs
    from joblib import cpu_count

    return int(cpu_count())  # also within the limits of a container and of CPU affinity


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    lost: Callable[[Item, str], Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of the items.

    Each worker keeps OpenCV and BLAS to one thread, so that N workers use N cores and results do
    not depend on how many there are. At most two items a worker are in flight, which bounds the
    memory. With one worker everything happens in this process. Workers end within seconds when
    this process does, and finish no file after it. In a block of `cluster.connected` the workers
    are those of the cluster, whatever `jobs` is.

    Parameters
    ----------
    function : callable
        Can be pickled. What it did is done again for a few items when a worker dies.
    items : iterable
    jobs : int
        Number of workers; 0 for every usable core.
    lost : callable, optional
        Gives the result of an item whose process dies even when it is alone, as a decoder can take
        its process down, from the item and a sentence. The others go on.

    Raises
    ------
    DpedkitError
        If a worker process was killed, as the system does when memory runs out, and `lost` is not
        given.
    """
    workers = cluster.current() or count_workers(jobs)
    if workers == 1:
        for item in items:
            yield _one_thread(function, item)
        return

    engine = _Processes(workers) if isinstance(workers, int) else workers
    left = iter(items)
    while True:
        in_flight: deque[Item] = deque()
        try:
            for result in engine.spread(function, _noting(left, in_flight)):
                in_flight.popleft()
                yield result
            return
        except engine.died:
            if lost is None:
                raise DpedkitError(engine.killed) from None
            console.warn("A worker process died; its task is tried again in a process of its own.")
        for item in in_flight:
            try:
                (result,) = engine.spread(function, [item])
            except engine.died as error:
                result = lost(item, _cause(error))
            yield result


class _Processes:
    """Worker processes on this machine, by joblib's own backend; see `cluster.Cluster`."""

    def __init__(self, workers: int) -> None:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        self._workers = workers
        self.died: type[Exception] = TerminatedWorkerError
        self.killed = (
            "A worker process was killed, most likely because memory ran out. Run the same "
            f"command again with fewer workers (--jobs {max(1, workers // 2)}); it "
            "continues where it stopped."
        )

    def spread(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in order.

        Raises
        ------
        TerminatedWorkerError
            Of loky, if a worker dies.
        """
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(backend="loky", n_jobs=self._workers, inner_max_num_threads=1):
            parallel = Parallel(return_as="generator", pre_dispatch=2 * self._workers, batch_size=1)
            here, parent = Path.cwd(), os.getpid()
            with _deaf_to_ctrl_c():
                call, level = delayed(_in_worker), console.shown_level()
                results = parallel(call(parent, here, level, function, item) for item in items)
        with _silent_restarts:
            yield from results


@contextmanager
def _without_restart_warning() -> Iterator[None]:
    # joblib replaces a worker that has grown by 100 MB, as one does that has met a large photo.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        yield


_silent_restarts = SharedChange(_without_restart_warning)


def _noting(items: Iterator[Item], taken: deque[Item]) -> Iterator[Item]:
    """The items; those that were taken are noted."""
    for item in items:
        taken.append(item)
        yield item


def _cause(error: Exception) -> str:
    signals = ", ".join(sorted(set(_SIGNAL.findall(str(error)))))
    return (
        f"its process died{f' ({signals})' if signals else ''}: a damaged file crashed the "
        "decoder, or memory ran out"
    )


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
    parent: int,
    folder: Path,
    level: int | None,
    function: Callable[[Any], Result],
    item: Any,
) -> Result:
    """Call `function` where the caller is, and as loud: joblib keeps workers for later calls."""
    own_process()
    _end_with(parent)
    os.chdir(folder)
    with console.shown(level):
        return _one_thread(function, item)


@functools.cache
def _end_with(parent: int) -> None:
    """Let this worker end when its parent does, however that ends, and finish no file afterwards.

    A signal at the parent's death (PR_SET_PDEATHSIG) would come when the thread ends that began
    the worker, which need not be the last of its process. So the parent is watched.
    """

    def end_if_orphaned() -> None:
        if sys.platform != "win32" and os.getppid() != parent:
            os._exit(EXIT_INTERRUPTED)

    def watch() -> None:
        while True:
            end_if_orphaned()
            time.sleep(_WATCH_S)

    end_if_orphaned()
    before_finishing(end_if_orphaned)
    threading.Thread(target=watch, name="watch on the parent", daemon=True).start()


def _one_thread(function: Callable[[Any], Result], item: Any) -> Result:
    """Call `function` with OpenCV and BLAS kept to one thread: sums keep their order."""
    keep_freed_memory()
    with one_thread:
        return function(item)
