"""Ways of following depth, and of registering a window, side by side on the same scenes.

    python benchmarks/depth_methods.py --photos FOLDER [--pairs 3] [--parallax 2,4,8,16,40]
    python benchmarks/depth_methods.py --stereo FOLDER

Following depth: the rigid map; the rigid map with the smooth field that cross-validation chooses;
dense optical flow (DIS) under the rigid map, kept where both directions agree to half a pixel; and
what `align` does, surfaces that are planes and patches of that flow, fitted to block shifts.

Registering windows of 100 px that were moved by up to 4 px and turned by up to 1 degree, with noise
and another tone: the registration of `patches` and OpenCV's `findTransformECC` on the same planes.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from depth_scenes import Scene, layered_scene, stereo_scenes
from numpy.typing import NDArray

from dpedkit.align.config import AlignConfig
from dpedkit.align.detail import Grid
from dpedkit.align.features import MATCHERS, coarse_fits
from dpedkit.align.flow import cell_flow
from dpedkit.align.model import choose_model, fit_depth
from dpedkit.align.pair import Photos
from dpedkit.align.refine import levels, refine
from dpedkit.geometry import grid_points
from dpedkit.images import list_photos, read_photo
from dpedkit.patches.registration import Planes, register

Points = NDArray[np.float64]
SEED, MEGAPIXELS = 2000, 2.0
WINDOWS, PLAIN = 200, 4.0


Method = Callable[
    [Photos], tuple[Callable[[Points], Points], Callable[[Points], NDArray[np.bool_]]]
]


def _begun(photos: Photos):  # type: ignore[no-untyped-def]
    """The working sizes and the rigid map."""
    fit = next(coarse_fits(photos.phone, photos.dslr, MATCHERS["sift"]))
    assert fit.phone_to_dslr is not None, "the photos do not match"
    start = photos.map_by(fit.phone_to_dslr)
    pyramid = levels(photos.phone, photos.dslr, start, AlignConfig().working_mp)
    refined = refine(pyramid, start)
    assert refined is not None, "the photos do not match in detail"
    return pyramid, refined


def _everywhere(points: Points) -> NDArray[np.bool_]:
    return np.ones(len(points), bool)


def _rigid(photos: Photos):  # type: ignore[no-untyped-def]
    _, refined = _begun(photos)
    return refined.fit.map, _everywhere


def _smooth_field(photos: Photos):  # type: ignore[no-untyped-def]
    return choose_model(*_begun(photos)).map, _everywhere


def _flow(photos: Photos):  # type: ignore[no-untyped-def]
    pyramid, refined = _begun(photos)
    rigid, grid = refined.fit.map, Grid.over(pyramid[-1])
    flow = cell_flow(grid, rigid)

    def cells(points: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        place = np.floor((points + 0.5) / grid.cell).astype(int)
        return tuple(np.clip(place, 0, np.array(grid.shape[::-1]) - 1).T[::-1])

    def mapped(points: Points) -> Points:
        moved = flow.displacement[cells(points)] * grid.level.working_px
        return rigid(points + moved)

    return mapped, lambda points: flow.valid[cells(points)]


def _surfaces(photos: Photos):  # type: ignore[no-untyped-def]
    pair_map = fit_depth(*_begun(photos), allow_depth=True).map
    return pair_map, pair_map.holds


METHODS: dict[str, Method] = {
    "rigid": _rigid,
    "smooth field": _smooth_field,
    "flow": _flow,
    "surfaces": _surfaces,
}


def layered_scenes(folder: Path, parallax: float, count: int) -> Iterator[Scene]:
    """Pairs of photos of a folder as two layers, chosen by the parallax and their number."""
    files = list_photos(folder)
    for number in range(count):
        rng = np.random.default_rng([SEED, int(parallax * 100), number])
        far, near = rng.choice(len(files), 2, replace=False)
        photos = read_photo(files[far]), read_photo(files[near])
        yield layered_scene(*photos, parallax, [SEED, int(parallax * 100), number], MEGAPIXELS)


def _scored(scene: Scene, method: Method) -> tuple[float, ...]:
    """Share held, median and p95 of the error there in DSLR px, share off by > 1, seconds."""
    photos = Photos.of(scene.phone, scene.dslr)
    started = time.process_time()
    mapped, holds = method(photos)
    seconds = time.process_time() - started
    width, height = photos.phone_size
    points = grid_points(np.arange(4.0, width, 8), np.arange(4.0, height, 8))
    truth = scene.truth(points)
    seen = np.isfinite(truth).all(axis=1)
    held = holds(points) & seen
    error = np.linalg.norm(mapped(points[held]) - truth[held], axis=1)
    median, p95 = np.percentile(error, [50, 95])
    return float(held.sum() / seen.sum()), median, p95, float((error > 1).mean()), seconds


def _compare_registration(path: Path) -> None:
    """Print how exact and how fast two registrations of a window are."""
    rng = np.random.default_rng(SEED)
    photo = cv2.cvtColor(read_photo(path), cv2.COLOR_RGB2GRAY).astype(np.float32)
    errors: dict[str, list[float]] = {"patches": [], "findTransformECC": []}
    seconds = dict.fromkeys(errors, 0.0)
    size, around = 100, 40
    for _ in range(WINDOWS):
        x, y = (int(rng.integers(around, side - size - 2 * around)) for side in photo.shape[::-1])
        still = photo[y - around : y + size + around, x - around : x + size + around]
        if cv2.Laplacian(still, cv2.CV_32F).std() < PLAIN:
            continue
        shift, angle = rng.uniform(-4, 4, 2), rng.uniform(-1, 1)
        turn = cv2.getRotationMatrix2D((around + (size - 1) / 2,) * 2, -angle, 1.0)
        turn[:, 2] += shift
        moved = cv2.warpAffine(still, turn, still.shape[::-1], flags=cv2.INTER_CUBIC)
        moved = 0.8 * moved + 20 + rng.normal(0, 3, moved.shape).astype(np.float32)
        planes = [Planes.of(np.ascontiguousarray(image, np.float32)) for image in (still, moved)]
        started = time.process_time()
        found = register(planes[0], planes[1], around, around, size, 5.0)
        seconds["patches"] += time.process_time() - started
        errors["patches"].append(float(np.hypot(*(np.array(found.shift) - shift))))
        window = planes[0].full[around : around + size, around : around + size]
        warp = np.array([[1, 0, around], [0, 1, around]], np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
        started = time.process_time()
        with contextlib.suppress(cv2.error):  # it does not converge
            _, warp = cv2.findTransformECC(
                window, planes[1].full, warp, cv2.MOTION_EUCLIDEAN, criteria, None, 5
            )
        seconds["findTransformECC"] += time.process_time() - started
        centre = warp @ np.array([(size - 1) / 2, (size - 1) / 2, 1])
        where = centre - around - (size - 1) / 2
        errors["findTransformECC"].append(float(np.hypot(*(where - shift))))
    print(f"{'registration':24}{'windows':>9}{'median':>9}{'p95':>9}{'> 1 px':>9}{'ms':>9}")
    for name, values in errors.items():
        median, p95 = np.percentile(values, [50, 95])
        off, each = np.mean(np.array(values) > 1), 1000 * seconds[name] / len(values)
        print(f"{name:24}{len(values):9}{median:9.3f}{p95:9.3f}{off:9.1%}{each:9.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photos, as layers of scenes")
    parser.add_argument("--stereo", type=Path, help="folder of stereo pairs with known disparity")
    parser.add_argument("--pairs", type=int, default=3, help="pairs a parallax")
    parser.add_argument("--parallax", default="2,4,8,16,40", help="px of the phone photo")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    scenes = {}
    if options.photos:
        for parallax in map(float, options.parallax.split(",")):
            scenes[f"layers, {parallax:g} px"] = list(
                layered_scenes(options.photos, parallax, options.pairs)
            )
        _compare_registration(list_photos(options.photos)[0])
    if options.stereo:
        scenes |= {name: [scene] for name, scene in stereo_scenes(options.stereo)}
    print(f"{'scenes':24}{'method':16}{'held':>6}{'median':>9}{'p95':>8}{'> 1 px':>8}{'s':>7}")
    for name, some in scenes.items():
        for method in METHODS:
            rows = np.array([_scored(scene, METHODS[method]) for scene in some])
            held, median, p95, off, seconds = np.median(rows, axis=0)
            print(f"{name:24}{method:16}{held:6.0%}{median:9.3f}{p95:8.2f}{off:8.1%}{seconds:7.2f}")


if __name__ == "__main__":
    main()
