"""How much is measured: all of it, or as much as shows within a minute that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Sizes and numbers of everything that is compared.

    Attributes
    ----------
    align : tuple of (float, int, bool)
        For each size of DSLR photos in MP: pairs of each kind of scene, and whether the slow peers
        take part, with the first of each kind.
    pairs : tuple of (int, float)
        For the cutting of patches: numbers of pairs and their size in MP.
    rounds : int
        Turns of everything that is quick.
    probe_seconds : float
        Of each measurement of the machine alone.
    patches : int
        Patch pairs to load.
    images : int
        Images whose metrics are computed.
    batch, patch_size : int
        Of a training step.
    photo_megapixels : tuple of float
        Of the photos to enhance.
    """

    align: tuple[tuple[float, int, bool], ...]
    pairs: tuple[tuple[int, float], ...]
    rounds: int
    probe_seconds: float
    patches: int
    images: int
    batch: int
    patch_size: int
    photo_megapixels: tuple[float, ...]


FULL = Effort(
    align=((2, 3, True), (6, 2, False), (12, 1, False), (24, 1, False)),
    pairs=((8, 6.0), (64, 1.0), (512, 0.2)),
    rounds=5,
    probe_seconds=0.5,
    patches=8192,
    images=20,
    batch=4,
    patch_size=100,
    photo_megapixels=(0.5, 1.2),
)
QUICK = Effort(
    align=((0.2, 1, True),),
    pairs=((4, 0.2),),
    rounds=2,
    probe_seconds=0.2,
    patches=256,
    images=4,
    batch=2,
    patch_size=32,
    photo_megapixels=(0.05,),
)
