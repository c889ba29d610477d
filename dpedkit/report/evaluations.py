"""Results of `dpedkit evaluate` for a run: its networks and the baselines, also scene by scene."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpedkit.core.evaluations import EVALUATIONS, ON_PATCHES, read_evaluations
from dpedkit.core.methods import DSLR, NETWORK, ORACLE, SHOWN
from dpedkit.core.wording import counted, decibel
from dpedkit.images import read_photo
from dpedkit.intervals import Interval
from dpedkit.models.files import model_hash
from dpedkit.report.page import escape, table
from dpedkit.report.zoom import Shown, zoomable

Found = dict[str, Any]

# By measure: header, format, and the value that is best: `HIGH` for as high as possible, a number
# for as close to it as possible, None where no value is better than another.
Columns = Mapping[str, tuple[str, str, float | None]]

HIGH = math.inf
_SCORES: Columns = {
    "psnr": ("PSNR, dB", ".2f", HIGH),
    "ms_ssim": ("MS-SSIM", ".4f", HIGH),
    "psnr_per_batch": ("PSNR, dB (batch)", ".2f", HIGH),
    "ms_ssim_per_batch": ("MS-SSIM (batch)", ".4f", HIGH),
    "ssim": ("SSIM", ".4f", HIGH),
    "psnr_pooled": ("PSNR, dB (pooled)", ".2f", HIGH),
}
_LIMITATIONS: Columns = {
    "colour_error": ("colour error", ".2f", 0.0),
    "contrast_ratio": ("contrast", ".2f", 1.0),
    "noise_gain": ("noise", ".2f", None),
}
_SCENE_MEASURES: Columns = {
    "psnr": ("PSNR, dB", ".2f", HIGH),
    "ms_ssim": ("MS-SSIM", ".4f", HIGH),
    "ssim": ("SSIM", ".4f", HIGH),
    "colour_error": ("colour error", ".2f", 0.0),
}
_NOTE = (
    "Each image separately, as in the authors' challenge code; batch: 50 at a time, as in their "
    "training code; pooled: over all pixels. Colour error in 8-bit levels, contrast relative to "
    "the DSLR's, noise relative to the phone's. The best value of each column is bold; the oracle "
    "polynomial, fitted to each photo that it is measured on, does not take part. Means over "
    "scenes have the 95% bootstrap interval over the scenes; differences are paired by scene."
)
_NO_SCENES = (
    '<p class="soft">There is no mean over scenes: it is not recorded which of these patches show '
    "the same scene.</p>"
)


def evaluations(run: Path) -> str:
    """HTML of all evaluations that the run's folder keeps; empty where there is none."""
    parts = [_evaluation(run, found) for found in kept_evaluations(run)]
    if not parts:
        return ""
    note = f'<p class="soft">{escape(_NOTE)}</p>'
    return "<h2>Does the network beat the baselines?</h2>" + "".join(parts) + note


def kept_evaluations(run: Path) -> list[Found]:
    """Evaluations on patches that the run's folder keeps, each split told once."""
    kept = read_evaluations(run, ON_PATCHES)
    return list(_told_once({file.stem: found for file, found in kept.items()}))


def is_current(run: Path, found: Found) -> bool:
    """Whether an evaluation is of the network that the run has now."""
    model = run / found["model_file"]
    return model.is_file() and model_hash(model) == found["model_hash"]


def _told_once(kept: dict[str, Found]) -> Iterator[Found]:
    """Evaluations without those whose splits another one of the same network and shards holds."""
    seen: set[tuple[str, str, str]] = set()
    for name, found in sorted(kept.items(), key=lambda item: -len(item[1]["splits"])):
        splits = [split["split"] for split in found["splits"]]
        measured = name.removesuffix("-".join(["", *splits]))  # the model file and the patches
        shown = {(found["model_hash"], measured, split) for split in splits}
        if not shown <= seen:
            seen |= shown
            yield {**found, "patches": measured.rpartition("-")[2]}


def _evaluation(run: Path, found: Found) -> str:
    # The scenes that training saw least come first.
    tables = "".join(
        _split(split, run / EVALUATIONS, found.get("pictures", {}).get(split["split"], {}))
        for split in reversed(found["splits"])
    )
    return f"{title(run, found, found['shards'])}<p>{escape(found['verdict'])}</p>{tables}"


def title(run: Path, found: Found, data: str) -> str:
    """HTML: which network was measured on which data, and whether the run has another by now."""
    note = '<p class="warn">Measured on an earlier network of this run.</p>'
    words = f"<h3>{escape(found['model_file'])} on {escape(data)}</h3>"
    return words if is_current(run, found) else words + note


def _split(found: Found, folder: Path, pictures: Mapping[str, str]) -> str:
    title = f"{found['split']} ({counted(found['patches'], 'patch pair')})"
    limitations = found.get("limitations", {})
    return (
        _method_table(title, found["scores"], _SCORES, "inf")
        + (_method_table("limitations", limitations, _LIMITATIONS, "-") if limitations else "")
        + (by_scene(found["by_scene"]) if found.get("by_scene") else _NO_SCENES)
        + _extremes(found, folder, pictures)
    )


