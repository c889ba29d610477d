"""`dpedkit patches`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.patches.config import PatchConfig


@options.command(
    examples=(
        ("dpedkit patches --min-corr 0.9", "aligned/ -> shards/"),
        ("dpedkit patches pairs/ -o shards95/ --min-corr 0.95", "other folders, stricter"),
    )
)
@options.path_argument("aligned", "[ALIGNED_FOLDER]", default="aligned")
@options.output_folder("shards", "Folder for the shards.")
@options.config_options(PatchConfig)
@options.jobs_option
@options.cluster_option
@options.overwrite_option
def command(
    printer: options.Printer,
    aligned: Path,
    output: Path,
    config: PatchConfig,
    jobs: int,
    overwrite: bool,
) -> None:
    """Cut matching patch pairs from aligned photos into shards.

    A window moves over both aligned images without overlap; at each position the best small shift
    and rotation is found, and the patch pair is kept when its normalised cross-correlation (NCC)
    exceeds --min-corr. Photos, never patches, are divided into train, val and test. The summary
    says how many windows were tried and kept, and why the others fell.

    ALIGNED_FOLDER is what `dpedkit align` wrote (default: aligned). A run that was stopped
    continues when the same command is given again.
    """
    from dpedkit import stages

    printer.show(stages.patches(aligned, output, config, jobs=jobs, overwrite=overwrite))
