"""Work on the machines of a Dask cluster: what `parallel.ordered_map` uses after ``--cluster``.

The workers are processes that someone else started, on machines that share the folders with this
one. So each is asked, before it begins an item, whether it would give the same bytes (the same
versions of what computes them) and whether it sees the very folder that this run has locked. What
it has to say travels back with its result, and is shown here.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dpedkit._version import __version__
from dpedkit.core import console, lock
from dpedkit.core.atomic import before_finishing
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.process import one_thread
from dpedkit.core.wording import first_line

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

INSTALL_LINE = "pip install 'dpedkit[cluster]'"
_CONNECT_S = 10
_WORKERS_S = 60  # a batch system may take a while to start the first one
_SIGHT_S = 15  # a file server may take a while to show a new file
# What computes pixels; another version of it may compute others.
_DECISIVE = ("numpy", "scipy", "opencv-contrib-python", "pillow", "h5py", "rawpy", "pillow-heif")
_OPENCV = "opencv-contrib-python"

_connected: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Have the work of this block done by a cluster's workers; None leaves it on this machine.

    Parameters
    ----------
    address : str or None
        Of a Dask scheduler, for example "tcp://10.0.0.1:8786".

    Raises
    ------
    UsageError
        If `address` is none.
    DpedkitError
        If Dask is not installed or no scheduler answers.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise DpedkitError(f"--cluster needs Dask. Install it with: {INSTALL_LINE}") from None
    if not address.startswith(("tcp://", "tls://", "ws://", "wss://", "ucx://")):
        raise UsageError(
            f"'{address}' is no address of a Dask scheduler; it looks like tcp://10.0.0.1:8786."
        )
    with _silent_dask():
        try:
            client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise DpedkitError(
                f"No Dask scheduler answers at {address} ({first_line(error)}). Start one with "
                "`dask scheduler`, which prints its address, and workers with "
                f"`dask worker {address} --nthreads 1`."
            ) from None
        before = _connected.set(Cluster(client, address))
        try:
            yield
        finally:
            _connected.reset(before)
            client.close()


def current() -> Cluster | None:
    """The cluster of the block that `connected` began; None outside of one."""
    return _connected.get()


class Cluster:
    """The workers of a Dask scheduler.

    Attributes
    ----------
    died : type of Exception
        What `spread` raises if workers die, again and again, over the same item.
    killed : str
        What to tell then.
    """

    def __init__(self, client: Client, address: str) -> None:
        from distributed import KilledWorker

        self._client = client
        self._address = address
        self.died: type[Exception] = KilledWorker
        self.killed = (
            "Worker processes of the cluster were killed again and again, most likely because "
            "memory ran out. Start fewer workers on each machine and run the same command again; "
            "it continues where it stopped."
        )

    def spread(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in order. What a dead worker had to do is done by another.

        Raises
        ------
        DpedkitError
            If the scheduler is lost or has no workers, or a worker does not fit.
        KilledWorker
            Of distributed, if several workers died over the same item.
        """
        from distributed.comm import CommClosedError
        from joblib import Parallel, delayed, parallel_config, register_parallel_backend

        register_parallel_backend("dpedkit-dask", _backend())
        call, conditions = delayed(_in_worker), _Conditions.here()
        try:
            with parallel_config(
                "dpedkit-dask", client=self._client, wait_for_workers_timeout=_WORKERS_S
            ):
                parallel = Parallel(return_as="generator", pre_dispatch="2 * n_jobs", batch_size=1)
                # In a tuple, since joblib leaves large arguments with one worker, and that may die.
                results = parallel(call((conditions, function, item)) for item in items)
            for result, messages in results:
                console.repeat(messages)
                yield result
        except TimeoutError:
            raise DpedkitError(
                f"The Dask scheduler at {self._address} has no workers. Start some with "
                f"`dask worker {self._address} --nthreads 1`, then run the same command again."
            ) from None
        except (CancelledError, CommClosedError):
            raise DpedkitError(
                f"The Dask scheduler at {self._address} was lost. What was finished is kept: run "
                "the same command again when the scheduler is back, or without --cluster, and it "
                "continues where it stopped."
            ) from None


