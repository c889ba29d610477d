"""How phone and DSLR patches differ: brightness, saturation, sharpness, shifts of parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.report.charts import curves, histogram
from dpedkit.report.page import escape
from dpedkit.report.subblocks import ACROSS, BLOCK, OFF, SMALLEST, SubBlocks
from dpedkit.shards.reader import SplitReader

Patch = NDArray[np.uint8]  # (S, S, 3)

_COMPARED = 600  # patch pairs, evenly taken from all splits
_BINS = 30
_NCC_BINS = 40
_FURTHEST = 2.0  # px; the last bin of the shifts holds those beyond


def brightness(patch: Patch) -> float:
    """Mean luma, 0 to 255."""
    return float(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).mean())


def saturation(patch: Patch) -> float:
    """Mean saturation as in HSV, 0 to 1."""
    return float(cv2.cvtColor(patch, cv2.COLOR_RGB2HSV)[..., 1].mean() / 255)


def sharpness(patch: Patch) -> float:
    """Standard deviation of the Laplacian of the luma, in grey levels; noise counts as sharp."""
    luma = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(luma, cv2.CV_32F).std())


_COMPARISONS: tuple[tuple[str, str, Callable[[Patch], float]], ...] = (
    ("Brightness", "mean luma of a patch, 0 to 255", brightness),
    ("Saturation", "mean saturation of a patch, 0 to 1", saturation),
    ("Sharpness", "standard deviation of the Laplacian, grey levels", sharpness),
)


def kept_correlations(readers: Sequence[SplitReader], threshold: float) -> str:
    """A histogram of the NCC of the kept patch pairs, in bins fine enough to tell them apart."""
    ncc = np.concatenate([reader.ncc for reader in readers])
    if not len(ncc):
        return ""
    low = min(threshold, float(np.floor(100 * ncc.min()) / 100))
    edges = np.linspace(low, 1, _NCC_BINS + 1)
    counts = np.histogram(ncc.clip(low, 1), edges)[0]
    title = f"Correlation of the kept patch pairs (median {np.median(ncc):.3f})"
    return histogram(counts.tolist(), edges.tolist(), title, "NCC", "patch pairs")


def comparison(readers: Sequence[SplitReader]) -> str:
    """HTML: phone against DSLR patches, and how far their parts are shifted; empty without any."""
    phone, dslr = _sample(readers)
    if not len(phone):
        return ""
    charts = [
        _two_curves(title, label, *(np.array([*map(measure, side)]) for side in (phone, dslr)))
        for title, label, measure in _COMPARISONS
    ]
    words = f"{len(phone):,} patch pairs, evenly taken from all splits."
    if phone.shape[1] >= SMALLEST:
        chart, said = _shifts(SubBlocks.of(phone, dslr))
        charts.append(chart)
        words += said
    return (
        f'<h2>Phone and DSLR patches</h2><p class="soft">{escape(words)}</p>'
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _sample(readers: Sequence[SplitReader]) -> tuple[Patch, Patch]:
    """Patch pairs `(N, S, S, 3)`, evenly taken from all splits."""
    total = sum(map(len, readers))
    parts = []
    for reader in readers:
        count = min(len(reader), -(-_COMPARED * len(reader) // max(total, 1)))
        if count:
            parts.append(reader.gather(np.linspace(0, len(reader) - 1, count).round().astype(int)))
    if not parts:
        return np.empty((0, 0, 0, 3), np.uint8), np.empty((0, 0, 0, 3), np.uint8)
    phone, dslr = (np.concatenate(side) for side in zip(*parts, strict=True))
    return phone, dslr


def _two_curves(
    title: str, label: str, phone: NDArray[np.float64], dslr: NDArray[np.float64]
) -> str:
    """How a measure of the patches is distributed for each camera, on common bins."""
    low, high = np.percentile(np.concatenate([phone, dslr]), (0, 99.5))
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    lines = {
        f"{name} (median {np.median(values):.3g})": [
            (float(x), float(y))
            for x, y in zip(
                centres, 100 * np.histogram(values.clip(*edges[[0, -1]]), edges)[0] / len(values),
                strict=True,
            )
        ]
        for name, values in (("phone", phone), ("DSLR", dslr))
    }  # fmt: skip
    return curves(lines, title, label, "% of the patches", from_zero=True)


def _shifts(blocks: SubBlocks) -> tuple[str, str]:
    """A histogram of the shifts of sub-blocks, and what it says in words."""
    found, row = blocks.shift[np.isfinite(blocks.shift)], blocks.row()
    if not len(found):
        return "", " No part of them has enough detail to measure its shift."
    edges = np.linspace(0, _FURTHEST, _NCC_BINS + 1)
    counts = np.histogram(found.clip(0, _FURTHEST), edges)[0]
    label = f"px between phone and DSLR; {_FURTHEST:g} and more in the last bar"
    title = "Shift of parts of the patches"
    chart = histogram(
        counts.tolist(), edges.tolist(), title, label, "parts",
        (OFF, f"{OFF:g} px"), dim_below=False,
    )  # fmt: skip
    words = (
        f" {ACROSS * ACROSS} parts of {BLOCK} px of each phone patch were searched for in the DSLR "
        f"patch. Half of the {len(found):,} parts with a clear match lie within "
        f"{row['median']:.2f} px, 95% within {row['p95']:.2f} px; {row['off']:.1%} of the patch "
        f"pairs have one that is more than {OFF:g} px off. {row['unclear']:.1%} of the parts with "
        "detail have no clear match."
    )
    return chart, words
