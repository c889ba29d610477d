"""What `benchmarks/depth.py` measures: a map and its windows against the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from depth_scenes import FAR, HIDDEN, Scene
from numpy.typing import NDArray

from dpedkit.align.pair import Alignment
from dpedkit.geometry import Points, centre_of, grid_points
from dpedkit.patches import Patches
from dpedkit.report.subblocks import is_textured, smooth_luma

OFF = 1.0  # phone px: more is wrong
MOST_OFF = 0.1  # of a window's area; a window with as much is wrong
PLACE_STEP, WINDOW_STEP = 8, 4  # px between the places at which a map, or a window, is judged
HIDDEN_STRIP = 5  # px; narrower ones are the soft edge of a thing, and no place by themselves


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


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _quantile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 4) if len(values) else None
