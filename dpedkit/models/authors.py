"""The DPED authors' networks: from the variables of their TensorFlow checkpoints to generators.

Their names: `W1`, `b1`, ... are the convolutions in order (`w1` in srcnn), with kernels as
(height, width, in, out). `Variable`, `Variable_1`, ... are shift and scale of the instance norms
in order, shift first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpedkit.core.errors import DpedkitError
from dpedkit.models.build import build_generator
from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer
from dpedkit.models.tensorflow import index_of, read_checkpoint

_SCOPE = "generator/"
# Number of convolutions and width of the first tell the authors' networks apart.
_ARCHITECTURES = {(12, 64): "resnet-12-64", (8, 32): "resnet-8-32", (3, 64): "srcnn"}

Variables = dict[str, NDArray[np.float32]]


def is_checkpoint(prefix: Path) -> bool:
    """Whether a path is the prefix, or the index file, of a TensorFlow checkpoint."""
    return index_of(prefix).is_file()


def load_checkpoint(prefix: Path) -> Generator:
    """The generator in a checkpoint of the authors, in evaluation mode.

    Parameters
    ----------
    prefix : Path
        The checkpoint's files without `.index` and `.data-...`.

    Raises
    ------
    DpedkitError
        If it is no checkpoint, is damaged, or holds another network.
    """
    variables = {
        name.removeprefix(_SCOPE).lower(): value for name, value in read_checkpoint(prefix).items()
    }
    kernels = [name for name in variables if name.startswith("w")]
    try:
        width = variables["w1"].shape[-1]
        architecture = _ARCHITECTURES[len(kernels), width]
        options = {} if architecture == "srcnn" else {"norm": "instance"}
        model = build_generator(architecture, **options)
        _take_over(model, variables)
    except (KeyError, RuntimeError):
        raise DpedkitError(
            f"{index_of(prefix)} is a TensorFlow checkpoint, but not of one of the authors' "
            f"networks ({', '.join(_ARCHITECTURES.values())})."
        ) from None
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise DpedkitError(
            f"{index_of(prefix)} holds weights that are not finite; its training failed."
        )
    model.card = {
        "architecture": model.architecture,
        "options": model.options,
        "imported": {"from": prefix.name.removesuffix(".index"), "format": "TensorFlow V2"},
    }
    return model.eval()


def _take_over(model: Generator, variables: Variables) -> None:
    """Copy every variable to its place; KeyError or RuntimeError where it does not fit."""
    layers = [module for module in model.modules() if isinstance(module, ConvLayer)]
    norms = 0
    with torch.no_grad():
        for number, layer in enumerate(layers, start=1):
            kernel = torch.from_numpy(variables.pop(f"w{number}"))
            layer.conv.weight.copy_(kernel.permute(3, 2, 0, 1))
            assert layer.conv.bias is not None
            # srcnn's last layer has one bias for all three channels.
            layer.conv.bias.copy_(_tensor(variables, f"b{number}").expand_as(layer.conv.bias))
            if isinstance(layer.norm, nn.InstanceNorm2d):
                layer.norm.bias.copy_(_tensor(variables, _variable(2 * norms)))
                layer.norm.weight.copy_(_tensor(variables, _variable(2 * norms + 1)))
                norms += 1
    if variables:
        raise KeyError(next(iter(variables)))


def _tensor(variables: Variables, name: str) -> Tensor:
    return torch.from_numpy(variables.pop(name))


def _variable(number: int) -> str:
    """TensorFlow's name of the n-th variable that was given none."""
    return f"variable_{number}" if number else "variable"
