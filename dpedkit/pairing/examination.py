"""Look at a pairing before any work is done with it: cameras, bursts, times that do not fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from dpedkit.images import Capture, read_capture
from dpedkit.pairing.clocks import BURST_S
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.summary import PairsSummary
from dpedkit.pairing.times import seconds

_ODD_JITTERS = 20.0  # a pair's times are odd beyond so many times the usual deviation ...
_ODD_S = 60.0  # ... and beyond a minute, whatever is usual


def examine(
    phone_folder: Path, dslr_folder: Path, pair_by: str, pairing: Pairing, written: Path | None
) -> PairsSummary:
    """Look at the times and cameras of paired photos."""
    sides = {
        "phone": [phone for _, phone, _ in pairing.pairs] + pairing.unpaired_phone,
        "dslr": [dslr for _, _, dslr in pairing.pairs] + pairing.unpaired_dslr,
    }
    captures = {path: read_capture(path) for photos in sides.values() for path in photos}
    cameras = {
        side: dict(Counter(captures[path].camera for path in photos if captures[path].camera))
        for side, photos in sides.items()
    }
    gaps = _gaps(pairing, captures)
    bursts = {side: _bursts(photos, captures) for side, photos in sides.items()}
    return PairsSummary(
        phone_folder,
        dslr_folder,
        pair_by,
        pairing,
        cameras,
        bursts,
        gaps,
        _odd_times(pairing, gaps),
        written,
    )


def _bursts(photos: list[Path], captures: dict[Path, Capture]) -> list[list[Path]]:
    """Groups of two or more photos that follow each other within seconds."""
    timed = [path for path in photos if captures[path].time is not None]
    times = seconds([captures[path] for path in timed])
    order = np.argsort(times, kind="stable")
    breaks = np.flatnonzero(np.diff(times[order]) > BURST_S) + 1
    groups = [[timed[index] for index in group] for group in np.split(order, breaks)]
    return [group for group in groups if len(group) > 1]


def _gaps(pairing: Pairing, captures: dict[Path, Capture]) -> list[float | None]:
    """By how much the DSLR photo of each pair is late, in seconds, see `PairsSummary.gaps`."""
    timed = [
        number
        for number, (_, *both) in enumerate(pairing.pairs)
        if all(captures[path].time is not None for path in both)
    ]
    phone = seconds([captures[pairing.pairs[number][1]] for number in timed])
    dslr = seconds([captures[pairing.pairs[number][2]] for number in timed])
    found: list[float | None] = [None] * len(pairing.pairs)
    if timed:
        usual = float(np.median(dslr - phone)) if pairing.clock is None else pairing.clock.seconds
        for number, gap in zip(timed, dslr - phone - usual, strict=True):
            found[number] = float(gap)
    return found


def _odd_times(pairing: Pairing, gaps: list[float | None]) -> list[tuple[str, float]]:
    """Pairs whose photos are much further apart in time than is usual among the pairs."""
    timed = [
        (name, gap) for (name, *_), gap in zip(pairing.pairs, gaps, strict=True) if gap is not None
    ]
    if not timed:
        return []
    deviations = np.array([gap for _, gap in timed])
    deviations -= np.median(deviations)
    limit = max(_ODD_S, _ODD_JITTERS * float(np.median(np.abs(deviations))))
    return [
        (name, abs(float(deviation)))
        for (name, _), deviation in zip(timed, deviations, strict=True)
        if abs(deviation) > limit
    ]
