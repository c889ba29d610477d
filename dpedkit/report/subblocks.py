"""How far parts of a phone patch are shifted in the DSLR patch, measured from the patches alone.

It knows nothing of `dpedkit.patches`: it judges the result by other means than its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK, ACROSS = 32, 3  # px of a sub-block's side; as many sub-blocks across a patch
SEARCH = 4  # px
SMOOTHING = 0.8  # px
TEXTURED = 8.0  # grey levels^2 per px^2; noise of 4 grey levels leaves 1.4 after smoothing
MIN_NCC = 0.5
RIVAL = 0.1  # below the best NCC: another peak as good as that makes a place ambiguous
OFF = 1.0  # px: a sub-block that is further off is wrong
SMALLEST = BLOCK + 2 * SEARCH  # px of a patch that can be measured


@dataclass(frozen=True)
class SubBlocks:
    """What the sub-blocks of N patch pairs say about how they are shifted.

    Attributes
    ----------
    shift : (N, 9) float64 array
        Length of the shift of each sub-block between the two patches, px; NaN where it has no
        texture or no clear peak.
    textured : (N, 9) bool array
    """

    shift: NDArray[np.float64]
    textured: NDArray[np.bool_]

    @classmethod
    def of(cls, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> Self:
        """Measure patch pairs, each `(N, S, S, 3)`; S is at least 40 px."""
        last = phone.shape[1] - BLOCK - SEARCH
        corners = np.linspace(SEARCH, last, ACROSS).astype(int).tolist()
        shift = np.full((len(phone), ACROSS * ACROSS), np.nan)
        textured = np.zeros(shift.shape, bool)
        for n, pair in enumerate(zip(phone, dslr, strict=True)):
            here, there = map(smooth_luma, pair)
            for k, (y, x) in enumerate((y, x) for y in corners for x in corners):
                block = here[y : y + BLOCK, x : x + BLOCK]
                if not is_textured(block):
                    continue
                textured[n, k] = True
                around = there[y - SEARCH : y + BLOCK + SEARCH, x - SEARCH : x + BLOCK + SEARCH]
                place = clear_peak(cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED))
                if place is not None:
                    shift[n, k] = np.hypot(place[0] - SEARCH, place[1] - SEARCH)
        return cls(shift, textured)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of several scenes as of one."""
        return cls(
            np.concatenate([part.shift for part in parts]),
            np.concatenate([part.textured for part in parts]),
        )

    def row(self) -> dict[str, Any]:
        """JSON-ready: `patches`; how many sub-blocks are `measured`; `median` and `p95` of their
        shifts, px; `off`, the share of the patch pairs with a measured sub-block that have one
        more than 1 px off; `unclear`, the share of the textured sub-blocks that were not measured.
        """
        measured = np.isfinite(self.shift)
        worst = np.where(measured, self.shift, -1).max(axis=1)
        return {
            "patches": len(self.shift),
            "measured": int(measured.sum()),
            "median": _quantile(self.shift[measured], 50),
            "p95": _quantile(self.shift[measured], 95),
            "off": _mean(worst[worst >= 0] > OFF),
            "unclear": _mean(~measured[self.textured]),
        }


def smooth_luma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of `(H, W, 3)` RGB, from 0 to 255, without the finest noise."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(luma, (0, 0), SMOOTHING), np.float32)


def is_textured(luma: NDArray[np.float32]) -> bool:
    """Whether there is detail in every direction, by the mean structure tensor."""
    across, down = np.diff(luma, axis=1)[1:], np.diff(luma, axis=0)[:, 1:]
    mixed = (across * down).mean()
    tensor = np.array([[(across * across).mean(), mixed], [mixed, (down * down).mean()]])
    return bool(np.linalg.eigvalsh(tensor)[0] > TEXTURED)


def clear_peak(ncc: NDArray[np.float32]) -> tuple[float, float] | None:
    """Sub-pixel place `(x, y)` of the highest value, by parabolas; None where it is low or where
    another peak is nearly as high. On the rim of the search it is where the rim is."""
    row, column = (int(index) for index in np.unravel_index(ncc.argmax(), ncc.shape))
    best = ncc[row, column]
    peaks = ncc == cv2.dilate(ncc, np.ones((3, 3), np.uint8))
    if best < MIN_NCC or np.count_nonzero(peaks & (ncc > best - RIVAL)) > 1:
        return None
    return _vertex(ncc[row], column), _vertex(ncc[:, column], row)


def _vertex(values: NDArray[np.float32], top: int) -> float:
    if not 0 < top < len(values) - 1:
        return float(top)
    before, here, after = (float(value) for value in values[top - 1 : top + 2])
    bend = 2 * here - before - after
    return top + (after - before) / (2 * bend) if bend > 0 else float(top)


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _quantile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 4) if len(values) else None
