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
    `dpedkit pairs` shows the pairs beforehand. For each pair, the map from one photo to the other
    is estimated, both photos are cropped to their common area, and the DSLR photo is resampled to
    the size of the phone photo, whose pixels stay unchanged. A pair with a doubtful map is
    rejected, and the reason is given. The report shows the results.

    To continue a run that was stopped, give the same command again. Exit code 3 means that
    everything was written, but more pairs were rejected than --max-rejected allows.
    """
    from dpedkit import stages

    printer.show(stages.align(phone, dslr, output, config, jobs=jobs, overwrite=overwrite))
