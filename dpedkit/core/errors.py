"""Errors that a user can cause, and the exit codes of the command line."""

from __future__ import annotations

from typing import Any

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TOO_MANY_REJECTED = 3
EXIT_INTERRUPTED = 130


class DpedkitError(Exception):
    """An error that the user can cause and fix.

    The message says in one or two lines what is wrong, where (the file or the setting), and what
    to do about it. The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = EXIT_FAILED


class UsageError(DpedkitError):
    """A command, option or recipe that is not valid as given."""

    exit_code = EXIT_USAGE


class TooManyRejectedError(DpedkitError):
    """The work is finished and kept, but more of the input was rejected than allowed.

    `summary` is what the driver would have returned.
    """

    exit_code = EXIT_TOO_MANY_REJECTED

    def __init__(self, message: str, summary: Any) -> None:
        super().__init__(message)
        self.summary = summary


class OutputExistsError(DpedkitError):
    """Output of an earlier run with other settings is in the way; ``--overwrite`` replaces it."""


class FolderInUseError(DpedkitError):
    """Another run is using the folder at the moment."""


class PhotoError(DpedkitError):
    """A photo that cannot be read or used; the rest of its folder is processed without it."""
