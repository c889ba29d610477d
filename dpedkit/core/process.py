"""Settings of the whole process, changed while they are needed and then restored.

OpenCV, BLAS, Pillow and Python's warnings keep settings that all threads share. A library call that
changes one must restore it, and calls in two threads must not undo each other's changes.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, ExitStack, contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_NEVER = -1

_owned = False


class SharedChange(ContextDecorator):
    """A change of the process that lasts while at least one thread is inside.

    The first to enter makes it, the last to leave takes it back. It can be entered again from
    within, and used as a context manager or as a decorator of functions.

    Parameters
    ----------
    change : callable
        Returns a context manager that makes the change on entering and undoes it on leaving.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[Any]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._made = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._made.enter_context(self._change())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._made.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    import cv2
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


one_thread = SharedChange(_one_thread)
"""OpenCV and BLAS kept to one thread of each caller.

Sums keep their order, so that results do not depend on the number of cores. And the many small
systems of equations of an alignment are solved at the cost of one thread: the others of BLAS would
only wait for each other, at full load.
"""


def own_process() -> None:
    """Declare that this process is dpedkit's own: the command line's, or that of a worker.

    Only such a process may be changed for good, which `keep_freed_memory` does.
    """
    global _owned
    _owned = True


def keep_freed_memory() -> None:
    """Let a process of dpedkit's own reuse large blocks instead of asking for fresh ones.

    Photo after photo, and step after step of training, the same large arrays are allocated again.
    With glibc each of them is returned when freed and comes back page by page, zeroed: a tenth of
    the time. glibc does not say what its settings were, so that they cannot be put back: in a
    process that is not declared by `own_process`, and on other systems, nothing happens.
    """
    if not _owned or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
