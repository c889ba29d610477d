"""Scales, ticks and the frame of a chart, as SVG that follows the page's colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpedkit.report.page import escape

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 16, 46
_LABEL_WIDTH, _DIGIT_WIDTH = 30, 7.5  # px, with the gaps beside the label
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """One axis: the values at its two ends, and what they are, with the unit.

    The ticks of a `counted` axis are whole numbers.
    """

    low: float
    high: float
    label: str
    counted: bool = False

    def share(self, value: float) -> float:
        """Where on the axis a value lies: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self, about: int) -> list[float]:
        """Round values on the axis, at most `about` + 1 of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = max(span / about, 1.0) if self.counted else span / about
        power = 10.0 ** math.floor(math.log10(rough))
        steps = [power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9)]
        step = next(step for step in steps if not self.counted or step.is_integer())
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def rounded_out(
    low: float, high: float, label: str, about: int = 5, *, counted: bool = False
) -> Axis:
    """An axis that begins and ends at round values around `low` and `high`."""
    if high <= low:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    ticks = Axis(low, high, label, counted).ticks(about)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(low, high, label, counted)


@dataclass(frozen=True)
class Frame:
    """The area of a chart between its two axes, in the pixels of the SVG."""

    across: Axis
    up: Axis

    @property
    def left(self) -> float:
        """Where the axis that goes up stands: right of its label and of its widest tick."""
        widest = max(len(number(value)) for value in self.up.ticks(5))
        return max(LEFT, _LABEL_WIDTH + _DIGIT_WIDTH * widest)

    def x(self, value: float) -> float:
        return self.left + self.across.share(value) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.up.share(value) * (HEIGHT - TOP - BOTTOM)

    def drawn(self, title: str, content: str, legend: str = "") -> str:
        """A `<figure>`: the axes with their ticks, labels and units, and the content on them."""
        base, left, right = HEIGHT - BOTTOM, self.left, WIDTH - RIGHT
        parts = []
        for value in self.up.ticks(5):
            y = self.y(value)
            parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(_text(left - 8, y + 4, number(value), "end"))
        for value in self.across.ticks(6):
            x = self.x(value)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}" class="axis"/>'
            )
            parts.append(_text(x, base + 18, number(value), "middle"))
        middle = (TOP + base) / 2
        parts.append(f'<line x1="{left}" x2="{right}" y1="{base}" y2="{base}" class="axis"/>')
        parts.append(_text((left + right) / 2, HEIGHT - 8, self.across.label, "middle", "label"))
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
