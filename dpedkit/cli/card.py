"""`dpedkit card`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.core.errors import EXIT_FAILED
from dpedkit.publishing.config import CardConfig


@options.command(
    examples=(
        ("dpedkit card shards/ --licence CC-BY-4.0", "state the licence of the photos"),
        ("dpedkit card runs/001 --authors 'A. Smith; B. Lee'", "write runs/001/README.md"),
        ("dpedkit card runs/001 --check --json", "may it be published? exit code 1 if not"),
    )
)
@options.path_argument("path", "PATH")
@options.config_options(CardConfig)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="SHARDS_FOLDER",
    help="For a network: update what its file says of its training data from these shards, on "
    "which it was trained, for example after their licence was stated.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Card to write or to check. Default: README.md beside the shards or the network.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing; exit code 1 if something is missing or the card is not up to date.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a file of that name that dpedkit did not write."
)
def command(
    printer: options.Printer,
    path: Path,
    config: CardConfig,
    data: Path | None,
    output: Path | None,
    check: bool,
    overwrite: bool,
) -> int | None:
    """Write the card of shards or of a network, and say what it lacks.

    PATH is a shards folder, the folder of a run, or a model file. The card is README.md beside it:
    Markdown for people, with a header that the Hugging Face Hub reads.

    Licence, authors, citation and DOI are kept in the shards' index and in the model file, so they
    stay with the data wherever it goes; a network's file also keeps those of its photos, their
    cameras and how they were processed. `dpedkit patches`, `import-patches` and `train` have the
    same options, and recipes the same keys.
    """
    from dpedkit import stages

    summary = stages.card(path, config, data=data, output=output, check=check, overwrite=overwrite)
    if not (check and summary.problems):
        printer.show(summary)
        return None
    error = f"The card of {path} is not ready to be published."
    printer.show(summary, {"error": error, "exit_code": EXIT_FAILED})
    return EXIT_FAILED
