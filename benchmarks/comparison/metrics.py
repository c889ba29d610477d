"""PSNR, SSIM and MS-SSIM: the same values as others', and how fast."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from baselines.scipy_ms_ssim import scipy_ms_ssim
from scipy import ndimage
from torch import Tensor

from comparison import peers
from comparison.effort import Effort
from comparison.tables import MORE, NEITHER, Column, Row, Table
from comparison.turns import by_turns, median_ratio, one_thread_of_torch
from dpedkit.metrics import AUTHORS_BATCH, ms_ssim, psnr, ssim

OURS = "dpedkit"
PATCH_SIDE, SIDE = 100, 256
LIBRARIES_SMALLEST = 161  # px: 16 times a window of 11 taps less one, and one more
Metric = Callable[[Tensor, Tensor], Tensor]

TITLE = "Metrics"
NOTE = (
    "One thread; images a second of processor time. *Largest difference* is that of one image's "
    "value from dpedkit's, in dB for PSNR."
)
PATCH_NOTE = (
    "The DPED authors compute MS-SSIM of patches with a window that shrinks with the image, which "
    "no library does; a direct translation of their code to scipy computes the same."
)
BORDER_NOTE = (
    "torchmetrics also counts the border, where the window covers the image reflected; dpedkit and "
    "piq take only the places where the window fits inside, as the authors do."
)
_OURS: dict[str, Metric] = {"PSNR": psnr, "SSIM": ssim, "MS-SSIM": ms_ssim}


def compare(effort: Effort) -> Iterator[Table]:
    """A table for each metric and size of images."""
    with one_thread_of_torch():
        for side, names in ((PATCH_SIDE, tuple(_OURS)), (SIDE, ("SSIM", "MS-SSIM"))):
            a, b = similar_images(effort.images, side)
            for name in names:
                yield compare_metric(name, a, b, effort.rounds)


def compare_metric(name: str, a: Tensor, b: Tensor, rounds: int) -> Table:
    """All that compute the metric of images of this size."""
    side = a.shape[-1]
    ways: dict[str, Metric] = {OURS: _OURS[name]}
    absent = {}
    for peer, find in (("torchmetrics", _of_torchmetrics), ("piq", _of_piq)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                metric = find(name)
        except peers.AbsentError as reason:
            absent[peer] = str(reason)
            continue
        if name == "MS-SSIM" and side < LIBRARIES_SMALLEST:
            absent[peer] = f"its MS-SSIM refuses images below {LIBRARIES_SMALLEST} px."
        else:
            ways[peer] = metric
    notes = []
    if name == "MS-SSIM" and side == PATCH_SIDE:
        ways["scipy, direct translation"] = _by_scipy
        notes.append(PATCH_NOTE)
    elif "torchmetrics" in ways and name != "PSNR":
        notes.append(BORDER_NOTE)
    return _table(f"{name}, images of {side} px", ways, absent, a, b, rounds, tuple(notes))


def similar_images(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Smooth random pictures, and the same with other contrast and some noise: (N, 3, S, S)."""
    rng = np.random.default_rng(0)
    a = ndimage.gaussian_filter(rng.random((count, side, side, 3)), (0, 2, 2, 0)) * 4 - 1.5
    b = 0.8 * a + 0.1 + 0.05 * rng.standard_normal(a.shape)
    first, second = (
        torch.from_numpy(np.round(np.clip(x, 0, 1) * 255)).permute(0, 3, 1, 2).float() / 255
        for x in (a, b)
    )
    return first, second


def _by_scipy(a: Tensor, b: Tensor) -> Tensor:
    images = ((x.double() * 255).permute(0, 2, 3, 1).numpy() for x in (a, b))
    return torch.from_numpy(scipy_ms_ssim(*images))


def _of_torchmetrics(name: str) -> Metric:
    image = peers.load("torchmetrics.functional.image")
    each = {"data_range": 1.0, "reduction": "none"}
    metrics: dict[str, Metric] = {
        "PSNR": lambda a, b: image.peak_signal_noise_ratio(a, b, dim=(1, 2, 3), **each),
        "SSIM": lambda a, b: image.structural_similarity_index_measure(a, b, **each),
        "MS-SSIM": lambda a, b: image.multiscale_structural_similarity_index_measure(a, b, **each),
    }
    return metrics[name]


def _of_piq(name: str) -> Metric:
    piq = peers.load("piq")
    each = {"data_range": 1.0, "reduction": "none"}
    metrics: dict[str, Metric] = {
        "PSNR": lambda a, b: piq.psnr(a, b, **each),
        "SSIM": lambda a, b: piq.ssim(a, b, downsample=False, **each),
        "MS-SSIM": lambda a, b: piq.multi_scale_ssim(a, b, **each),
    }
    return metrics[name]


def _table(
    title: str,
    ways: dict[str, Metric],
    absent: dict[str, str],
    a: Tensor,
    b: Tensor,
    rounds: int,
    notes: tuple[str, ...],
) -> Table:
    pieces = list(zip(a.split(AUTHORS_BATCH), b.split(AUTHORS_BATCH), strict=True))

    def of_all(metric: Metric) -> Tensor:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.cat([metric(*piece).double() for piece in pieces])

    values = {name: of_all(metric) for name, metric in ways.items()}  # the first go warms up
    turns = {name: (lambda metric=metric: of_all(metric)) for name, metric in ways.items()}
    costs = by_turns(turns, rounds)
    rows = [
        Row(
            name,
            (
                len(a) / statistics.median(cost.processor for cost in spent),
                median_ratio(spent, costs[OURS]),
                (values[name] - values[OURS]).abs().max().item(),
            ),
            _WHY.get(title.split(",")[0], {}),
        )
        for name, spent in costs.items()
    ]
    rows += [Row(name, absent=reason) for name, reason in absent.items()]
    columns = (
        Column("images/s", MORE, ",.0f"),
        Column("times dpedkit's seconds"),
        Column("largest difference", NEITHER, ".1e"),
    )
    return Table(title, columns, tuple(rows), OURS, notes)


_CONVOLUTIONS = (
    "dpedkit blurs by products with banded matrices, which is fastest for patches of 100 px; with "
    "the size of the images their cost grows faster than that of convolutions."
)
_WHY = {
    "PSNR": {
        "images/s": (
            "dpedkit also checks that both images are in [0, 1], and looks at every value for that."
        )
    },
    "SSIM": {"images/s": _CONVOLUTIONS},
    "MS-SSIM": {"images/s": _CONVOLUTIONS},
}
