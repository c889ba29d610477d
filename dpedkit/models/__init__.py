"""The networks: generators, the discriminator, and the files that hold a generator.

    generator = build_generator("resnet-12-64", norm="batch")
    save_model(path, generator, card)
    generator = load_model(path)
    enhanced = generator(photos)        # (N, 3, H, W) float32 in [0, 1] -> the same

Nothing here imports torch until a name is used.
"""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "build_generator": ".build",
    "GENERATORS": ".build",
    "ConvLayer": ".layers",
    "Generator": ".generator",
    "ResidualBlock": ".layers",
    "Discriminator": ".discriminator",
    "load_model": ".files",
    "save_model": ".files",
    "find_model": ".files",
    "read_card": ".files",
    "VGG19": ".vgg",
    "VGG19Weights": ".vgg",
    "read_weights": ".vgg_files",
    "find_weights": ".vgg_places",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
