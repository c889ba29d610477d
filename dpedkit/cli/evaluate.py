"""`dpedkit evaluate`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.evaluate.config import EvaluateConfig


@options.command(
    examples=(
        ("dpedkit evaluate runs/001 shards/", "the run's best network on every split"),
        ("dpedkit evaluate model.safetensors shards/ --json", "for a script"),
    )
)
@options.path_argument("model", "MODEL")
@options.path_argument("shards", "SHARDS_FOLDER")
@options.config_options(EvaluateConfig)
def command(printer: options.Printer, model: Path, shards: Path, config: EvaluateConfig) -> None:
    """Measure a network beside two baselines.

    How close does its output come to the DSLR?

    Per split: PSNR as the mean over images, over batches of 50 and over all pixels pooled, SSIM
    and MS-SSIM; for the network, for the untouched phone patches, and for one global cubic colour
    polynomial fitted on the train split. A network that does not beat the polynomial on scenes it
    has not seen did not earn its keep.

    MODEL is a model file or the folder of a run.
    """
    from dpedkit import stages

    printer.show(stages.evaluate(model, shards, config))
