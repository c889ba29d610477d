"""Match two sequences of photos by time, leaving open what the times do not decide.

The scenes were photographed in the same order by both cameras, each camera may have missed some,
and the two photos of a scene are a random while apart. The likeliest matching is a cheapest path
(Needleman & Wunsch, 1970); how much dearer the cheapest path without some pair is says how sure
that pair is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.pairing.clocks import Times, moments

Group = tuple[list[int], list[int]]  # numbers of phone photos, and of DSLR photos
Costs = NDArray[np.float64]

# In units of the jitter, which are also natural logarithms of odds.
_ALONE = 6.0  # cost of a photo without a partner
_SURE = 4.0  # a pair is sure when every matching without it costs this much more: odds of 50 to 1


@dataclass(frozen=True)
class Matching:
    """What the times decide, and what they leave open.

    Attributes
    ----------
    pairs : list of (int, int)
        Sure pairs: index of the phone photo, index of the DSLR photo, in order of time.
    open : list of (list of int, list of int)
        Phone photos and DSLR photos that belong together in more than one likely way.
    """

    pairs: list[tuple[int, int]]
    open: list[Group]


def match_times(
    phone: Times, dslr: Times, offset: float, jitter: float, max_gap: float | None = None
) -> Matching:
    """Find the photos of two cameras that were taken together.

    Parameters
    ----------
    phone, dslr : (N,), (M,) arrays of float64
        Times by each camera's own clock in seconds, in any order.
    offset : float
        The DSLR's clock minus the phone's, in seconds.
    jitter : float
        How far two photos of a pair are usually apart, in seconds (scale of a Laplace
        distribution).
    max_gap : float, optional
        Pairs further apart than this do not exist; as far as is likely by the jitter unless given.

    Returns
    -------
    Matching
        Photos that are in neither of its lists have no partner.
    """
    alone = _ALONE
    if max_gap is None:
        max_gap = 2 * alone * jitter
    else:
        alone = max(alone, (max_gap / jitter + _SURE) / 2)
    phone_order, dslr_order = np.argsort(phone, kind="stable"), np.argsort(dslr, kind="stable")
    moved, fixed = phone[phone_order] + offset, dslr[dslr_order]
    found = Matching([], [])
    for first, second in _groups(moved, fixed, max_gap):
        through, unmatched = _path_costs(moved[first], fixed[second], jitter, max_gap, alone)
        pairs, open_ones = _decide(through, unmatched)
        here, there = phone_order[first], dslr_order[second]
        found.pairs.extend((int(here[i]), int(there[j])) for i, j in pairs)
        found.open.extend(
            ([int(here[i]) for i in phones], [int(there[j]) for j in dslrs])
            for phones, dslrs in open_ones
        )
    return found


def closest_of_bursts(
    phone: Times, dslr: Times, group: Group, offset: float, jitter: float
) -> tuple[int, int] | None:
    """The two photos closest in time of a group that is open only because they are bursts.

    All photos of a burst show one scene, so that any of its pairs is a right one.

    Parameters
    ----------
    phone, dslr, offset, jitter
        As for `match_times`.
    group : (list of int, list of int)
        One of `Matching.open`.

    Returns
    -------
    (int, int) or None
        None if the photos of one camera are not one burst, or too far in time from the others.
    """
    here, there = group
    if len(here) == len(there) == 1:
        return None
    if len(moments(phone[here])) > 1 or len(moments(dslr[there])) > 1:
        return None
    gaps = np.abs(dslr[there][None, :] - phone[here][:, None] - offset)
    i, j = np.unravel_index(gaps.argmin(), gaps.shape)
    if gaps[i, j] > (2 * _ALONE - _SURE) * jitter:  # beyond it, a pair by itself is not sure either
        return None
    return here[i], there[j]


def _groups(first: Times, second: Times, max_gap: float) -> Iterator[tuple[slice, slice]]:
    """Stretches of both sequences with no pause longer than the gap, so none across a boundary."""
    merged = np.sort(np.concatenate([first, second]))
    edges = merged[1:][np.diff(merged) > max_gap]
    first_edges = [0, *np.searchsorted(first, edges).tolist(), len(first)]
    second_edges = [0, *np.searchsorted(second, edges).tolist(), len(second)]
    for index in range(len(first_edges) - 1):
        here = slice(first_edges[index], first_edges[index + 1])
        there = slice(second_edges[index], second_edges[index + 1])
        if here.start < here.stop and there.start < there.stop:
            yield here, there


def _path_costs(
    first: Times, second: Times, jitter: float, max_gap: float, alone: float
) -> tuple[Costs, Costs]:
    """Costs of the cheapest matchings in which a pair belongs together, and a photo is alone.

    Returns
    -------
    through : (N, M) array of float64
        For each pair the cost of the cheapest matching with it.
    unmatched : (N,) array of float64
        For each photo of `first` that of the cheapest matching in which it has no partner.
    """
    gaps = np.abs(second[None, :] - first[:, None])
    pair_cost = np.where(gaps <= max_gap, gaps / jitter, np.inf)
    before = _prefix_costs(pair_cost, alone)
    after = _prefix_costs(pair_cost[::-1, ::-1], alone)[::-1, ::-1]
    through = before[:-1, :-1] + pair_cost + after[1:, 1:]
    unmatched = (before[:-1] + alone + after[1:]).min(axis=1)
    return through, unmatched


def _prefix_costs(pair_cost: Costs, alone: float) -> Costs:
    """(N + 1, M + 1) cost of the cheapest matching of the first i with the first j photos."""
    rows, columns = pair_cost.shape
    skipped = alone * np.arange(columns + 1)
    costs = np.empty((rows + 1, columns + 1))
    costs[0] = skipped
    for row in range(rows):
        best = costs[row] + alone
        best[1:] = np.minimum(best[1:], costs[row, :-1] + pair_cost[row])
        # Any number of photos of the other camera may be skipped on the way to each column.
        costs[row + 1] = skipped + np.minimum.accumulate(best - skipped)
    return costs


def _decide(through: Costs, unmatched: Costs) -> tuple[list[tuple[int, int]], list[Group]]:
    """The sure pairs, and the groups of photos with several likely matchings."""
    best = min(float(through.min()), float(unmatched.min()))
    likely = through < best + _SURE
    may_be_alone = unmatched < best + _SURE
    sure = (likely.sum(axis=1) == 1) & ~may_be_alone
    pairs = [(int(i), int(likely[i].argmax())) for i in np.flatnonzero(sure)]
    likely[sure] = False
    return pairs, _connected(likely)


def _connected(likely: NDArray[np.bool_]) -> list[Group]:
    """Groups of rows and columns that likely pairs connect."""
    groups = []
    left = likely.copy()
    while left.any():
        rows, columns = {int(np.argwhere(left)[0, 0])}, set[int]()
        while True:
            reached = set(np.flatnonzero(left[sorted(rows)].any(axis=0)).tolist())
            back = set(np.flatnonzero(left[:, sorted(reached)].any(axis=1)).tolist())
            if reached == columns and back == rows:
                break
            rows, columns = back, reached
        groups.append((sorted(rows), sorted(columns)))
        left[sorted(rows)] = False
    return groups
