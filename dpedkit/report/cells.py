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
    exact = _kinds(labels)[inside]
    area = np.outer(row_px, column_px)
    shares = np.bincount(_STATE[exact].ravel(), area.ravel(), minlength=len(_ORDER)) / area.sum()
    factor, kinds, runs = 1, exact, _runs(exact)
    if len(runs) > limit:
        counts = _Counts(exact)
        while len(runs) > limit and kinds.size > 1:
            factor += 1
            kinds = counts.coarser(factor)
            runs = _runs(kinds)
    return {
        "side": round(cell * factor, 4),
        "at": [round(int(first) * cell, 4) for first in (columns[0], rows[0])],
        "columns": kinds.shape[1],
        "runs": base64.b64encode(runs).decode(),
        "shares": shares.round(4).tolist(),
        "surfaces": len(_held(labels)),
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


def _kinds(labels: NDArray[np.uint8]) -> Kinds:
    """Give each surface the first tint that none near it has; where there is none, any."""
    kind_of = np.full(256, UNKNOWN, np.uint8)
    kind_of[[NOT_FOUND, ON_EDGE, DOMINANT]] = MISSING, EDGE, HOLDS
    others = [label for label in _held(labels) if label != DOMINANT]
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


class _Counts:
    """How many cells of each kind there are above and left of each corner, to sum any square."""

    def __init__(self, kinds: Kinds) -> None:
        rows, columns = kinds.shape
        self.sums = np.zeros((rows + 1, columns + 1, _KINDS), np.int32)
        each = kinds[..., None] == np.arange(_KINDS, dtype=np.uint8)
        np.cumsum(each, axis=0, out=self.sums[1:, 1:])
        np.cumsum(self.sums[1:, 1:], axis=1, out=self.sums[1:, 1:])

    def coarser(self, factor: int) -> Kinds:
        """Make squares of cells one: what most of them tell, and the tint of most that hold."""
        rows, columns = (
            np.append(np.arange(0, side - 1, factor), side - 1) for side in self.sums.shape[:2]
        )
        counts = np.diff(np.diff(self.sums[np.ix_(rows, columns)], axis=0), axis=1)
        held = np.where(_STATE == HOLDS, counts, 0)
        by_state = np.where(_ORDER == HOLDS, held.sum(axis=2, keepdims=True), counts[..., _ORDER])
        state = _ORDER[by_state.argmax(axis=2)]
        return np.where(state == HOLDS, held.argmax(axis=2), state).astype(np.uint8)


def _runs(kinds: Kinds) -> bytes:
    flat = kinds.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.append(starts, len(flat)))
    parts = -(-lengths // _LONGEST_RUN)
    kind = np.repeat(flat[starts], parts)
    count = np.full(len(kind), _LONGEST_RUN)
    count[np.cumsum(parts) - 1] = lengths - (parts - 1) * _LONGEST_RUN
    return (kind * 16 + count - 1).astype(np.uint8).tobytes()