def _method_table(title: str, found: Mapping[str, Found], columns: Columns, none: str) -> str:
    """HTML of a table with a row for each method; the best value of each column is bold.

    Parameters
    ----------
    title : str
        Of the column of methods.
    found : mapping
        By method: the value of each measure.
    columns : mapping
    none : str
        What stands for None: "inf" if that is a PSNR without limit.
    """
    rows = [
        (method, *(_cell(values.get(key), form, none) for key, (_, form, _) in columns.items()))
        for method, values in found.items()
    ]
    header = (title, *(name for name, _, _ in columns.values()))
    return table(header, rows, bold=_best_cells(found, columns, none))


def _cell(value: float | None, form: str, none: str) -> str:
    return none if value is None else format(value, form)


def _best_cells(
    found: Mapping[str, Mapping[str, float | None]], columns: Columns, none: str
) -> set[tuple[int, int]]:
    """Where the best value of each column is, several of which may look the same."""
    cells = set()
    rivals = [(row, method) for row, method in enumerate(found) if takes_part(method)]
    for column, (key, (_, form, best)) in enumerate(columns.items(), start=1):
        if best is None:
            continue
        known = {}
        for row, method in rivals:
            value = found[method].get(key)
            if value is not None or (none == "inf" and key in found[method]):
                known[row] = _distance(value, best), _cell(value, form, none)
        if len(known) > 1:
            winner = min(known.values())[1]
            cells |= {(row, column) for row, (_, text) in known.items() if text == winner}
    return cells


def takes_part(method: str) -> bool:
    """Whether a method competes: the oracle and the DSLR have seen the answer."""
    return method not in (ORACLE, DSLR)


def _distance(value: float | None, best: float) -> float:
    if best == HIGH:
        return -math.inf if value is None else -value
    return math.inf if value is None else abs(value - best)


def by_scene(found: Found, columns: Columns = _SCENE_MEASURES, images: str = "patches") -> str:
    """HTML of the means over the scenes, the differences, and the scenes one by one."""
    scenes: list[Found] = found["scenes"]
    header = (
        f"mean of {counted(len(scenes), 'scene')}",
        *(name for name, _, _ in columns.values()),
    )
    means = {
        method: {key: own["mean"] for key, own in measured.items()}
        for method, measured in found["means"].items()
    }
    rows = [(method, *_intervals(measured, columns)) for method, measured in found["means"].items()]
    rows += [
        (f"{NETWORK} - {rival}", *_intervals(measured, columns, sign="+"))
        for rival, measured in found["differences"].items()
    ]
    return table(header, rows, bold=_best_cells(means, columns, "-")) + _each_scene(
        scenes, columns, images
    )


def _intervals(measured: Found, columns: Columns, sign: str = "") -> list[str]:
    return [
        Interval(**measured[key]).text(sign + form) if key in measured else "-"
        for key, (_, form, _) in columns.items()
    ]


def _each_scene(scenes: Sequence[Found], columns: Columns, images: str) -> str:
    """A table of all scenes, the network's worst first, that opens on request."""
    methods = list(scenes[0]["scores"])
    keys = list(columns)[:2]
    header = ["scene", *([images] if images else [])]
    header += [f"{method}: {columns[key][0]}" for key in keys for method in methods]
    rows = []
    for scene in sorted(scenes, key=psnr_of_network):
        row = [scene["scene"], *([str(scene["images"])] if images else [])]
        for key in keys:
            form = columns[key][1]
            row += [_cell(scene["scores"][method][key], form, "inf") for method in methods]
        rows.append(row)
    return (
        f'<details class="scenes"><summary>{counted(len(scenes), "scene")}, one by one</summary>'
        f"{table(header, rows)}</details>"
    )


def psnr_of_network(scene: Found) -> float:
    """PSNR of the network on a scene, dB; inf if all its images equal the DSLR's."""
    psnr: float | None = scene["scores"][NETWORK]["psnr"]
    return math.inf if psnr is None else psnr


def _extremes(found: Found, folder: Path, pictures: Mapping[str, str]) -> str:
    """The network's worst and best patches, where their picture is still there."""
    names = [*(name for name in SHOWN if name in found["scores"]), "DSLR"]  # its columns
    parts = []
    for end in ("worst", "best"):
        file = folder / pictures.get(end, "")
        if not file.is_file():
            continue
        pixels = read_photo(file)
        side = pixels.shape[1] // len(names)
        rows = []
        for number, patch in enumerate(found[end]):
            whole = pixels[number * side : (number + 1) * side]
            scene = f"scene {patch['scene']}: " if patch["scene"] is not None else ""
            words = (
                f"{scene}{decibel(patch['scores']['psnr'])} dB, {patch['scores']['ms_ssim']:.4f}"
            )
            shown = [
                Shown(name, whole[:, column * side : (column + 1) * side])
                for column, name in enumerate(names)
            ]
            rows.append((words, shown))
        parts.append(f"<section><h3>{end.capitalize()} patches</h3>{zoomable(rows)}</section>")
    return f'<div class="two">{"".join(parts)}</div>' if parts else ""
