"""`dpedkit align`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.align.config import AlignFoldersConfig
from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit align raw/iphone raw/canon", "writes aligned/ and its report"),
        ("dpedkit align phone/ dslr/ -o pairs/ -j 8", "other folders, 8 processes"),
    )
)
@options.path_argument("phone", "PHONE_FOLDER")
@options.path_argument("dslr", "DSLR_FOLDER")
@options.output_folder("aligned", "Folder for the aligned pairs.")
@options.config_options(AlignFoldersConfig)
@options.jobs_option
@options.cluster_option
@options.overwrite_option
def command(
    printer: options.Printer,
    phone: Path,
    dslr: Path,
    output: Path,
    config: AlignFoldersConfig,
    jobs: int,
    overwrite: bool,
) -> None:
    """Align the two photos of each phone-DSLR pair.

    Photos are paired by file name, phone/0001.jpg with dslr/0001.jpg, or as --pair-by says;
    `dpedkit pairs` shows the pairs beforehand. For each pair the map from one photo to the other
    is found, both are cropped to what they share, and the DSLR photo is brought to the size of the
    phone photo, whose pixels are kept as they are. A pair whose map is in doubt is rejected with
    its reason. The report shows what was done.

    A run that was stopped continues when the same command is given again. Exit code 3 means that
    everything was written, but that more pairs were rejected than --max-rejected allows.
    """
    from dpedkit import stages

    printer.show(stages.align(phone, dslr, output, config, jobs=jobs, overwrite=overwrite))
