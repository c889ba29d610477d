"""What `benchmarks/depth.py` measures: a map and its windows against the truth, and patches alone.

The sub-blocks know nothing of `dpedkit.patches`: they judge it by other means than its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import cv2
import numpy as np
from depth_scenes import FAR, HIDDEN, Photo, Scene
from numpy.typing import NDArray

from dpedkit.align.pair import Alignment
from dpedkit.geometry import Points, centre_of, grid_points
from dpedkit.patches import Patches

OFF = 1.0  # phone px: more is wrong
MOST_OFF = 0.1  # of a window's area; a window with as much is wrong
PLACE_STEP, WINDOW_STEP = 8, 4  # px between the places at which a map, or a window, is judged
HIDDEN_STRIP = 5  # px; narrower ones are the soft edge of a thing, and no place by themselves

BLOCK, ACROSS = 32, 3  # px of a sub-block's side; as many sub-blocks across a patch
SEARCH = 4  # px
SMOOTHING = 0.8  # px
TEXTURED = 8.0  # grey levels^2 per px^2; noise of 4 grey levels leaves 1.4 after smoothing
MIN_NCC = 0.5
RIVAL = 0.1  # below the best NCC: another peak as good as that makes a place ambiguous


# ----------------------------------------------------------------------------- against the truth


def map_errors(alignment: Alignment, phone_points: Points, truth: Points) -> NDArray[np.float64]:
    """Distance `(N,)`, phone px, of where a map takes points `(N, 2)` from where they truly are."""
    assert alignment.map is not None
    smooth = replace(alignment.map, surfaces=None)  # a scale is not to be taken across a break
    scale = smooth.scale_at(centre_of(smooth.phone_size))
    return np.linalg.norm(alignment.map(phone_points) - truth, axis=1) / scale


def score_claims(alignment: Alignment, scene: Scene) -> dict[str, float | None]:
    """How right the map is over the places of the crop where it claims to hold.

    Returns
    -------
    dict
        `held`, the share of places where it claims to hold; over those whose truth is known
        `median` and `p95` error in phone px and `off`, the share more than 1 px off; `background`,
        the median error on the farthest surface; `hidden_claimed`, the share of hidden places where
        it claims to hold; `stated`, the error that the alignment gives itself, and
        `stated_ratio`, what that is to the median. None where there is no such place.
    """
    assert alignment.map is not None
    x, y, width, height = alignment.crop
    half = PLACE_STEP // 2
    columns = np.arange(x + half, x + width, PLACE_STEP)
    rows = np.arange(y + half, y + height, PLACE_STEP)
    places = grid_points(columns, rows)
    errors = map_errors(alignment, places, scene.truth(places))
    claimed, known = alignment.map.holds(places), np.isfinite(errors)
    label = scene.labels[np.ix_(rows, columns)].ravel()
    mask = (scene.labels == HIDDEN).astype(np.uint8)
    strip = np.ones((HIDDEN_STRIP, HIDDEN_STRIP), np.uint8)
    hidden = cv2.morphologyEx(mask, cv2.MORPH_OPEN, strip)[np.ix_(rows, columns)].ravel() > 0
    claims = errors[claimed & known]
    median = _quantile(claims, 50)
    stated = alignment.evidence.get("error")
    return {
        "held": _mean(claimed),
        "median": median,
        "p95": _quantile(claims, 95),
        "off": _mean(claims > OFF),
        "background": _quantile(errors[claimed & known & (label == FAR)], 50),
        "hidden_claimed": _mean(claimed[hidden]),
        "stated": stated,
        "stated_ratio": stated / median if stated and median else None,
    }


def score_windows(alignment: Alignment, patches: Patches, scene: Scene) -> dict[str, int]:
    """How many windows were kept that are not in place, and how many that could be.

    Returns
    -------
    dict
        `tried` and `kept`; of the kept ones `wrong`, those more than 1 px off in a tenth of their
        area or more, counting known places alone, and `wrong_or_hidden`, counting hidden places as
        off too; of all textured windows that lie in one surface wholly `one_layer` and
        `one_layer_kept`, and the same for those on nearer surfaces, `near` and `near_kept`.
    """
    assert alignment.phone is not None
    size = patches.phone.shape[1]
    off, hidden = window_faults(alignment, patches, scene)
    counts = dict.fromkeys(("one_layer", "one_layer_kept", "near", "near_kept"), 0)
    for (x, y), fate in zip(patches.window_xy.tolist(), patches.window_fate, strict=True):
        left, top = x + alignment.crop[0], y + alignment.crop[1]
        labels = scene.labels[top : top + size, left : left + size]
        window = smooth_luma(alignment.phone[y : y + size, x : x + size])
        if labels[0, 0] == HIDDEN or (labels != labels[0, 0]).any() or not is_textured(window):
            continue
        for kind in ("one_layer", "near") if labels[0, 0] != FAR else ("one_layer",):
            counts[kind] += 1
            counts[f"{kind}_kept"] += fate == "kept"
    return {
        "tried": patches.tried,
        "kept": len(patches),
        "wrong": int((off >= MOST_OFF).sum()),
        "wrong_or_hidden": int((off + hidden >= MOST_OFF).sum()),
        **counts,
    }


def window_faults(
    alignment: Alignment, patches: Patches, scene: Scene
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares `(N,)` of each kept window's area that are more than 1 px off, and that are hidden.

    A pixel of the phone's patch was matched with the place that it has after the window is turned
    about its centre and shifted; there the aligned DSLR image shows what the map says.
    """
    size, corner = patches.phone.shape[1], np.array(alignment.crop[:2])
    steps = np.arange(WINDOW_STEP // 2, size, WINDOW_STEP)
    pixels = grid_points(steps, steps)
    centre = (size - 1) / 2
    off, hidden = np.zeros(len(patches)), np.zeros(len(patches))
    for n in range(len(patches)):
        cos, sin = np.cos(np.radians(patches.angle[n])), np.sin(np.radians(patches.angle[n]))
        turned = (pixels - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre
        matched = turned + patches.shift[n] + patches.xy[n] + corner
        truth = scene.truth(pixels + patches.xy[n] + corner)
        errors = map_errors(alignment, matched, truth)
        off[n], hidden[n] = (errors > OFF).mean(), np.isnan(errors).mean()
    return off, hidden


# ------------------------------------------------------------------------------- patches alone


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
    def of(cls, phone: Photo, dslr: Photo) -> Self:
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


def smooth_luma(image: Photo) -> NDArray[np.float32]:
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
