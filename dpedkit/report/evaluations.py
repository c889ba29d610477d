"""Results of `dpedkit evaluate` for a run: its networks and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.core.manifest import read_json
from dpedkit.core.records import EVALUATIONS
from dpedkit.core.wording import counted
from dpedkit.models.files import model_hash
from dpedkit.report.page import escape, table

Found = dict[str, Any]

_SCORES = {
    "PSNR, dB": ("psnr", ".2f"),
    "MS-SSIM": ("ms_ssim", ".4f"),
    "PSNR, dB (batch)": ("psnr_per_batch", ".2f"),
    "MS-SSIM (batch)": ("ms_ssim_per_batch", ".4f"),
    "SSIM": ("ssim", ".4f"),
    "PSNR, dB (pooled)": ("psnr_pooled", ".2f"),
}
_LIMITATIONS = {
    "colour error": ("colour_error", ".2f"),
    "contrast": ("contrast_ratio", ".2f"),
    "noise": ("noise_gain", ".2f"),
}
_NETWORK = "network"
_NOTE = (
    "Each image separately, as in the authors' challenge code; batch: 50 at a time, as in their "
    "training code; pooled: over all pixels. Colour error in 8-bit levels, contrast relative to "
    "the DSLR's, noise relative to the phone's."
)


def evaluations(run: Path) -> str:
    """HTML of all evaluations that the run's folder keeps; empty where there is none."""
    kept = {file.stem: read_json(file) for file in sorted((run / EVALUATIONS).glob("*.json"))}
    parts = [_evaluation(run, found) for found in _told_once(kept)]
    if not parts:
        return ""
    note = f'<p class="soft">{escape(_NOTE)}</p>'
    return "<h2>Does the network beat the baselines?</h2>" + "".join(parts) + note


def _told_once(kept: dict[str, Found]) -> list[Found]:
    """Evaluations without those whose splits another one of the same network and shards holds."""
    told: list[Found] = []
    seen: set[tuple[str, str, str]] = set()
    for name, found in sorted(kept.items(), key=lambda item: -len(item[1]["splits"])):
        splits = [split["split"] for split in found["splits"]]
        measured = name.removesuffix("-".join(["", *splits]))  # the model file and the patches
        shown = {(found["model_hash"], measured, split) for split in splits}
        if not shown <= seen:
            told.append(found)
            seen |= shown
    return told


def _evaluation(run: Path, found: Found) -> str:
    model = run / found["model_file"]
    old = not model.is_file() or model_hash(model) != found["model_hash"]
    note = '<p class="warn">Measured on an earlier network of this run.</p>' if old else ""
    # The scenes that training saw least come first.
    tables = "".join(_split(split) for split in reversed(found["splits"]))
    return f"<p>{escape(found['verdict'])}</p>{note}{tables}"


def _split(found: Found) -> str:
    limitations = found.get("limitations", {})
    named = _LIMITATIONS if limitations else {}
    methods = list(found["scores"])
    rows = []
    for method in methods:
        # A score of None is a PSNR without limit: all images equal the DSLR's.
        cells = _cells(found["scores"][method], _SCORES, "inf")
        rows.append((method, *cells, *_cells(limitations.get(method, {}), named, "-")))
    title = f"{found['split']} ({counted(found['patches'], 'patch pair')})"
    return table((title, *_SCORES, *named), rows, best=methods.index(_NETWORK))


def _cells(measured: Found, columns: dict[str, tuple[str, str]], none: str) -> list[str]:
    """What was measured, as text; `none` where it is None."""
    values = ((measured.get(key), form) for key, form in columns.values())
    return [none if value is None else format(value, form) for value, form in values]
