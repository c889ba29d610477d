"""What a run says while it works: messages, warnings and progress, all on stderr.

stdout belongs to the result: a table for people, or one JSON object with ``--json``.

Messages go to the logger "dpedkit". The command line shows them, see `shown`; a program that calls
dpedkit as a library handles them as it does those of any other library.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET, NORMAL, VERBOSE = -1, 0, 1

_log = logging.getLogger("dpedkit")
_FIRST_LINE_AFTER_S = 5.0
_LINE_EVERY_SHARE = 0.1  # of the time spent so far: a run of hours does not fill its log


class _StderrHandler(logging.Handler):
    """Writes to whatever sys.stderr is now, above a running progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        # A message that cannot be shown, on a full disk for example, must not end the work.
        with suppress(OSError, ValueError):
            print(prefix + record.getMessage(), file=sys.stderr, flush=True)


_handler = _StderrHandler()


@contextmanager
def shown(level: int | None = logging.INFO) -> Iterator[None]:
    """Show messages from this level on, on stderr, until the end of the block.

    Parameters
    ----------
    level : int or None
        Of the module `logging`; None changes nothing.
    """
    if level is None or _handler in _log.handlers:
        yield
        return
    before = _log.level, _log.propagate
    _log.addHandler(_handler)
    _log.setLevel(level)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(_handler)
        _log.propagate = before[1]
        _log.setLevel(before[0])


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, record.getMessage()))


@contextmanager
def collected(level: int) -> Iterator[list[tuple[int, str]]]:
    """Collect the messages of this block from this level on, to be shown by `repeat` elsewhere."""
    collector = _Collector()
    before = _log.level, _log.propagate
    _log.addHandler(collector)
    _log.setLevel(level)
    _log.propagate = False
    try:
        yield collector.messages
    finally:
        _log.removeHandler(collector)
        _log.propagate = before[1]
        _log.setLevel(before[0])


def repeat(messages: Sequence[tuple[int, str]]) -> None:
    """Tell what was collected in another process."""
    for level, message in messages:
        _log.log(level, "%s", message)


def shown_level() -> int | None:
    """The level from which on `shown` shows messages now; None outside of it."""
    return _log.level if _handler in _log.handlers else None


def set_verbosity(verbosity: int) -> None:
    """QUIET shows warnings only, NORMAL messages and progress, VERBOSE the details too."""
    levels = {QUIET: logging.WARNING, NORMAL: logging.INFO, VERBOSE: logging.DEBUG}
    _log.setLevel(levels[max(QUIET, min(VERBOSE, verbosity))])


def say(message: str) -> None:
    """Say what is going on."""
    _log.info("%s", message)


def warn(message: str) -> None:
    """Say what the user should know even with ``-q``."""
    _log.warning("%s", message)


def detail(message: str) -> None:
    """Say something that only ``-v`` shows."""
    _log.debug("%s", message)


class Progress(Protocol):
    """What `progress` gives to the loop that it is used with."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count finished steps; `note` is a short figure shown at the end of the line."""


@contextmanager
def progress(label: str, total: int, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show how far a long job is: a bar on a terminal, a plain line now and then in a pipe.

    Both show the rate and the time left. Nothing is shown with ``-q``.

    Parameters
    ----------
    label : str
        What is being done, for example "align".
    total, done : int
        Steps in all, and steps that an earlier run had finished already.
    unit : str
        What a step is, in the plural: "pairs", "steps".
    """
    if not _log.isEnabledFor(logging.INFO):
        yield _Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        yield from _bar(label, total, unit, done)
    else:
        lines = _Lines(label, total, unit, done)
        yield lines
        lines.finish()


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class _Lines:
    """Plain progress lines for logs and pipes, at most one every few seconds."""

    def __init__(self, label: str, total: int, unit: str, done: int) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.before, self.done, self.note = done, done, ""
        self.started = self.last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.note = note or self.note
        now = time.monotonic()
        pause = max(_FIRST_LINE_AFTER_S, _LINE_EVERY_SHARE * (now - self.started))
        if now - self.last_line >= pause and self.done < self.total:
            self._line()

    def finish(self) -> None:
        if self.done > self.before:
            self._line()

    def _line(self) -> None:
        self.last_line = time.monotonic()
        rate = (self.done - self.before) / max(self.last_line - self.started, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else 0.0
        ending = f"{_clock(left)} left" if left else f"in {_clock(self.last_line - self.started)}"
        note = f", {self.note}" if self.note else ""
        say(f"{self.label}: {self.done}/{self.total} {self.unit}, {_rate(rate)}, {ending}{note}")


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self.bar, self.task, self.note = bar, task, ""
        self.started, self.steps = time.monotonic(), 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += steps
        rate = self.steps / max(time.monotonic() - self.started, 1e-9)
        self.note = note or self.note
        self.bar.update(self.task, advance=steps, rate=_rate(rate), note=self.note)


def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(unit + ", {task.fields[rate]},"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), expand=True) as bar:
        yield _Bar(bar, bar.add_task(label, total=total, completed=done, rate="-", note=""))


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / max(per_second, 1e-9):.1f} s each"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def duration(seconds: float) -> str:
    """A length of time in words, for estimates: '40 seconds', '12 minutes', '3.5 hours'."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> str:
    """Lay out a small table as text: the first column flush left, the others flush right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        first, *others = (cell for cell in row)
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([*lines, note] if note else lines)
