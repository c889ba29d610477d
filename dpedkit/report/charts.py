"""Bar charts, histograms and curves as SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dpedkit.report.page import escape

_WIDTH, _HEIGHT = 520, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 34
_CURVES = ("var(--accent)", "var(--second)", "var(--third)")


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    label: str,
    mark: float | None = None,
    mark_label: str = "",
) -> str:
    """Bars of equal width over the axis from `edges[0]` to `edges[-1]`, with a marked value."""
    low, high = float(edges[0]), float(edges[-1])
    peak = max([*counts, 1])
    bars = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, width = _x(left, low, high), _x(right, low, high) - _x(left, low, high)
        height = count / peak * (_HEIGHT - _TOP - _BOTTOM)
        bars.append(
            f'<rect x="{x:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}" width="{width - 1:.1f}" '
            f'height="{height:.1f}" fill="var(--accent)"><title>{left:.3g} to {right:.3g}: {count}'
            "</title></rect>"
        )
    if mark is not None and low <= mark <= high:
        x = _x(mark, low, high)
        bars.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" '
            f'stroke="var(--bad)" stroke-width="2"/><text x="{x - 5:.1f}" y="{_TOP + 12}" '
            f'text-anchor="end" fill="var(--bad)">{escape(mark_label)}</text>'
        )
    return _frame("".join(bars), label, (low, high), (0, peak))


def curves(series: Mapping[str, Sequence[tuple[float, float]]], label: str) -> str:
    """Lines through `(x, y)` points, one for each named series, with a legend."""
    points = np.array([point for line in series.values() for point in line], np.float64)
    points = points[np.isfinite(points).all(axis=1)] if len(points) else points
    if not len(points):
        return ""
    (x_low, y_low), (x_high, y_high) = points.min(axis=0), points.max(axis=0)
    y_high = y_high if y_high > y_low else y_low + 1
    shapes = []
    for number, (name, line) in enumerate(series.items()):
        colour = _CURVES[number % len(_CURVES)]
        path = " ".join(
            f"{_x(x, x_low, x_high):.1f},{_y(y, y_low, y_high):.1f}"
            for x, y in line
            if np.isfinite(y)
        )
        shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{_LEFT + 8}" y="{_TOP + 14 + 16 * number}" fill="{colour}">{escape(name)}'
            "</text>"
        )
    return _frame("".join(shapes), label, (x_low, x_high), (y_low, y_high))


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (value - low) / max(high - low, 1e-12) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _frame(
    content: str, label: str, x_span: tuple[float, float], y_span: tuple[float, float]
) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    ticks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, value = _LEFT + share * (right - _LEFT), x_span[0] + share * (x_span[1] - x_span[0])
        ticks.append(f'<text x="{x:.0f}" y="{base + 15}" text-anchor="middle">{value:.4g}</text>')
    for share in (0.0, 0.5, 1.0):
        y, value = base - share * (base - _TOP), y_span[0] + share * (y_span[1] - y_span[0])
        ticks.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.4g}</text>')
        ticks.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}" class="grid"/>')
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(ticks)}{content}</svg>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )
