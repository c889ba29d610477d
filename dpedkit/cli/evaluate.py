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

    For each split, PSNR and MS-SSIM are computed by both procedures of the DPED authors, which
    differ by over 2 dB for the same network. per-image is the procedure of their challenge code:
    each image separately. per-batch is that of their training code, used for their published
    tables: inputs rounded to float16, 50 images at a time. SSIM and the PSNR pooled over all pixels
    are shown as well.

    There are two baselines: the untouched phone patches, and a global cubic colour polynomial
    fitted to the patches that the network was trained on (kept in its file). A useful network beats
    the polynomial on scenes that it has not seen. An oracle polynomial, fitted to each scene that
    it is measured on, shows what colour alone could achieve.

    A second table measures the limitations that the paper names: colour errors, too much contrast,
    and amplified noise.

    MODEL is a model file, the folder of a run, or a TensorFlow checkpoint of the authors.
    """
    from dpedkit import stages

    printer.show(stages.evaluate(model, shards, config))
