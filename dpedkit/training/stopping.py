"""Ctrl-C and SIGTERM during a run: the step is finished and the run is saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dpedkit.core import console

# torchrun passes a Ctrl-C on to processes that the terminal has told already.
_ONE_REQUEST_S = 2.0


@contextmanager
def stop_when_asked() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM end the run after the current step; a later Ctrl-C ends it at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    asked_at = 0.0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        if not stop.is_set():
            stop.set()
            asked_at = time.monotonic()
            console.say("Stopping after this step; press Ctrl-C again to stop at once.")
        elif number == signal.SIGINT and time.monotonic() - asked_at > _ONE_REQUEST_S:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
