"""Ctrl-C and SIGTERM: a run that is asked to stop finishes its step and saves itself first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dpedkit import console


@contextmanager
def stop_when_asked() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM end the run after the step at hand; a second Ctrl-C ends it now."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        # torchrun passes a Ctrl-C on as SIGTERM: only a second Ctrl-C is impatience.
        if stop.is_set():
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        stop.set()
        console.say("Stopping after this step; Ctrl-C again stops at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
