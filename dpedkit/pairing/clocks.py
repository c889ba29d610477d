"""The difference between two cameras' clocks, estimated from nothing but the times of their photos.

Both cameras photographed the same scenes, each may have extra photos, and neither clock is right.
At the true offset, many photos of one camera have a photo of the other close in time; at a wrong
offset, only as many as by chance. So every difference between a photo of one and a photo of the
other is a candidate, and the candidate that explains the most photos best wins: a scan statistic
over offset and width (Kulldorff, 1997, with a binomial likelihood).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

BURST_S = 2.0  # photos of one camera that follow each other this closely show one moment

_HALF_WIDTHS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_CANDIDATES = 12  # offsets looked at closely, for each width
_VOTERS = 200  # moments of the camera with fewer photos that cast votes: enough, and fast
_LEAST_MATCHES = 3  # two photos have nothing to contradict them
_LEAST_EVIDENCE = 3.0  # natural logarithm of odds, above that of the number of offsets tried
_LEAST_MARGIN = 5.0  # the same, above the next best offset
_RIVAL_SHARE = 0.8  # another offset must not match as large a share as this of what the best does
_LEAST_JITTER_S = 0.05
_REACH_JITTERS = 8.0  # one pair in 3000 is further apart, by a Laplace distribution
_SETTLED_AFTER = 8


@dataclass(frozen=True)
class ClockOffset:
    """The difference between two clocks.

    Attributes
    ----------
    seconds : float
        Time of the DSLR's clock minus that of the phone's.
    jitter : float
        How far apart the two photos of a pair are beyond the offset, in seconds: scale of a Laplace
        distribution.
    matched : int
        Moments (single photos, or bursts) at which both cameras took photos, by this offset.
    given : bool
        Whether the offset was given instead of estimated.
    """

    seconds: float
    jitter: float
    matched: int
    given: bool = False


@dataclass(frozen=True)
class _Fit:
    """How well an offset explains the photos, looked at with one width."""

    seconds: float
    half_width: float
    matched: int
    evidence: float


def moments(times: Times) -> Times:
    """The times of single photos and the beginnings of bursts, in order, (K,) float64."""
    ordered = np.sort(times)
    return (
        ordered[np.concatenate([[True], np.diff(ordered) > BURST_S])] if len(ordered) else ordered
    )


def find_offset(phone: Times, dslr: Times, resolution: float) -> ClockOffset | None:
    """Estimate how far the DSLR's clock is ahead of the phone's.

    Parameters
    ----------
    phone, dslr : (N,), (M,) arrays of float64
        When the photos were taken, in seconds by each camera's own clock, in any order.
    resolution : float
        What the coarser clock can tell apart, in seconds.

    Returns
    -------
    ClockOffset or None
        None if the times are not conclusive: too few photos, no offset that fits better than
        chance, or two that fit about equally well, as with photos at regular intervals.
    """
    first, second = moments(phone), moments(dslr)
    if min(len(first), len(second)) < _LEAST_MATCHES:
        return None
    fits = _candidates(first, second)
    best = max(fits, key=lambda fit: fit.evidence)
    rivals = [fit for fit in fits if _differ(fit, best)]
    tried = np.log(len(first) * len(second))
    if best.matched < _LEAST_MATCHES or best.evidence < tried + _LEAST_EVIDENCE:
        return None
    if any(best.evidence - rival.evidence < _LEAST_MARGIN for rival in rivals):
        return None
    same_width = [rival for rival in rivals if rival.half_width == best.half_width]
    if any(rival.matched > _RIVAL_SHARE * best.matched for rival in same_width):
        return None
    return _settle(first, second, best.seconds, best.half_width, resolution)


def measure_jitter(phone: Times, dslr: Times, offset: float, resolution: float) -> ClockOffset:
    """Measure the jitter where the offset is known.

    Parameters
    ----------
    phone, dslr, resolution
        As for `find_offset`.
    offset : float
        The DSLR's clock minus the phone's, in seconds.

    Returns
    -------
    ClockOffset
        With that offset. Its jitter is one second, or the resolution if that is coarser, where
        there are too few photos to measure it.
    """
    first, second = moments(phone), moments(dslr)
    fits = [
        _Fit(offset, width, len(gaps), _evidence(first, second, width, len(gaps)))
        for width in _HALF_WIDTHS_S
        if len(gaps := _gaps(first, second, offset, width)) >= _LEAST_MATCHES
    ]
    if not fits:
        return ClockOffset(offset, max(1.0, resolution), 0, given=True)
    reach = max(fits, key=lambda fit: fit.evidence).half_width
    for _ in range(_SETTLED_AFTER):
        jitter = _scale(_gaps(first, second, offset, reach), resolution)
        reach = _widened(reach, jitter)
    return ClockOffset(offset, jitter, len(_gaps(first, second, offset, reach)), given=True)


def _candidates(first: Times, second: Times) -> list[_Fit]:
    """The offsets with the most votes, for each width, and how well they explain all moments."""
    fewer, more, sign = (first, second, 1.0) if len(first) <= len(second) else (second, first, -1.0)
    voters = fewer[np.linspace(0, len(fewer) - 1, min(len(fewer), _VOTERS)).astype(int)]
    votes = np.sort(sign * (more[None, :] - voters[:, None]).ravel())
    fits = []
    for width in _HALF_WIDTHS_S:
        for offset in _peaks(votes, width):
            for _ in range(2):  # once more from where the first look has put it
                gaps = _gaps(first, second, offset, width)
                if len(gaps):
                    offset += float(np.median(gaps))
            matched = len(_gaps(first, second, offset, width))
            fits.append(_Fit(offset, width, matched, _evidence(first, second, width, matched)))
    return fits


def _peaks(votes: Times, half_width: float) -> list[float]:
    """Middles of the windows with the most votes that do not overlap."""
    ends = np.searchsorted(votes, votes + 2 * half_width, side="right")
    counts = ends - np.arange(len(votes))
    peaks: list[float] = []
    while len(peaks) < _CANDIDATES:
        start = int(counts.argmax())
        if counts[start] <= 0:
            break
        peaks.append(float(np.median(votes[start : ends[start]])))
        low, high = np.searchsorted(
            votes, (votes[start] - 2 * half_width, votes[start] + 2 * half_width)
        )
        counts[low : high + 1] = 0
    return peaks


def _gaps(first: Times, second: Times, offset: float, reach: float) -> Times:
    """What is left of the differences of moments that are each other's nearest, within reach."""
    moved = first + offset
    there = _nearest(moved, second)
    back = _nearest(second, moved)
    mutual = back[there] == np.arange(len(first))
    gaps = (second[there] - moved)[mutual]
    return gaps[np.abs(gaps) <= reach]


