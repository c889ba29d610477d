"""Inputs that are files: a pipe, a socket or a device in place of one would be waited for."""

from __future__ import annotations

import stat
from pathlib import Path


def would_wait(path: Path) -> bool:
    """Whether reading would wait for another program: not for files, folders and missing paths.

    Pipes that a shell makes, as in `<(command)`, have their writer and are read.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    made_by_shell = str(path.parent) in ("/dev/fd", "/proc/self/fd")
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or made_by_shell)
