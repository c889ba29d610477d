"""Figures of a comparison for print: SVG, PDF and PNG, drawn by matplotlib."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.core.atomic import complete_or_absent
from dpedkit.report.compared import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".pdf", ".png")
INSTALL = "pip install 'dpedkit[figures]'"
_CURVES = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM"}
_DIFFERENCES = {
    "psnr": "PSNR, dB",
    "ms_ssim": "MS-SSIM",
    "colour_error": "colour error, levels",
}
_DPI = 200
_STYLE: dict[Any, Any] = {  # matplotlib names hundreds of keys in its type
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "dpedkit",  # the same figure is the same file
    "pdf.fonttype": 42,  # fonts that journals accept
}


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_figures(folder: Path, comparison: Comparison) -> list[Path]:
    """Write curves.* and, where there are differences, differences.*.

    Needs matplotlib, see `can_draw`.
    """
    figures: dict[str, Callable[[Comparison], Figure]] = {"curves": _curves}
    if comparison.differences:
        figures["differences"] = _differences
    written = []
    for name, draw in figures.items():
        for suffix in SUFFIXES:
            written.append(folder / f"{name}{suffix}")
            _save(draw, comparison, written[-1])
    return written


def _save(draw: Callable[[Comparison], Figure], comparison: Comparison, file: Path) -> None:
    import matplotlib

    dates: Mapping[str, Mapping[str, None]] = {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
        ".png": {},
    }
    with matplotlib.rc_context(_STYLE), complete_or_absent(file) as part:
        figure = draw(comparison)
        kind = file.suffix.removeprefix(".")
        figure.savefig(part, format=kind, dpi=_DPI, metadata=dict(dates[file.suffix]))


def _curves(comparison: Comparison) -> Figure:
    """PSNR and MS-SSIM of the validations, the mean over the seeds and one deviation around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, 2), _CURVES.items(), strict=True):
        for entry in comparison.entries:
            points = entry.curve(key)
            if not points:
                continue
            steps, means, deviations = map(list, zip(*points, strict=True))
            (line,) = axes.plot(steps, means, label=entry.name, linewidth=1.3)
            if any(deviations):
                low, high = (
                    [m + sign * d for m, d in zip(means, deviations, strict=True)]
                    for sign in (-1, 1)
                )
                axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(xlabel="step", ylabel=f"{label} (validation)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _differences(comparison: Comparison) -> Figure:
    """The paired differences with their intervals, a panel for each measure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    differences = comparison.differences
    figure = Figure(figsize=(7, 1.0 + 0.28 * len(differences)), layout="constrained")
    panels = figure.subplots(1, len(_DIFFERENCES), sharey=True)
    for axes, (measure, label) in zip(panels, _DIFFERENCES.items(), strict=True):
        for place, difference in enumerate(differences):
            found = difference.values.get(measure)
            if found is None:
                continue
            axes.plot(found.mean, place, "o", color="C0", markersize=4)
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [place, place], color="C0", linewidth=1.3)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(xlabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    names = [f"{one.name} - {one.other}" for one in differences]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    return figure
