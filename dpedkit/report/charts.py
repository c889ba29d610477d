"""Histograms, curves, bars and heat maps as SVG that follows the page's colours.

Every mark tells its numbers in a title that shows when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dpedkit.report.axes import TOP, Axis, Frame, number, rounded_out
from dpedkit.report.page import escape

_LINES = ("var(--accent)", "var(--second)", "var(--third)", "var(--soft)")
_DASHES = ("", "7 4")  # of the first four lines, and of four more
_BARS_WIDTH, _BAR_HEIGHT, _BAR_LEFT = 520, 26, 150
_MAP_WIDTH, _SCALE_HEIGHT, _SCALE_STEPS = 520, 34, 20
_GRID = (9, 12)  # rows and columns of medians by place
_FEWEST = 5  # values for a median


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    title: str,
    x_label: str,
    y_label: str,
    mark: tuple[float, str] | None = None,
    *,
    dim_below: bool = True,
) -> str:
    """Bars over the axis from `edges[0]` to `edges[-1]`, with a marked value and its name.

    Bars below the mark, or else those above it, are drawn in a fainter colour.
    """
    frame = Frame(
        Axis(float(edges[0]), float(edges[-1]), x_label),
        rounded_out(0.0, float(max([*counts, 1])), y_label, counted=True),
    )
    parts = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, width, y = frame.x(left), frame.x(right) - frame.x(left), frame.y(count)
        faint = mark is not None and ((left + right) / 2 < mark[0]) == dim_below
        parts.append(
            f'<rect x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{frame.y(0) - y:.1f}" fill="var({"--dim" if faint else "--accent"})">'
            f"<title>{left:.3g} to {right:.3g}: {count:,} {escape(y_label)}</title></rect>"
        )
    if mark is not None:
        parts.append(_marked(frame, *mark))
    return frame.drawn(title, "".join(parts))


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    x_label: str,
    y_label: str,
    *,
    from_zero: bool = False,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Lines through `(x, y)` points, one for each named series.

    `levels` are named values that do not depend on x, drawn as lines across the whole chart.
    """
    lines = {name: [p for p in line if np.isfinite(p).all()] for name, line in series.items()}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return ""
    xs = [x for line in lines.values() for x, _ in line]
    across = {
        name: [(min(xs), value), (max(xs), value)]
        for name, value in (levels or {}).items()
        if np.isfinite(value)
    }
    marked = set(lines)
    lines |= across
    ys = [y for line in lines.values() for _, y in line]
    lowest = min([0.0, *ys] if from_zero else ys)
    frame = Frame(Axis(min(xs), max(xs), x_label), rounded_out(lowest, max(ys), y_label))
    parts = []
    for place, (name, line) in enumerate(lines.items()):
        colour, dashes = _LINES[place % len(_LINES)], _dashes(place)
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line)
        pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{path}" class="curve" stroke="{colour}"{pattern}/>')
        if name not in marked:
            continue
        parts += [
            f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}">'
            f"<title>{escape(name)}, {escape(x_label)} {number(x)}: {y:.5g}</title></circle>"
            for x, y in line
        ]
    return frame.drawn(title, "".join(parts), _legend(lines))


def _legend(lines: Iterable[str]) -> str:
    """HTML of the lines' names with their colours; nothing for a line by itself."""
    names = list(lines)
    if len(names) == 1:
        return ""
    return "".join(
        f'<span class="key"><i style="border-color: {_LINES[place % len(_LINES)]}'
        f'{"; border-top-style: dashed" if _dashes(place) else ""}"></i>{escape(name)}</span>'
        for place, name in enumerate(names)
    )


