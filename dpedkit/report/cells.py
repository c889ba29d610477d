"""Where the map of a pair holds, packed small: a page may carry thousands of pairs."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import Rectangle
from dpedkit.surfaces import (
    DOMINANT,
    EDGE,
    HOLDS,
    MISSING,
    NOT_FOUND,
    NOWHERE,
    ON_EDGE,
    UNKNOWN,
)

Kinds = NDArray[np.uint8]  # (R, C)

FIRST_TINT, TINTS = 4, 5  # kinds of the cells of other surfaces; holds.js has as many colours
_KINDS = FIRST_TINT + TINTS
_LONGEST_RUN = 16
_NEAR = 3  # cells: surfaces this close, with an edge between them, get different tints
# Of what as many cells of a larger one show, it shows the first.
_ORDER = np.array([EDGE, MISSING, UNKNOWN, HOLDS])
_STATE = np.full(_KINDS, HOLDS)
_STATE[[UNKNOWN, EDGE, MISSING]] = UNKNOWN, EDGE, MISSING


def cells_of(
    cell: float, labels: NDArray[np.uint8], rectangle: Rectangle, limit: int
) -> dict[str, Any]:
    """The cells over a rectangle `(x, y, width, height)` of the phone photo, for holds.js.

    The kind of a cell is `UNKNOWN`, `EDGE`, `MISSING`; `HOLDS` on the largest surface; from
    `FIRST_TINT` on for the other surfaces, so that those close to each other differ.

    Parameters
    ----------
    cell, labels
        As in `Surfaces`.
    rectangle : tuple of int
    limit : int
        Bytes for the cells, before base64. Where more are needed, squares of 2 x 2, 3 x 3, ...
        cells become one.

    Returns
    -------
    dict
        JSON-ready. `side`: of a cell, in phone px. `at`: the corner of the first. `columns`: how
        many. `runs`: base64 of a byte for up to 16 cells of one kind, row by row, with the kind in
        the upper half and their number less 1 in the lower one. `shares` of the rectangle: for
        each of `UNKNOWN`, `HOLDS`, `EDGE` and `MISSING`. `surfaces`: how many there are.
    """
    x, y, width, height = rectangle
    rows, row_px = _spans(y, height, cell)
    columns, column_px = _spans(x, width, cell)
    # Beyond the last cells the photo shows what the last ones show, as in `Surfaces`.
    last_row, last_column = np.array(labels.shape) - 1
    inside = np.ix_(rows.clip(0, last_row), columns.clip(0, last_column))
    held = _held(labels)
    exact = _kinds(labels, held)[inside]
    area = np.outer(row_px, column_px)
    shares = np.bincount(_STATE[exact].ravel(), area.ravel(), minlength=len(_ORDER)) / area.sum()
    factor, kinds = (1, exact) if _fits(exact, limit) else _coarsened(exact, limit)
    return {
        "side": round(cell * factor, 4),
        "at": [round(int(first) * cell, 4) for first in (columns[0], rows[0])],
        "columns": kinds.shape[1],
        "runs": base64.b64encode(_runs(kinds)).decode(),
        "shares": shares.round(4).tolist(),
        "surfaces": len(held),
    }


def _spans(start: int, length: int, cell: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows (or columns) of cells that pixels lie in, and how many pixels lie in each."""
    place = np.floor((np.arange(start, start + length) + 0.5) / cell).astype(np.int64)
    first = np.append(0, np.flatnonzero(np.diff(place)) + 1)
    return place[first], np.diff(np.append(first, length))


def _held(labels: NDArray[np.uint8]) -> list[int]:
    """The labels of surfaces, the largest first."""
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    return [int(label) for label in found if NOWHERE < label < NOT_FOUND]