def _nearest(points: Times, ordered: Times) -> NDArray[np.int64]:
    """For each point the index of the nearest of some ordered ones."""
    right = np.clip(np.searchsorted(ordered, points), 1, len(ordered) - 1)
    left = right - 1
    return np.where(points - ordered[left] <= ordered[right] - points, left, right)


def _evidence(first: Times, second: Times, half_width: float, matched: int) -> float:
    """Log likelihood ratio of so many matches against those that chance gives a wrong offset."""
    fewer, more = (first, second) if len(first) <= len(second) else (second, first)
    covered = np.minimum(np.diff(more), 2 * half_width).sum() + 2 * half_width
    chance = min(covered / (more[-1] - more[0] + 2 * half_width), 1.0)
    share = matched / len(fewer)
    if share <= chance:
        return 0.0
    missed = (1 - share) * np.log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return float(len(fewer) * (share * np.log(share / chance) + missed))


def _differ(fit: _Fit, best: _Fit) -> bool:
    return abs(fit.seconds - best.seconds) > fit.half_width + best.half_width


def _settle(
    first: Times, second: Times, offset: float, reach: float, resolution: float
) -> ClockOffset:
    """The offset as the median over the photos that it matches, and their jitter."""
    for _ in range(_SETTLED_AFTER):
        gaps = _gaps(first, second, offset, reach)
        middle = float(np.median(gaps))
        offset += middle
        jitter = _scale(gaps - middle, resolution)
        reach = _widened(reach, jitter)
    return ClockOffset(offset, jitter, len(_gaps(first, second, offset, reach)))


def _widened(reach: float, jitter: float) -> float:
    """Far enough for the jitter: the width with the most evidence may be narrower than that."""
    return min(max(reach, _REACH_JITTERS * jitter), _HALF_WIDTHS_S[-1])


def _scale(gaps: Times, resolution: float) -> float:
    """Scale of a Laplace distribution around zero.

    The median size over ln 2 does not mind a few chance matches, but is too small by chance when
    there are few photos; the mean is the other way round. The larger one leaves more undecided.
    """
    sizes = np.abs(gaps)
    measured = max(float(np.median(sizes) / np.log(2)), float(np.mean(sizes)))
    return max(measured, resolution / 2, _LEAST_JITTER_S)
