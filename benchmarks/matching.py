"""How well windows are matched, against known motions and against an independent measurement.

    python benchmarks/matching.py [--pairs 6] [ALIGNED_FOLDER...]

Known motions: windows of simulated pairs are cut from the photo of the DSLR by the exact map, each
moved by up to 4.5 px and turned by up to 1.5 degrees. What `match_windows` finds is compared with
that. Then, and on the folders given (made by `dpedkit align`), the shift that is left between the
two patches of each pair is measured by scikit-image's upsampled phase correlation, and a block of
other content is pasted into each patch, to count how many are still accepted. What the measurement
itself is worth is shown by simulated patches that are cut at the exact position.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from dpedkit.core.console import table
from dpedkit.core.manifest import read_jsonl
from dpedkit.geometry import PairMap, grid_points
from dpedkit.images import read_photo
from dpedkit.patches import PatchConfig, Patches, match_windows
from dpedkit.patches.verdict import luma, ncc, worst_mismatch
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

Photo = NDArray[np.uint8]
SIZE, MARGIN = 100, 30
CROP = SIZE + 2 * MARGIN
MAX_SHIFT, MAX_ANGLE = 4.5, 1.5
BLOCK_SIDES = (25, 30, 50)
UNTESTED = PatchConfig(max_mismatch=0)


@dataclass(frozen=True)
class Matched:
    """Patch pairs of one source, with their observability and, where it is known, the exact DSLR
    patch.
    """

    name: str
    phone: Photo
    dslr: Photo
    shift_error: NDArray[np.float32]
    tried: int
    exact: Photo | None = None

    @property
    def observable(self) -> NDArray[np.bool_]:
        return self.shift_error <= UNTESTED.flat_error

    @classmethod
    def of(cls, name: str, found: list[Patches], exact: Photo | None = None) -> Matched:
        return cls(
            name,
            np.concatenate([patches.phone for patches in found]),
            np.concatenate([patches.dslr for patches in found]),
            np.concatenate([patches.shift_error for patches in found]),
            sum(patches.tried for patches in found),
            exact,
        )


# ----------------------------------------------------------------------------- known motions


def moved_windows(
    config: SimulateConfig, index: int
) -> Iterator[tuple[Photo, Photo, Photo, NDArray[np.float64], float]]:
    """Crops of the phone photo and of the DSLR photo, with the window in the middle moved.

    Yields
    ------
    phone, dslr : (160, 160, 3) uint8
    exact : (160, 160, 3) uint8
        The DSLR's crop without the motion.
    shift : (2,) float64, px
    angle : float, degrees
    """
    shot = simulate_pair(config, index)
    to_dslr = PairMap.from_dict(shot.truth["map"])
    rng = np.random.default_rng([config.seed, index])
    height, width = shot.phone.shape[:2]
    for top in range(0, height - CROP, SIZE):
        for left in range(0, width - CROP, SIZE):
            shift, angle = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2), rng.uniform(-MAX_ANGLE, MAX_ANGLE)
            dslr = seen_by_dslr(shot.dslr, to_dslr, left, top, shift, angle)
            exact = seen_by_dslr(shot.dslr, to_dslr, left, top, np.zeros(2), 0.0)
            if dslr is not None and exact is not None:
                yield shot.phone[top : top + CROP, left : left + CROP], dslr, exact, shift, angle


def seen_by_dslr(
    photo: Photo, to_dslr: PairMap, left: int, top: int, shift: NDArray[np.float64], angle: float
) -> Photo | None:
    """The crop whose content has moved by c + R(x - c) + shift; None where it leaves the photo.

    Four samples a pixel are averaged, so that the finer DSLR photo is not aliased.
    """
    steps = (np.arange(2 * CROP) - 0.5) / 2
    points = grid_points(steps, steps).reshape(-1, 2)
    centre = np.full(2, (CROP - 1) / 2)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    back = (points - centre - shift) @ np.array([[cos, -sin], [sin, cos]]) + centre
    places = to_dslr(back + np.array([left, top])).reshape(2 * CROP, 2 * CROP, 2).astype(np.float32)
    low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    if (low < 2).any() or high[0] > photo.shape[1] - 3 or high[1] > photo.shape[0] - 3:
        return None
    fine = cv2.remap(photo, places[..., 0], places[..., 1], cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(fine, (CROP, CROP), interpolation=cv2.INTER_AREA))


def known_motions(pairs: int) -> Matched:
    """Match windows of simulated pairs, print the errors, and return the patches."""
    config = SimulateConfig(seed=11, pairs=pairs)
    found, there, shift_errors, angle_errors = [], [], [], []
    window = slice(MARGIN, MARGIN + SIZE)
    for index in range(pairs):
        for phone, dslr, exact, shift, angle in moved_windows(config, index):
            patches = match_windows(phone, dslr, UNTESTED)
            assert patches.tried == 1
            found.append(patches)
            there += [exact[window, window]] * len(patches)
            if len(patches) and patches.shift_error[0] <= UNTESTED.flat_error:
                shift_errors.append(np.hypot(*(patches.shift[0] - shift)))
                angle_errors.append(abs(patches.angle[0] - angle))
    matched = Matched.of(f"simulated, {pairs} pairs", found, np.array(there))
    rows = [
        (name, f"{np.median(errors):.3f}", f"{np.percentile(errors, 95):.3f}", f"{max(errors):.2f}")
        for name, errors in (("shift, px", shift_errors), ("angle, degrees", angle_errors))
    ]
    title = f"error of {len(shift_errors)} observable windows of {matched.tried}"
    print(table((title, "median", "p95", "largest"), rows) + "\n")
    return matched


# ------------------------------------------------------------------------------ real photos


def from_folder(folder: Path) -> Matched:
    """Match the windows of all pairs that `dpedkit align` accepted."""
    found = []
    for record in read_jsonl(folder / "pairs.jsonl"):
        if record["status"] == "accepted":
            files = [
                next((folder / side).glob(f"{record['name']}.*")) for side in ("phone", "dslr")
            ]
            phone, dslr = map(read_photo, files)
            found.append(match_windows(phone, dslr, UNTESTED))
    return Matched.of(str(folder), found)


# --------------------------------------------------------------------------- shift that is left


def residual_shift(phone: Photo, dslr: Photo) -> float:
    """Shift between two patches by phase correlation of their luma, to a fiftieth of a px."""
    window = np.outer(np.hanning(len(phone)), np.hanning(len(phone)))
    first, second = ((plane - plane.mean()) * window for plane in (luma(phone), luma(dslr)))
    shift = phase_cross_correlation(first, second, upsample_factor=50, normalization=None)[0]
    return float(np.hypot(*shift))


def compare_residuals(sources: list[Matched]) -> None:
    rows = []
    for source in sources:
        every = np.ones(len(source.phone), bool)
        cuts = [("kept", source.dslr, every), ("kept, observable", source.dslr, source.observable)]
        if source.exact is not None:
            cuts.append(("the same, cut at the exact position", source.exact, source.observable))
        for which, dslr, chosen in cuts:
            pairs = zip(source.phone[chosen], dslr[chosen], strict=True)
            left = [residual_shift(*pair) for pair in pairs]
            median, p95 = np.percentile(left, (50, 95))
            rows.append((source.name, which, len(left), f"{median:.3f}", f"{p95:.3f}"))
    header = ("shift left after cutting, px", "windows", "number", "median", "p95")
    print(table(header, rows) + "\n")


# ------------------------------------------------------------------------------- occlusions


def with_block(patches: Photo, side: int, rng: np.random.Generator) -> Photo:
    """Each patch with a block of another patch pasted at a random place."""
    result = patches.copy()
    others = np.roll(rng.permutation(len(patches)), 1)
    for patch, other in zip(result, patches[others], strict=True):
        x, y, from_x, from_y = rng.integers(0, patches.shape[1] - side, 4)
        patch[y : y + side, x : x + side] = other[from_y : from_y + side, from_x : from_x + side]
    return result


def verdicts(phone: Photo, dslr: Photo) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """NCC and worst mismatch of each patch pair."""
    lumas = [(luma(a), luma(b)) for a, b in zip(phone, dslr, strict=True)]
    return np.array([ncc(*pair) for pair in lumas]), np.array([worst_mismatch(*p) for p in lumas])


def compare_occlusions(sources: list[Matched]) -> None:
    limit = PatchConfig().max_mismatch
    rows = []
    for source in sources:
        _, clean = verdicts(source.phone, source.dslr)
        lost = np.mean(clean > limit)
        for side in BLOCK_SIDES:
            pasted = with_block(source.dslr, side, np.random.default_rng(side))
            score, mismatch = verdicts(source.phone, pasted)
            by_ncc = score > UNTESTED.min_corr
            strict = np.quantile(clean, 0.95)
            rows.append(
                (
                    source.name,
                    f"{side} px, {side * side / SIZE**2:.0%}",
                    f"{by_ncc.mean():.1%}",
                    f"{np.mean(by_ncc & (mismatch <= limit)):.1%}",
                    f"{lost:.1%}",
                    f"{np.mean(by_ncc & (mismatch <= strict)):.1%}",
                )
            )
    header = (
        "pasted block",
        "side, cover",
        "accepted by NCC",
        f"with --max-mismatch {limit:g}",
        "clean dropped",
        "accepted if 5% clean are lost",
    )
    print(table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=6, help="simulated pairs")
    parser.add_argument("folders", type=Path, nargs="*", metavar="ALIGNED_FOLDER")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sources = [known_motions(arguments.pairs), *map(from_folder, arguments.folders)]
    compare_residuals(sources)
    compare_occlusions(sources)


if __name__ == "__main__":
    main()
