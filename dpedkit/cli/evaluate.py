"""`dpedkit evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.core.config import Config, options_of
from dpedkit.core.errors import UsageError
from dpedkit.evaluation.config import EvaluateConfig, PhotoEvaluateConfig


@options.command(
    examples=(
        ("dpedkit evaluate runs/001 shards/", "the run's best network on every split"),
        ("dpedkit evaluate runs/001 --photos aligned/", "on whole photos not trained on"),
        ("dpedkit evaluate model.safetensors shards/ --json", "for a script"),
    )
)
@options.path_argument("model", "MODEL")
@click.argument(
    "shards", type=click.Path(path_type=Path), metavar="[SHARDS_FOLDER]", required=False
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    metavar="ALIGNED_FOLDER",
    help="Instead of patches, measure the whole photos of a folder that `dpedkit align` wrote.",
)
@options.config_options(EvaluateConfig, photo_config=PhotoEvaluateConfig)
def command(
    printer: options.Printer,
    model: Path,
    shards: Path | None,
    photos: Path | None,
    config: EvaluateConfig,
    photo_config: PhotoEvaluateConfig,
) -> None:
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
    and amplified noise. A third gives the mean over scenes with its 95% interval, and the
    difference to each baseline paired by scene.

    With --photos, the network enhances the whole original phone photos as `dpedkit enhance` does,
    and PSNR, SSIM, MS-SSIM and CIEDE2000 are those of the whole aligned part. Pixels do not count
    where the alignment does not hold.

    MODEL is a model file, the folder of a run, or a TensorFlow checkpoint of the authors.
    """
    from dpedkit import stages

    if (shards is None) == (photos is None):
        raise UsageError("Give either the folder of the shards, or --photos ALIGNED_FOLDER.")
    if photos is not None:
        config.refuse_unused(_names(photo_config), "with --photos")
        printer.show(stages.evaluate_photos(model, photos, photo_config))
    elif shards is not None:
        photo_config.refuse_unused(_names(config), "without --photos")
        printer.show(stages.evaluate(model, shards, config))


def _names(config: Config) -> list[str]:
    return [field.name for field in options_of(type(config))]
