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
    bursts = {side: _bursts(photos, captures) for side, photos in sides.items()}
    return PairsSummary(
        phone_folder,
        dslr_folder,
        pair_by,
        pairing,
        cameras,
        bursts,
        _odd_times(pairing, captures),
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


def _odd_times(pairing: Pairing, captures: dict[Path, Capture]) -> list[tuple[str, float]]:
    """Pairs whose photos are much further apart in time than is usual among the pairs."""
    timed = [
        (name, captures[phone], captures[dslr])
        for name, phone, dslr in pairing.pairs
        if captures[phone].time is not None and captures[dslr].time is not None
    ]
    if not timed:
        return []
    gaps = seconds([dslr for *_, dslr in timed]) - seconds([phone for _, phone, _ in timed])
    deviations = gaps - np.median(gaps)
    limit = max(_ODD_S, _ODD_JITTERS * float(np.median(np.abs(deviations))))
    return [
        (name, abs(float(deviation)))
        for (name, *_), deviation in zip(timed, deviations, strict=True)
        if abs(deviation) > limit
    ]
