"""Where the map of a pair holds, packed small: a page may carry thousands of pairs."""

from __future__ import annotations

import base64
from typing import Any

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
    Surfaces,
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


def cells_of(surfaces: Surfaces, rectangle: Rectangle, limit: int) -> dict[str, Any]:
    """The cells over a rectangle `(x, y, width, height)` of the phone photo, for holds.js.

    The kind of a cell is `UNKNOWN`, `EDGE`, `MISSING`; `HOLDS` on the largest surface; from
    `FIRST_TINT` on for the other surfaces, so that those close to each other differ.

    Parameters
    ----------
    surfaces : Surfaces
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
    rows, row_px = _spans(y, height, surfaces.cell)
    columns, column_px = _spans(x, width, surfaces.cell)
    # Beyond the last cells the photo shows what the last ones show, as in `Surfaces`.
    last_row, last_column = np.array(surfaces.labels.shape) - 1
    inside = np.ix_(rows.clip(0, last_row), columns.clip(0, last_column))
    exact = _kinds(surfaces.labels)[inside]
    area = np.outer(row_px, column_px)
    shares = np.bincount(_STATE[exact].ravel(), area.ravel(), minlength=len(_ORDER)) / area.sum()
    factor, kinds = 1, exact
    while len(runs := _runs(kinds)) > limit and kinds.size > 1:
        factor += 1
        kinds = _coarser(exact, factor)
    return {
        "side": round(surfaces.cell * factor, 4),
        "at": [round(int(first) * surfaces.cell, 4) for first in (columns[0], rows[0])],
        "columns": kinds.shape[1],
        "runs": base64.b64encode(runs).decode(),
        "shares": shares.round(4).tolist(),
        "surfaces": len(_held(surfaces.labels)),
    }


def _spans(start: int, length: int, cell: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows (or columns) of cells that pixels lie in, and how many pixels lie in each."""
    place = np.floor((np.arange(start, start + length) + 0.5) / cell).astype(np.int64)
    found, counts = np.unique(place, return_counts=True)
    return found, counts


def _held(labels: NDArray[np.uint8]) -> list[int]:
    """The labels of surfaces, the largest first."""
    return [int(label) for label in np.unique(labels) if NOWHERE < label < NOT_FOUND]


def _kinds(labels: NDArray[np.uint8]) -> Kinds:
    """Give each surface the first tint that none near it has; where there is none, any."""
    kind_of = np.full(256, UNKNOWN, np.uint8)
    kind_of[[NOT_FOUND, ON_EDGE, DOMINANT]] = MISSING, EDGE, HOLDS
    near = _near(labels)
    given: dict[int, int] = {}
    for label in _held(labels):
        if label == DOMINANT:
            continue
        taken = {given[other] for other in given if near[label, other]}
        free = [tint for tint in range(TINTS) if tint not in taken]
        given[label] = free[0] if free else label % TINTS
        kind_of[label] = FIRST_TINT + given[label]
    return kind_of[labels]


def _near(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which labels `(256, 256)` have cells at most `_NEAR` cells apart."""
    near = np.zeros((256, 256), np.bool_)
    rows, columns = labels.shape
    for down in range(min(_NEAR + 1, rows)):
        for right in range(-min(_NEAR, columns - 1), min(_NEAR + 1, columns)):
            here = labels[: rows - down, max(0, -right) : columns - max(0, right)]
            there = labels[down:, max(0, right) : columns - max(0, -right)]
            near[here, there] = True
    return near | near.T


def _coarser(kinds: Kinds, factor: int) -> Kinds:
    """Make squares of cells one: what most of them tell, and the tint of most that hold."""
    rows, columns = (-(-side // factor) for side in kinds.shape)
    pad = [
        (0, count * factor - side) for count, side in zip((rows, columns), kinds.shape, strict=True)
    ]
    squares = np.pad(kinds, pad, constant_values=_KINDS)  # a kind that does not count
    squares = squares.reshape(rows, factor, columns, factor)
    counts = (squares[..., None] == np.arange(_KINDS)).sum(axis=(1, 3))  # (rows, columns, kinds)
    holding = _STATE == HOLDS
    held = np.where(holding, counts, 0)
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
