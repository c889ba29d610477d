"""`dpedkit shards`: look at, check and change folders of shards."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.errors import EXIT_FAILED


@click.group(
    cls=options.command_class(click.Group),
    examples=(
        ("dpedkit shards info shards/", "splits, sizes and settings"),
        ("dpedkit shards verify shards/", "read every byte"),
    ),
)
def command() -> None:
    """Look at and check the folders that `dpedkit patches` wrote."""


@command.command("info")
@options.path_argument("shards", "SHARDS_FOLDER")
@options.with_output_options
def info(printer: options.Printer, shards: Path) -> None:
    """Show what is in a shards folder: splits, patch pairs, sizes, settings."""
    from dpedkit.shards import describe

    printer.show(describe(shards))


@command.command("verify")
@options.path_argument("shards", "SHARDS_FOLDER")
@options.with_output_options
def verify(printer: options.Printer, shards: Path) -> int | None:
    """Read every byte of a shards folder and name what is damaged.

    Checks the checksums, shapes, types and ranges of every shard, and computes the NCC of a sample
    of patches again. Exit code 1 means that something is damaged.
    """
    from dpedkit.shards import verify as verify_shards

    result = verify_shards(shards)
    printer.show(result)
    return None if result.sound else EXIT_FAILED
