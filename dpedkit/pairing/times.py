"""Pair photos that were taken at the same moment, by the times that the cameras wrote into them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import numpy as np

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted
from dpedkit.images import Capture, read_capture
from dpedkit.pairing.clocks import ClockOffset, Times, find_offset, measure_jitter
from dpedkit.pairing.config import PairingConfig
from dpedkit.pairing.pairing import Pairing, check_names, photos_of
from dpedkit.pairing.sequences import Group, Matching, closest_of_bursts, match_times


def pair_by_time(phone_folder: Path, dslr_folder: Path, config: PairingConfig) -> Pairing:
    """Pair photos by DateTimeOriginal, whatever the difference of the cameras' clocks.

    A photo whose partner is missing, or is not certain, is left unpaired.

    Raises
    ------
    DpedkitError
        If a folder is missing or holds no photo with a time, if the offset of the clocks cannot be
        determined, or if no pair is found.
    """
    phone_photos, phone_aside = photos_of(phone_folder)
    dslr_photos, dslr_aside = photos_of(dslr_folder)
    phones, dslrs = _timed(phone_folder, phone_photos), _timed(dslr_folder, dslr_photos)
    phone_times, dslr_times = seconds(list(phones.values())), seconds(list(dslrs.values()))
    resolution = max(capture.resolution for capture in [*phones.values(), *dslrs.values()])
    clock = _clock(phone_times, dslr_times, resolution, config)
    matching = match_times(phone_times, dslr_times, clock.seconds, clock.jitter, config.max_gap)
    phone_paths, dslr_paths = list(phones), list(dslrs)
    numbers, left = matching.pairs, matching.open
    if config.bursts == "closest":
        numbers, left = _settle_bursts(phone_times, dslr_times, matching, clock)
    pairs = [(dslr_paths[j].stem, phone_paths[i], dslr_paths[j]) for i, j in numbers]
    if not pairs:
        raise DpedkitError(
            f"No photo in {phone_folder} can be paired with certainty with one in {dslr_folder} if "
            f"the DSLR's clock is {clock.seconds:.1f} s ahead. `dpedkit pairs` shows what was "
            "found; --clock-offset and --max-gap override it."
        )
    check_names(pairs)
    paired = {path for _, *both in pairs for path in both}
    undecided = [
        ([phone_paths[i] for i in here], [dslr_paths[j] for j in there]) for here, there in left
    ]
    timed = phones.keys() | dslrs.keys()
    return Pairing(
        pairs,
        [path for path in phone_photos if path not in paired],
        [path for path in dslr_photos if path not in paired],
        undecided,
        untimed=[path for path in phone_photos + dslr_photos if path not in timed],
        set_aside=phone_aside + dslr_aside,
        clock=clock,
    )


def seconds(captures: Sequence[Capture]) -> Times:
    """The times of photos of one camera, in seconds, comparable with each other.

    They are those of the camera's clock, as if it had stayed in the zone of its first photo. Zones
    count only where every photo names one.
    """
    times = [capture.time for capture in captures if capture.time is not None]
    if not times or any(time.tzinfo is None for time in times):
        return np.array([time.replace(tzinfo=UTC).timestamp() for time in times])
    zone = times[0].utcoffset()
    assert zone is not None
    return np.array([time.timestamp() for time in times]) + zone.total_seconds()


def _settle_bursts(
    phone: Times, dslr: Times, matching: Matching, clock: ClockOffset
) -> tuple[list[tuple[int, int]], list[Group]]:
    """The pairs in order of time, with one of each burst that fits, and the groups left open."""
    pairs, left = list(matching.pairs), []
    for group in matching.open:
        closest = closest_of_bursts(phone, dslr, group, clock.seconds, clock.jitter)
        if closest is None:
            left.append(group)
        else:
            pairs.append(closest)
    return sorted(pairs, key=lambda pair: phone[pair[0]]), left


def _timed(folder: Path, photos: list[Path]) -> dict[Path, Capture]:
    """The photos that say when they were taken, each with what it says."""
    captures = {path: read_capture(path) for path in photos}
    timed = {path: capture for path, capture in captures.items() if capture.time is not None}
    if not timed:
        raise DpedkitError(
            f"No photo in {folder} records when it was taken (EXIF DateTimeOriginal); pair the "
            "photos by name, order or csv."
        )
    return timed


def _clock(phone: Times, dslr: Times, resolution: float, config: PairingConfig) -> ClockOffset:
    if config.clock_offset is not None:
        return measure_jitter(phone, dslr, config.clock_offset, resolution)
    clock = find_offset(phone, dslr, resolution)
    if clock is None:
        raise DpedkitError(
            f"The times of {counted(len(phone), 'phone photo')} and "
            f"{counted(len(dslr), 'DSLR photo')} do not reveal how the cameras' clocks differ: "
            "there are too few photos, or the intervals are too regular. Give --clock-offset "
            "SECONDS (0 if both clocks were right), or pair by order or csv."
        )
    return clock
