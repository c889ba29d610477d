"""Results of `dpedkit evaluate --photos` for a run, with the worst and the best photos."""

from __future__ import annotations

from pathlib import Path

from dpedkit.aligned import content_hash, read_aligned
from dpedkit.core.errors import DpedkitError
from dpedkit.core.evaluations import EVALUATIONS, ON_PHOTOS, read_evaluations
from dpedkit.core.methods import COUNTED, NETWORK
from dpedkit.core.wording import counted, decibel
from dpedkit.images import read_photo
from dpedkit.report.evaluations import (
    HIGH,
    Columns,
    Found,
    by_scene,
    psnr_of_network,
    title,
)
from dpedkit.report.page import escape
from dpedkit.report.zoom import Shown, zoomable

_MEASURES: Columns = {
    "psnr": ("PSNR, dB", ".2f", HIGH),
    "ms_ssim": ("MS-SSIM", ".4f", HIGH),
    "ssim": ("SSIM", ".4f", HIGH),
    "ciede2000": ("CIEDE2000", ".2f", 0.0),
    "vgg19": ("VGG-19 features", ".4f", 0.0),
}
_NOTE = (
    "Each photo was enhanced whole; pixels do not count where the alignment does not hold. Means "
    "have the 95% bootstrap interval over the photos; differences are paired by photo. CIEDE2000 "
    "is the mean colour difference; VGG-19 features, the mean squared difference of relu5_4 (not "
    "LPIPS). The best value of each column is bold, without the oracle polynomial, which is "
    "fitted to the photo itself. Click on a photo to see it large."
)


def photo_evaluations(run: Path) -> str:
    """HTML of the evaluations on whole photos that the run keeps; empty where there is none."""
    parts = [_evaluation(run, found) for found in read_evaluations(run, ON_PHOTOS).values()]
    if not parts:
        return ""
    return f'<h2>Whole photos</h2>{"".join(parts)}<p class="soft">{escape(_NOTE)}</p>'


def _evaluation(run: Path, found: Found) -> str:
    means = found["by_scene"]["means"]
    measures = {
        key: column
        for key, column in _MEASURES.items()
        if any(key in own for own in means.values())
    }
    left_out = found["left_out"]
    missing = ""
    if left_out:
        name, reason = next(iter(left_out.items()))
        pairs = counted(len(left_out), "pair")
        missing = (
            f'<p class="warn">{pairs} could not be measured: {escape(f"{name}: {reason}")}</p>'
        )
    return (
        f"{title(run, found, found['aligned'])}{_changed(found)}<p>{escape(found['verdict'])}</p>"
        f"{missing}"
        f"{by_scene(found['by_scene'], measures, images='')}{_extremes(run, found)}"
    )


def _changed(found: Found) -> str:
    """That the photos have changed since; empty if not, or if that cannot be known."""
    aligned, before = Path(found["aligned"]), found.get("aligned_hash")
    if before is None or not aligned.is_dir():
        return ""
    try:
        same = content_hash(aligned, *read_aligned(aligned)) == before
    except DpedkitError:
        same = False
    return "" if same else '<p class="warn">The photos have been aligned anew since.</p>'


def _extremes(run: Path, found: Found) -> str:
    """The photos that have pictures, the network's worst first."""
    pictures = found.get("pictures", {})
    scenes = [scene for scene in found["by_scene"]["scenes"] if scene["scene"] in pictures]
    scenes.sort(key=psnr_of_network)
    half = (len(scenes) + 1) // 2
    parts = []
    for end, own in (("Worst", scenes[:half]), ("Best", scenes[half:][::-1])):
        rows = [_row(run / EVALUATIONS, scene, found) for scene in own]
        rows = [row for row in rows if row[1]]
        if rows:
            parts.append(f"<h3>{end} photos</h3>{zoomable(rows, wide=True)}")
    return "".join(parts)


def _row(folder: Path, scene: Found, found: Found) -> tuple[str, list[Shown]]:
    name, scores = scene["scene"], scene["scores"][NETWORK]
    words = (
        f"{name}: {decibel(scores['psnr'])} dB, MS-SSIM {scores['ms_ssim']:.4f}, CIEDE2000 "
        f"{scores['ciede2000']:.2f}; {found['photos'][name]['counted']:.0%} of the pixels count"
    )
    shown = [
        Shown(method, read_photo(folder / file), only_large=method == COUNTED)
        for method, file in found["pictures"][name].items()
        if (folder / file).is_file()
    ]
    return words, shown
