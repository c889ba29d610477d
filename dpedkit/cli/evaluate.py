"""`dpedkit evaluate`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.evaluation.config import EvaluateConfig


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

    Per split: PSNR and MS-SSIM by both procedures of the DPED authors, which differ by over 2 dB
    on the same network. per-image is that of their challenge code: each image by itself. per-batch
    is that of their training code, behind their published tables: inputs rounded to float16, 50
    images at a time. Besides, SSIM, and PSNR over all pixels pooled.

    Beside the network stand the untouched phone patches, and one global cubic colour polynomial
    fitted on the train split. A network that does not beat the polynomial on scenes it has not seen
    did not earn its keep. An oracle's polynomial, fitted to each scene that it is measured on,
    shows what colour alone could reach.

    A second table measures what the paper names as limitations: colours that are off, too much
    contrast, and amplified noise.

    MODEL is a model file, the folder of a run, or a TensorFlow checkpoint of the authors.
    """
    from dpedkit import stages

    printer.show(stages.evaluate(model, shards, config))
