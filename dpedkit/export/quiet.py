"""The messages of other packages, kept away while they convert or run a network."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from dpedkit.core.process import SharedChange

# The root logger does not suffice: torch gives its own logger a level.
_LOGGERS = ("", "torch")


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


quiet = SharedChange(_quiet)
"""Without what is printed to stdout, logged below errors, or warned of."""
