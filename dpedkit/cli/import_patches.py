"""`dpedkit import-patches`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.import_patches.config import ImportPatchesConfig


@options.command(
    name="import-patches",
    examples=(
        ("dpedkit import-patches dped/iphone", "DPED as it is published -> shards/"),
        ("dpedkit import-patches patches/iphone patches/canon", "two folders of patches"),
    ),
)
@options.path_argument("folder", "FOLDER")
@click.argument(
    "dslr_folder", type=click.Path(path_type=Path), metavar="[DSLR_FOLDER]", required=False
)
@options.output_folder("shards", "Folder for the shards.")
@options.config_options(ImportPatchesConfig)
@options.jobs_option
@options.cluster_option
@options.overwrite_option
def command(
    printer: options.Printer,
    folder: Path,
    dslr_folder: Path | None,
    output: Path,
    config: ImportPatchesConfig,
    jobs: int,
    overwrite: bool,
) -> None:
    """Convert published patch pairs into shards.

    FOLDER is a phone's folder of DPED: training_data/{PHONE,canon}/N.jpg become the train split,
    test_data/patches/{PHONE,canon}/N.jpg the test split (and val_data/patches, which `dpedkit
    shards export` writes, the val split). Alternatively, FOLDER holds the phone's patches
    themselves, and DSLR_FOLDER those of the DSLR. The two files of a patch pair have the same name.

    No patch pair is dropped because of its NCC; use `dpedkit shards filter` for that.
    """
    from dpedkit import stages

    printer.show(
        stages.import_patches(folder, dslr_folder, output, config, jobs=jobs, overwrite=overwrite)
    )
