"""Generators by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from dpedkit.core.errors import UsageError
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.generator import Generator, resnet, srcnn
from dpedkit.models.photo_aware import PhotoAware


def _resnet_12_64(norm: str = "batch") -> Generator:
    return resnet("resnet-12-64", blocks=4, channels=64, norm=norm)


def _resnet_8_32(norm: str = "instance") -> Generator:
    return resnet("resnet-8-32", blocks=2, channels=32, norm=norm)


GENERATORS: dict[str, Callable[..., Generator]] = {
    "resnet-12-64": _resnet_12_64,
    "resnet-8-32": _resnet_8_32,
    "srcnn": srcnn,
    "colour-residual": ColourResidual,
    "photo-aware": PhotoAware,
}


# A model file says how large its network is before its weights are seen.
_LARGEST = {"channels": 1024, "blocks": 64}


def build_generator(name: str, **options: Any) -> Generator:
    """A generator with random initial weights, in training mode.

    Parameters
    ----------
    name : str
        One of `GENERATORS`: "resnet-12-64" is the paper's.
    **options
        Options of that generator: `norm` ("batch", "instance" or "none") for the resnets,
        `channels` (1 to 1024) and `blocks` (0 to 64) for colour-residual and photo-aware.

    Raises
    ------
    UsageError
        If there is no generator of that name, or it does not take these options or values.
    """
    if name not in GENERATORS:
        nearest = difflib.get_close_matches(name, GENERATORS, n=1)
        cure = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(GENERATORS)}."
        raise UsageError(f"There is no generator '{name}'; {cure}")
    for option, largest in _LARGEST.items():
        value = options.get(option, 1)
        smallest = 1 if option == "channels" else 0
        if type(value) is not int or not smallest <= value <= largest:
            raise UsageError(
                f"{option} is {value!r}, but must be a whole number from {smallest} to {largest}."
            )
    try:
        return GENERATORS[name](**options)
    except TypeError:
        given = ", ".join(options)
        raise UsageError(f"The generator '{name}' does not take these options: {given}.") from None
