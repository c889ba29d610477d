"""`dpedkit shards`: inspect, check and convert shards folders."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.core.errors import EXIT_FAILED
from dpedkit.shards.config import ExportConfig, FilterConfig, MergeConfig


@click.group(
    cls=options.command_class(click.Group),
    examples=(
        ("dpedkit shards info shards/", "splits, sizes and settings"),
        ("dpedkit shards verify shards/", "read every byte"),
        ("dpedkit shards filter shards/ --min-corr 0.95 -o s95/", "fewer, surer patch pairs"),
        ("dpedkit shards export shards/ -o patches/", "as single images"),
    ),
)
def command() -> None:
    """Inspect, check and convert shards folders."""


@command.command(
    "info",
    cls=options.command_class(click.Command),
    examples=(("dpedkit shards info shards/", "splits, sizes and settings"),),
)
@options.path_argument("shards", "SHARDS_FOLDER")
@options.with_output_options
def info(printer: options.Printer, shards: Path) -> None:
    """Show what is in a shards folder: splits, patch pairs, sizes, settings."""
    from dpedkit.shards import describe

    printer.show(describe(shards))


@command.command(
    "verify",
    cls=options.command_class(click.Command),
    examples=(("dpedkit shards verify shards/", "exit code 1 if something is damaged"),),
)
@options.path_argument("shards", "SHARDS_FOLDER")
@options.jobs_option
@options.cluster_option
@options.with_output_options
def verify(printer: options.Printer, shards: Path, jobs: int) -> int | None:
    """Read every byte of a shards folder and report what is damaged.

    Checks the checksums, shapes, types and ranges of every shard, and recomputes the NCC of a
    sample of patches. Exit code 1 means that something is damaged.
    """
    from dpedkit.shards import verify as verify_shards

    result = verify_shards(shards, jobs=jobs)
    if result.sound:
        printer.show(result)
        return None
    printer.show(result, {"error": f"{shards} is damaged.", "exit_code": EXIT_FAILED})
    return EXIT_FAILED


@command.command(
    "filter",
    cls=options.command_class(click.Command),
    examples=(
        ("dpedkit shards filter shards/ --min-corr 0.95 -o s95/", "fewer, surer patch pairs"),
    ),
)
@options.path_argument("shards", "SHARDS_FOLDER")
@options.output_folder("shards-filtered", "Folder for the patch pairs that are kept.")
@options.config_options(FilterConfig)
@options.overwrite_option
@options.with_output_options
def filter_(
    printer: options.Printer, shards: Path, output: Path, config: FilterConfig, overwrite: bool
) -> None:
    """Copy the patch pairs above a higher NCC into a new folder.

    Patches are not matched again, and the splits stay the same.
    """
    from dpedkit.shards.conversion import filter_shards

    printer.show(filter_shards(shards, output, config, overwrite=overwrite))


@command.command(
    "merge",
    cls=options.command_class(click.Command),
    examples=(
        ("dpedkit shards merge monday/ tuesday/ -o all/", "two folders into one"),
        ("dpedkit shards merge shards/ --compress -o archive/", "the same patches, compressed"),
    ),
)
@click.argument(
    "shards", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARDS_FOLDER..."
)
@options.output_folder("shards-merged", "Folder for the merged patch pairs.")
@options.config_options(MergeConfig)
@options.overwrite_option
@options.with_output_options
def merge(
    printer: options.Printer,
    shards: tuple[Path, ...],
    output: Path,
    config: MergeConfig,
    overwrite: bool,
) -> None:
    """Put the patch pairs of several shards folders into one.

    Each patch pair stays in its split. Folders that hold the same DSLR photo in different splits
    are refused: a network would be tested on what it was trained on.
    """
    from dpedkit.shards.conversion import merge_shards

    printer.show(merge_shards(shards, output, config, overwrite=overwrite))


@command.command(
    "export",
    cls=options.command_class(click.Command),
    examples=(("dpedkit shards export shards/ -o patches/ --image png", "as single images"),),
)
@options.path_argument("shards", "SHARDS_FOLDER")
@options.output_folder("exported", "Folder for the images.")
@options.config_options(ExportConfig)
@options.overwrite_option
@options.with_output_options
def export(
    printer: options.Printer, shards: Path, output: Path, config: ExportConfig, overwrite: bool
) -> None:
    """Write patch pairs as single images, in the folder layout of DPED."""
    from dpedkit.shards.export import export_patches

    printer.show(export_patches(shards, output, config, overwrite=overwrite))
