"""The paper's figure 2: how the MSE and the colour loss grow as two images are shifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import make_folder, write_text
from dpedkit.core.console import table

# Colours of Okabe and Ito, 2008, which colour-blind readers can tell apart.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73")
_WIDTH, _HEIGHT = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 16, 48
_CLAIMED_SHIFTS, _CLAIMED_RATIO = (3, 4, 5), (5.0, 10.0)  # paper, section III-A.1


@dataclass(frozen=True)
class ColourLossReport:
    """The curves of figure 2 and where they were drawn.

    Attributes
    ----------
    plot : Path
    source : str
        What the patches were cut from.
    patches : int
    mse : sequence of float
        For shifts of 0, 1, 2, ... px.
    colour : mapping of str to sequence of float
        The colour loss per value with each blur.
    """

    plot: Path
    source: str
    patches: int
    mse: Sequence[float]
    colour: Mapping[str, Sequence[float]]

    def to_dict(self) -> dict[str, Any]:
        """The curves as JSON-ready values."""
        return {
            "plot": str(self.plot),
            "source": self.source,
            "patches": self.patches,
            "mse": list(self.mse),
            "colour": {name: list(values) for name, values in self.colour.items()},
            "verdict": self.verdict(),
        }

    def as_text(self) -> str:
        """A table of the curves, and whether the paper's claim holds."""
        header = ["shift", "MSE"]
        for name in self.colour:
            header += [f"colour, {name}", "MSE / loss"]
        rows = []
        for shift, mse in enumerate(self.mse):
            row = [f"{shift} px", f"{mse:.5f}"]
            for values in self.colour.values():
                row += [f"{values[shift]:.5f}", f"{mse / values[shift]:.1f}" if shift else "-"]
            rows.append(row)
        title = f"{self.patches} patches of {self.source}; drawn in {self.plot}"
        return "\n".join([title, table(header, rows), self.verdict()])

    def verdict(self) -> str:
        """Whether the colour loss is 5 to 10 times smaller than the MSE at 3 to 5 px."""
        low, high = _CLAIMED_RATIO
        parts = []
        for name, values in self.colour.items():
            ratios = [self.mse[shift] / values[shift] for shift in _CLAIMED_SHIFTS]
            span = f"{max(ratios):.1f} to {min(ratios):.1f} times smaller"
            if min(ratios) >= low and max(ratios) <= high:
                judged = "as the paper says"
            elif max(ratios) < low:
                judged = "less than the paper says"
            elif min(ratios) > high:
                judged = "more than the paper says"
            else:
                judged = "partly as the paper says"
            parts.append(f"{span} with the {name} ({judged})")
        return (
            "The paper: at shifts of 3 to 5 px the colour loss is 5 to 10 times smaller than the "
            f"MSE. Here it is {'; '.join(parts)}."
        )


def write_colour_loss_report(report: ColourLossReport) -> None:
    """Draw the curves to `report.plot`, as SVG."""
    series = {"MSE": report.mse}
    series |= {f"colour loss, {name}": values for name, values in report.colour.items()}
    make_folder(report.plot.parent)
    write_text(report.plot, _plot(series))


def _plot(series: Mapping[str, Sequence[float]]) -> str:
    """Curves over the shift in px, on a logarithmic axis; 0 px, where all are 0, is left out."""
    positive = [value for values in series.values() for value in values[1:]]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    last = max(map(len, series.values())) - 1
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def x_of(shift: float) -> float:
        return _LEFT + (shift - 1) / (last - 1) * (right - _LEFT)

    def y_of(value: float) -> float:
        return base - (math.log10(value) - low) / (high - low) * (base - _TOP)

    shapes = []
    for exponent in range(low, high + 1):
        y = y_of(10.0**exponent)
        shapes.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ccc"/>')
        shapes.append(_text(_LEFT - 8, y + 4, f"1e{exponent}", "end"))
    for shift in range(1, last + 1):
        shapes.append(_text(x_of(shift), base + 18, str(shift), "middle"))
    shapes.append(_text((_LEFT + right) / 2, _HEIGHT - 8, "shift, px", "middle"))
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number]
        points = " ".join(
            f"{x_of(shift):.1f},{y_of(value):.1f}" for shift, value in enumerate(values) if shift
        )
        shapes.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = base - 16 - 18 * (len(series) - 1 - number)
        shapes.append(_text(right - 8, y, name, "end", colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(shapes)}</svg>\n"
    )


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