def _dashes(place: int) -> str:
    return _DASHES[place // len(_LINES) % len(_DASHES)]


def bars(amounts: Mapping[str, int], title: str, unit: str, first_good: bool = False) -> str:
    """Horizontal bars, one for each name, with its number and its share of the whole."""
    whole = max(sum(amounts.values()), 1)
    peak = max([*amounts.values(), 1])
    room = _BARS_WIDTH - _BAR_LEFT - 110
    parts = []
    for place, (name, amount) in enumerate(amounts.items()):
        y, length = place * _BAR_HEIGHT, amount / peak * room
        colour = "--third" if first_good and place == 0 else "--second"
        parts.append(
            f'<text x="{_BAR_LEFT - 8}" y="{y + 17}" text-anchor="end" class="legend">'
            f"{escape(name)}</text>"
            f'<rect x="{_BAR_LEFT}" y="{y + 4}" width="{max(length, 1):.1f}" height="18" rx="2" '
            f'fill="var({colour})"><title>{escape(name)}: {amount:,} {escape(unit)}</title></rect>'
            f'<text x="{_BAR_LEFT + length + 8:.1f}" y="{y + 17}" class="tick">{amount:,} '
            f"({amount / whole:.1%})</text>"
        )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_BARS_WIDTH} {max(len(amounts), 1) * _BAR_HEIGHT + 4}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def median_by_place(
    places: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The median of the values in each cell of a grid.

    Parameters
    ----------
    places : (N, 2) array
        `(x, y)` in shares of the width and height.
    values : (N,) array

    Returns
    -------
    (9, 12) array
        NaN where there are too few values to tell.
    """
    rows, columns = _GRID
    at = (places * (columns, rows)).astype(int).clip(0, (columns - 1, rows - 1))
    cell = at[:, 1] * columns + at[:, 0]
    order = np.lexsort((values, cell))  # by cell, then by value: a cell's median is in its middle
    counts = np.bincount(cell, minlength=rows * columns)
    middle = np.cumsum(counts) - (counts + 1) // 2
    medians = np.where(counts >= _FEWEST, values[order][middle.clip(0, len(values) - 1)], np.nan)
    return medians.reshape(rows, columns)


def heat_map(
    values: NDArray[np.float64], aspect: float, title: str, meaning: str, *, told: str = "{:.0%}"
) -> str:
    """Cells coloured by their values, with the scale of colours below.

    Parameters
    ----------
    values : (rows, columns) array
        Not below 0; NaN where there is nothing to show.
    aspect : float
        Height over width of the whole map.
    meaning : str
        What a cell's value is of, or its unit, for its title and the scale.
    told : str
        How a value is formatted.
    """
    rows, columns = values.shape
    scale = _colour_scale(values, meaning)
    width, height = _MAP_WIDTH / columns, _MAP_WIDTH * aspect / rows
    parts = [
        f'<rect x="{column * width:.1f}" y="{row * height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" fill="{_heat(scale.share(value))}"><title>{told.format(value)} '
        f"{escape(meaning)}</title></rect>"
        for (row, column), value in np.ndenumerate(values)
        if np.isfinite(value)
    ]
    below, step = _MAP_WIDTH * aspect + 8, _MAP_WIDTH / 2 / _SCALE_STEPS
    parts += [
        f'<rect x="{step * n:.1f}" y="{below:.1f}" width="{step:.1f}" height="10" '
        f'fill="{_heat((n + 0.5) / _SCALE_STEPS)}"/>'
        for n in range(_SCALE_STEPS)
    ]
    parts.append(
        f'<text x="0" y="{below + 24:.1f}" class="tick">{told.format(scale.low)}</text>'
        f'<text x="{_MAP_WIDTH / 2:.1f}" y="{below + 24:.1f}" text-anchor="end" class="tick">'
        f'{told.format(scale.high)}</text><text x="{_MAP_WIDTH / 2 + 10:.1f}" '
        f'y="{below + 9:.1f}" class="legend">{escape(meaning)}</text>'
    )
    total = _MAP_WIDTH * aspect + _SCALE_HEIGHT
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_MAP_WIDTH} {total:.0f}" role="img" '
        f'aria-label="{escape(title)}"><g shape-rendering="crispEdges">{"".join(parts)}</g>'
        "</svg></figure>"
    )


def _colour_scale(values: NDArray[np.float64], meaning: str) -> Axis:
    """From a round value below all values to one above them."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Axis(0.0, 1.0, meaning)
    return rounded_out(float(known.min()), float(known.max()), meaning)


def _heat(share: float) -> str:
    """From the page's background to its accent."""
    return f"color-mix(in oklab, var(--accent) {100 * min(max(share, 0), 1):.0f}%, var(--back))"


def _marked(frame: Frame, value: float, words: str) -> str:
    """A vertical line at a value, its name on the side that has room."""
    if not frame.across.low <= value <= frame.across.high:
        return ""
    x = frame.x(value)
    right = frame.across.share(value) < 0.5
    return (
        f'<path d="M{x:.1f} {TOP}V{frame.y(frame.up.low):.1f}" class="mark"/>'
        f'<text x="{x + 6 if right else x - 6:.1f}" y="{TOP + 10}" '
        f'text-anchor="{"start" if right else "end"}" class="mark-name">{escape(words)}</text>'
    )
