"""`dpedkit patches`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.patches.config import PatchConfig


@options.command(
    examples=(
        ("dpedkit patches --min-corr 0.9", "aligned/ -> shards/"),
        ("dpedkit patches --split-file splits.csv", "with the splits of that list"),
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

    Both aligned images are divided into windows that do not overlap. For each window, the best
    small shift and rotation are found, and the patch pair is kept if its normalised
    cross-correlation (NCC) exceeds --min-corr. The split into train, val and test is by photo,
    never by patch, and at random unless you state it. The summary says how many windows were tried
    and kept, and why the rest were dropped.

    ALIGNED_FOLDER is what `dpedkit align` wrote (default: aligned). To continue a run that was
    stopped, give the same command again.
    """
    from dpedkit import stages

    printer.show(stages.patches(aligned, output, config, jobs=jobs, overwrite=overwrite))
