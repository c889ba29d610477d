"""A command in a process of its own that can be disturbed at an exact moment."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

PATIENCE_S = 180
_CHANGES = {"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir"}


@dataclass(frozen=True)
class Fault:
    """What happens to a process: at a change of the disk that it is about to make, or at a time.

    Attributes
    ----------
    change : int or None
        The how manieth opening for writing, renaming or removal below the working folder.
    seconds : float or None
        After this time from outside, the process is killed.
    full_disk : bool
        Instead of being killed, the process finds the disk full from that change on: nothing can
        be opened for writing any more.
    """

    change: int | None = None
    seconds: float | None = None
    full_disk: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code, negative for a signal, and what it said."""

    code: int
    said: str
    seconds: float


def context() -> multiprocessing.context.BaseContext:
    """Processes that begin with everything imported, so that faults hit the work."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(
        [
            "dpedkit.cli",
            "dpedkit.recipe",
            "dpedkit.align.pair",
            "dpedkit.align.sidecars",
            "dpedkit.patches",
            "dpedkit.import_patches",
            "dpedkit.report",
            "dpedkit.training.loop",
            "dpedkit.enhancement.driver",
            "joblib",
        ]
    )
    return made


def run(arguments: tuple[str, ...], folder: Path, fault: Fault | None = None) -> Outcome:
    """Run a command in a folder to its end, or to the fault's."""
    process = start(arguments, folder, fault)
    return finish(process, folder, fault)


def start(arguments: tuple[str, ...], folder: Path, fault: Fault | None = None) -> BaseProcess:
    """Begin a command in a folder; its messages go to a file beside it."""
    process = context().Process(target=_child, args=(arguments, folder, fault))
    process.start()
    return process


def finish(process: BaseProcess, folder: Path, fault: Fault | None = None) -> Outcome:
    """Wait for the end, which the fault may bring about."""
    began = time.monotonic()
    if fault is not None and fault.seconds is not None:
        process.join(fault.seconds)
        process.kill()
    process.join(PATIENCE_S)
    seconds = time.monotonic() - began
    if process.exitcode is None:
        process.kill()
        process.join()
    code = process.exitcode
    assert code is not None
    messages = messages_file(folder, process.pid)
    said = messages.read_text(errors="replace") if messages.exists() else ""
    messages.unlink(missing_ok=True)
    process.close()
    return Outcome(code, said, seconds)


def messages_file(folder: Path, process: int | None) -> Path:
    return folder.with_name(f"{folder.name}.{process}.txt")


def count_changes(arguments: tuple[str, ...], folder: Path) -> tuple[int, Outcome]:
    """How many changes of the disk an undisturbed run makes, and how it ended."""
    outcome = run(arguments, folder, Fault(change=0))
    counted = folder.with_name(f"{folder.name}.count")
    number = int(counted.read_text())
    counted.unlink()
    return number, outcome


def _child(arguments: tuple[str, ...], folder: Path, fault: Fault | None) -> None:
    with messages_file(folder, os.getpid()).open("w") as messages:
        os.dup2(messages.fileno(), 1)
        os.dup2(messages.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(folder)
    from dpedkit.cli import execute
    from dpedkit.core import console
    from dpedkit.core.process import own_process

    own_process()
    counter = _watch_disk(folder, fault) if fault and fault.change is not None else [0]
    code = 1
    try:
        with console.shown():
            code = execute(list(arguments))
    except BaseException:
        import traceback

        traceback.print_exc()
    counted = counter[0]
    counter[0] = -(10**9)  # what follows is not the command's
    if fault is not None and fault.change == 0:
        folder.with_name(f"{folder.name}.count").write_text(str(counted))
    # A child of multiprocessing runs no exit handlers: it would wait until idle workers leave.
    from joblib.externals.loky import get_reusable_executor

    if any("loky" in argument for argument in sys.modules) and "-j" in arguments:
        get_reusable_executor().shutdown(kill_workers=True)
    os._exit(code)


def _watch_disk(folder: Path, fault: Fault) -> list[int]:
    """Count changes of the disk below a folder, and strike at the one that the fault names."""
    counter = [0]
    root = str(folder)

    def below(name: object) -> bool:
        try:
            path = os.fsdecode(name)  # type: ignore[arg-type]
        except TypeError:  # a file descriptor
            return False
        path = os.path.join(root, path)  # noqa: PTH118  every file that is opened passes here
        return path.startswith(root) and not path.endswith(".dpedkit.lock")

    def hook(event: str, values: tuple[object, ...]) -> None:
        if event == "open":
            flags = values[2]
            writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writing or not below(values[0]):
                return
        elif event not in _CHANGES or not below(values[0]):
            return
        counter[0] += 1
        if not fault.change or counter[0] < fault.change:
            return
        if not fault.full_disk:
            os.kill(os.getpid(), signal.SIGKILL)
        if event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(values[0]))

    sys.addaudithook(hook)
    return counter
