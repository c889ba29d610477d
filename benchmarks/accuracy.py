"""How far `align_pair` is from the truth, on photos taken by a simulated phone and DSLR.

A photo serves as the scene. The DSLR photo is a crop of it; the phone photo is rendered from it
through a known map (rotation, scale, perspective, lens distortion, parallax) with the phone's own
colours, vignetting, blur, noise and JPEG. The error is the mean distance, over a grid of the
overlap, between where the estimated and the true map put a phone pixel, in phone px.

    python benchmarks/accuracy.py --photos FOLDER          # the numbers to report
    python benchmarks/accuracy.py --photos FOLDER --tune   # the seeds to tune on

Seeds are split once and for all: settings are tuned on the one half and reported on the other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, centre_of, grid_points, half_diagonal
from dpedkit.images import list_photos, read_photo

TUNE_SEED, REPORT_SEED = 0, 1000
SUPERSAMPLING = 3
NODE_STEP = 4  # px between places where the true map is evaluated; linear between them

Map = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Variant:
    """What the geometry of the simulated pairs consists of."""

    name: str
    k1: float = 0.0
    parallax: tuple[float, float] = (0.0, 0.0)  # px, largest displacement
    scale: tuple[float, float] = (0.4, 0.8)  # phone px per DSLR px
    min_mp: float = 0.0  # of the photo


VARIANTS = {
    "homography": Variant("homography only"),
    "k1-0.01": Variant("k1 +-0.01", k1=0.01),
    "k1-0.03": Variant("k1 +-0.03", k1=0.03),
    "parallax": Variant("k1 +-0.01, parallax 2-5 px", k1=0.01, parallax=(2.0, 5.0)),
    "large": Variant("12 MP pairs, k1 +-0.01", k1=0.01, scale=(0.95, 1.0), min_mp=11.0),
}


@dataclass(frozen=True)
class Pair:
    """Two photos and the true map from phone to DSLR pixels."""

    phone: Image
    dslr: Image
    true_map: Map
    overlap: float


def make_pair(scene: Image, variant: Variant, seed: int) -> Pair:
    """Take the two photos of a scene."""
    rng = np.random.default_rng([seed, *variant.name.encode()])
    height, width = scene.shape[:2]
    scale = rng.uniform(*variant.scale)
    share = rng.uniform(0.82, 0.88)
    phone_size = (round(width * share * scale), round(height * share * scale))
    true_map = _geometry(rng, variant, phone_size, (width, height), scale)
    corner, dslr_size = _dslr_frame(rng, (width, height), share)
    phone = _photograph(rng, _render(scene, true_map, phone_size))
    x, y = corner
    dslr = scene[y : y + dslr_size[1], x : x + dslr_size[0]]

    def to_dslr(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return true_map(points) - np.array(corner, float)

    grid = _grid(phone_size)
    return Pair(
        phone, np.ascontiguousarray(dslr), to_dslr, _inside(to_dslr(grid), dslr_size).mean()
    )


def error_of(estimate: PairMap, pair: Pair) -> float:
    """Mean distance between the maps over the overlap, in phone px."""
    grid = _grid(estimate.phone_size)
    truth = pair.true_map(grid)
    inside = _inside(truth, estimate.dslr_size)
    back = estimate.inverse(truth[inside])
    return float(np.linalg.norm(back - grid[inside], axis=1).mean())


def _geometry(
    rng: np.random.Generator,
    variant: Variant,
    phone_size: tuple[int, int],
    scene_size: tuple[int, int],
    scale: float,
) -> Map:
    angle = np.deg2rad(rng.uniform(-3, 3))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilt = rng.uniform(-0.03, 0.03, 2) / half_diagonal(phone_size)
    shift = rng.uniform(-0.015, 0.015, 2) * np.array(scene_size)
    k1 = variant.k1 * rng.choice([-1.0, 1.0])
    straighten = rng.random() < 0.5  # the polynomial maps distorted to straight, or the reverse
    size = rng.uniform(*variant.parallax)
    phase = rng.uniform(0, 2 * np.pi, 4)
    cycles = rng.uniform(0.5, 1.2, 4)
    centre, radius = centre_of(phone_size), half_diagonal(phone_size)

    def lens(offset: NDArray[np.float64]) -> NDArray[np.float64]:
        if straighten:
            return offset * (1 + k1 * (offset**2).sum(axis=1, keepdims=True) / radius**2)
        straight = offset
        for _ in range(30):
            straight = offset / (1 + k1 * (straight**2).sum(axis=1, keepdims=True) / radius**2)
        return straight

    def parallax(points: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = (points / np.array(phone_size) * 2 * np.pi).T
        x = np.sin(cycles[0] * u + phase[0]) * np.cos(cycles[1] * v + phase[1])
        y = np.sin(cycles[2] * u + phase[2]) * np.cos(cycles[3] * v + phase[3])
        return size * np.stack([x, 0.5 * y], axis=1)

    def to_scene(points: NDArray[np.float64]) -> NDArray[np.float64]:
        straight = lens(points - centre) + parallax(points)
        flat = straight @ turn.T / scale
        depth = 1 + straight @ tilt
        return flat / depth[:, None] + centre_of(scene_size) + shift

    return to_scene


def _dslr_frame(
    rng: np.random.Generator, scene_size: tuple[int, int], share: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """A crop of the scene that leaves out part of what the phone saw."""
    width, height = scene_size
    overlap = rng.uniform(0.6, 0.95)
    part = rng.uniform(0.3, 0.7)  # how the loss is shared by the two directions
    lost = 1 - np.array([overlap**part, overlap ** (1 - part)])
    margin = (1 - share) / 2
    cut = np.round(np.array(scene_size) * (margin + share * lost)).astype(int)
    left, top = (rng.random(2) < 0.5) * cut
    return (int(left), int(top)), (width - int(cut[0]), height - int(cut[1]))


def _render(scene: Image, to_scene: Map, size: tuple[int, int]) -> Image:
    """Each phone pixel is the mean of several samples of the scene."""
    width, height = size
    result = np.empty((height, width, 3), np.uint8)
    step = NODE_STEP
    across = -(-width // step) + 2
    xs = (np.arange(across) - 0.5) * step - 0.5
    for top in range(0, height, 64):
        rows = min(64, height - top)
        ys = top + (np.arange(64 // step + 2) - 0.5) * step - 0.5
        nodes = to_scene(grid_points(xs, ys)).reshape(len(ys), len(xs), 2).astype(np.float32)
        fine = step * SUPERSAMPLING
        maps = cv2.resize(nodes, (len(xs) * fine, len(ys) * fine), interpolation=cv2.INTER_LINEAR)
        maps = maps[fine : fine + rows * SUPERSAMPLING, fine : fine + width * SUPERSAMPLING]
        strip = cv2.remap(scene, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        result[top : top + rows] = cv2.resize(strip, (width, rows), interpolation=cv2.INTER_AREA)
    return result


def _photograph(rng: np.random.Generator, image: Image) -> Image:
    """Tone, colour, vignetting, blur, noise and JPEG of a phone."""
    height, width = image.shape[:2]
    light = image.astype(np.float32) / 255
    light = light ** rng.uniform(0.7, 1.4) * rng.uniform(0.85, 1.1, 3).astype(np.float32)
    bend = rng.uniform(0, 0.5)
    light = np.clip(light, 0, 1)
    light = (1 - bend) * light + bend * (3 * light**2 - 2 * light**3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light *= (1 - rng.uniform(0, 0.4) * (x * x + y * y) / 2)[:, :, None]
    light = cv2.GaussianBlur(light.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    noise = rng.standard_normal(light.shape, dtype=np.float32) * rng.uniform(3, 8)
    noisy = np.clip(light * 255 + noise + 0.5, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", noisy[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])


def _grid(size: tuple[int, int]) -> NDArray[np.float64]:
    return grid_points(np.linspace(0, size[0] - 1, 60), np.linspace(0, size[1] - 1, 45))


def _inside(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    return ((points >= 0) & (points <= np.array(size) - 1)).all(axis=1)


def photos_for(variant: Variant, files: list[Path], count: int) -> Iterator[tuple[int, Path]]:
    """`count` photos, beginning anew when there are fewer."""
    large = [path for path in files if _megapixels(path) >= variant.min_mp]
    for number in range(count):
        yield number, large[number % len(large)]


def _megapixels(path: Path) -> float:
    from dpedkit.images import photo_size

    width, height = photo_size(path)
    return width * height / 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, as scenes")
    parser.add_argument("--tune", action="store_true", help="the seeds to tune on")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--count", type=int, default=20, help="pairs a variant")
    parser.add_argument("--baseline", action="store_true", help="the textbook script as well")
    parser.add_argument("--json", type=Path, help="write every pair's numbers there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for key in options.variants.split(","):
        variant = VARIANTS[key]
        count = min(options.count, 8) if variant.min_mp else options.count
        rows += list(_measure(variant, options, count))
        _report(variant.name, [row for row in rows if row["variant"] == variant.name])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _measure(variant: Variant, options: argparse.Namespace, count: int) -> Iterator[dict]:
    from dpedkit.align.config import AlignConfig
    from dpedkit.align.pair import find_alignment

    seed = TUNE_SEED if options.tune else REPORT_SEED
    for number, path in photos_for(variant, list_photos(options.photos), count):
        pair = make_pair(read_photo(path), variant, seed + number)
        started = time.perf_counter()
        found = find_alignment(pair.phone, pair.dslr, AlignConfig())
        row = {
            "variant": variant.name,
            "photo": path.name,
            "phone_mp": round(pair.phone.shape[0] * pair.phone.shape[1] / 1e6, 2),
            "overlap": round(pair.overlap, 2),
            "reason": found.reason,
            "error": error_of(found.map, pair) if found.map else float("inf"),
            "stated": found.evidence.get("error"),
            "model": found.evidence.get("model"),
            "seconds": round(time.perf_counter() - started, 2),
        }
        if options.baseline:
            from baselines.textbook_align import homography_of

            textbook = homography_of(pair.phone, pair.dslr)
            row["textbook"] = float("inf")
            if textbook is not None:
                sizes = [(photo.shape[1], photo.shape[0]) for photo in (pair.phone, pair.dslr)]
                row["textbook"] = error_of(PairMap(textbook, *sizes), pair)
        print(json.dumps(row), flush=True)
        yield row


def _report(name: str, rows: list[dict]) -> None:
    accepted = [row["error"] for row in rows if not row["reason"]]
    errors = np.array(accepted) if accepted else np.array([np.inf])
    print(
        f"{name}: mean {errors.mean():.4f} px, median {np.median(errors):.4f}, "
        f"largest {errors.max():.4f}; {len(accepted)} of {len(rows)} accepted",
        flush=True,
    )
    if rows and "textbook" in rows[0]:
        textbook = np.array([row["textbook"] for row in rows])
        good = textbook[textbook < 5]
        print(f"  textbook: mean {good.mean():.3f} px over the {len(good)} below 5 px")


if __name__ == "__main__":
    main()
