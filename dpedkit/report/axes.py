"""Scales, ticks and the frame of a chart, as SVG that follows the page's colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpedkit.report.page import escape

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 16, 46
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """One axis: the values at its two ends, and what they are, with the unit."""

    low: float
    high: float
    label: str

    def share(self, value: float) -> float:
        """Where on the axis a value lies: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self, about: int) -> list[float]:
        """Round values on the axis, at most `about` + 1 of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def rounded_out(low: float, high: float, label: str, about: int = 5) -> Axis:
    """An axis that begins and ends at round values around `low` and `high`."""
    if high <= low:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    ticks = Axis(low, high, label).ticks(about)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, label)


@dataclass(frozen=True)
class Frame:
    """The area of a chart between its two axes, in the pixels of the SVG."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        return LEFT + self.across.share(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.up.share(value) * (HEIGHT - TOP - BOTTOM)

    def drawn(self, title: str, content: str, legend: str = "") -> str:
        """A `<figure>`: the axes with their ticks, labels and units, and the content on them."""
        base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in self.up.ticks(5):
            y = self.y(value)
            parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(_text(LEFT - 8, y + 4, number(value), "end"))
        for value in self.across.ticks(6):
            x = self.x(value)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}" class="axis"/>'
            )
            parts.append(_text(x, base + 18, number(value), "middle"))
        middle = (TOP + base) / 2
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}" class="axis"/>')
        parts.append(_text((LEFT + right) / 2, HEIGHT - 8, self.across.label, "middle", "label"))
        parts.append(
            f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle" '
            f'class="label">{escape(self.up.label)}</text>'
        )
        return (
            f'<figure class="chart"><figcaption>{escape(title)}{legend}</figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"{''.join(parts)}{content}</svg></figure>"
        )


def number(value: float) -> str:
    """A tick's value as people write it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.10g}"


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(words)}</text>'