@cache
def _backend() -> type:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's own, which would wait for ever for an item whose workers died.

        And while there is a single worker, joblib would do the work in this process.
        """

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)

            def tell(done: Any) -> None:
                if done.exception() is not None:
                    callback(done.exception())

            future.add_done_callback(tell)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend


# ----------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True)
class _Conditions:
    """What a worker must find, for its results to be those of the machine that the run is on."""

    folder: Path
    level: int
    locks: dict[Path, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> _Conditions:
        level = console.shown_level()
        return cls(
            Path.cwd(),
            logging.WARNING if level is None else level,
            lock.signatures(),
            _versions(),
        )

    def refuse_other_versions(self) -> None:
        own = _versions()
        if own == self.versions:
            return
        name = next(name for name in self.versions if own[name] != self.versions[name])
        raise DpedkitError(
            f"The cluster's worker on {socket.gethostname()} has {name} {own[name]}, this machine "
            f"{self.versions[name]}, so that results could differ. Install the same versions on "
            "all machines."
        )

    def refuse_other_folders(self) -> None:
        unseen = self._unseen()
        until = time.monotonic() + _SIGHT_S
        while unseen is not None and time.monotonic() < until:
            time.sleep(0.5)
            unseen = self._unseen()
        if unseen is not None:
            raise DpedkitError(
                f"The cluster's worker on {socket.gethostname()} does not see {unseen} as this "
                "machine does. The folders of the photos and of the output must be on a file "
                "system that all machines share, under the same path."
            )

    def _unseen(self) -> Path | None:
        """A folder that is not here, or not locked by the run: another one of the same name."""
        if not self.folder.is_dir():
            return self.folder
        return next(
            (folder for folder, text in self.locks.items() if _lock_of(folder) != text), None
        )

    def refuse_without_lock(self) -> None:
        for folder, text in self.locks.items():
            if _lock_of(folder) != text:
                raise DpedkitError(f"The run that worked in {folder} has ended.")


def _lock_of(folder: Path) -> str:
    try:
        return (folder / lock.LOCK_NAME).read_text()
    except OSError:
        return ""


# A worker may have several threads, but the working folder belongs to the whole process.
_alone = threading.Lock()
_conditions: _Conditions | None = None


def _in_worker(task: tuple[_Conditions, Callable[[Any], Result], Any]) -> tuple[Result, Any]:
    """Call the function where the caller is; returns its result and what it had to say."""
    global _conditions
    conditions, function, item = task
    conditions.refuse_other_versions()
    conditions.refuse_other_folders()
    _watch_lock()
    with _alone:
        before = Path.cwd()
        os.chdir(conditions.folder)
        _conditions = conditions
        try:
            with console.collected(conditions.level) as messages, one_thread:
                return function(item), messages
        finally:
            _conditions = None
            os.chdir(before)


@cache
def _watch_lock() -> None:
    """Finish no file of a run that has ended: its folder may be another run's by now."""

    def refuse() -> None:
        if _conditions is not None:
            _conditions.refuse_without_lock()

    before_finishing(refuse)


@cache
def _versions() -> dict[str, str]:
    found = {"dpedkit": __version__}
    for name in _DECISIVE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    if found[_OPENCV] == "none":  # the build without windows computes the same
        with suppress(PackageNotFoundError):
            found[_OPENCV] = version(f"{_OPENCV}-headless")
    return found


# --------------------------------------------------------------------------------------- messages


@contextmanager
def _silent_dask() -> Iterator[None]:
    """Dask tells a lost scheduler with tracebacks; this program with a sentence."""
    # Dask gives some of its loggers a level of their own, which counts more than their parent's.
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in ("asyncio", *names)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