def _kinds(labels: NDArray[np.uint8], held: list[int]) -> Kinds:
    """Give each surface the first tint that none near it has; where there is none, any."""
    kind_of = np.full(256, UNKNOWN, np.uint8)
    kind_of[[NOT_FOUND, ON_EDGE, DOMINANT]] = MISSING, EDGE, HOLDS
    others = [label for label in held if label != DOMINANT]
    given: dict[int, int] = {}
    for label in others:
        near = _near(labels, label) if given else set()
        taken = {tint for other, tint in given.items() if other in near}
        free = [tint for tint in range(TINTS) if tint not in taken]
        given[label] = free[0] if free else label % TINTS
        kind_of[label] = FIRST_TINT + given[label]
    return kind_of[labels]


def _near(labels: NDArray[np.uint8], label: int) -> set[int]:
    """The labels that have cells at most `_NEAR` cells from those of this one."""
    square = np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)
    around = cv2.dilate((labels == label).astype(np.uint8), square)
    return set(np.flatnonzero(np.bincount(labels[around > 0], minlength=256)).tolist())


def _coarsened(exact: Kinds, limit: int) -> tuple[int, Kinds]:
    """The smallest squares of cells that fit, their side in cells and their kinds."""
    counts = _Counts(exact)
    # A guess that is right within one or two, so that few sizes have to be tried.
    factor = max(2, round((len(_runs(exact)) / limit) ** 0.75))
    kinds = counts.coarser(factor)
    if _fits(kinds, limit):
        while factor > 2 and _fits(finer := counts.coarser(factor - 1), limit):
            factor, kinds = factor - 1, finer
        return factor, kinds
    while not _fits(kinds, limit):
        factor += 1
        kinds = counts.coarser(factor)
    return factor, kinds


class _Counts:
    """How many cells of each kind there are above and left of each corner, to sum any square."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = np.flatnonzero(np.bincount(kinds.ravel(), minlength=_KINDS))
        self.sums = np.stack(
            [cv2.integral((kinds == kind).astype(np.uint8)) for kind in self.kinds]
        )  # (kinds, R + 1, C + 1)

    def coarser(self, factor: int) -> Kinds:
        """Make squares of cells one: what most of them tell, and the tint of most that hold."""
        rows, columns = (
            np.append(np.arange(0, side - 1, factor), side - 1) for side in self.sums.shape[1:]
        )
        at = self.sums[:, rows[:, None], columns]
        counts = at[:, 1:, 1:] - at[:, 1:, :-1] - at[:, :-1, 1:] + at[:, :-1, :-1]
        held = counts[_STATE[self.kinds] == HOLDS]
        each = dict(zip(self.kinds.tolist(), counts, strict=True)) | {HOLDS: held.sum(axis=0)}
        ranks = [rank for rank, state in enumerate(_ORDER) if state in each]
        state = _ORDER[_most(np.stack([each[_ORDER[rank]] for rank in ranks]), np.array(ranks))]
        if not len(held):
            return state.astype(np.uint8)
        tint = _most(held, self.kinds[_STATE[self.kinds] == HOLDS])
        return np.where(state == HOLDS, tint, state).astype(np.uint8)


def _most(counts: NDArray[np.int32], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of some numbers below 16, in each place the one with the largest count; the first of several.

    `argmax` does the same in several times as long.
    """
    both = counts * 16 + (15 - numbers)[:, None, None]
    most: NDArray[np.int64] = 15 - (both.max(axis=0) & 15)
    return most


def _fits(kinds: Kinds, limit: int) -> bool:
    """Whether the runs take no more bytes than this; a single cell always does."""
    flat = kinds.ravel()
    if len(flat) == 1:
        return True
    at_least = 1 + int(np.count_nonzero(flat[1:] != flat[:-1]))  # long ones take several bytes
    return at_least <= limit and len(_runs(kinds)) <= limit


def _runs(kinds: Kinds) -> bytes:
    flat = kinds.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    starts = np.append(0, ends[:-1])
    lengths = ends - starts
    parts = -(-lengths // _LONGEST_RUN)
    kind = np.repeat(flat[starts], parts)
    count = np.full(len(kind), _LONGEST_RUN)
    count[np.cumsum(parts) - 1] = lengths - (parts - 1) * _LONGEST_RUN
    return (kind * 16 + count - 1).astype(np.uint8).tobytes()
