"""The alignment of a pair, from JPEG files to JPEG files, beside other ways to a homography."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from baselines import other_homographies, textbook_align
from baselines.other_homographies import Homography
from baselines.textbook_align import Photo, Points
from numpy.typing import NDArray

from comparison import peers
from comparison.effort import Effort
from comparison.tables import LESS, MORE, NEITHER, Column, Row, Table
from comparison.turns import (
    Cost,
    cost_of,
    manage_memory_as_ever,
    median_cost,
    one_thread_of_torch,
)
from dpedkit.align.pair import align_pair
from dpedkit.core.process import keep_freed_memory, one_thread, own_process
from dpedkit.core.wording import counted
from dpedkit.geometry import PairMap, centre_of, grid_points
from dpedkit.images import list_photos, read_photo, write_photo
from dpedkit.simulate.truth import Truth

OURS, FLOOR, TEXTBOOK = "dpedkit", "decoding and encoding alone", "textbook: SIFT, RANSAC"
ECC, POSELIB = "textbook, then OpenCV's ECC", "SIFT, PoseLib"
DLT = "SIFT, DLT of all matches"
SKIMAGE, KORNIA = "scikit-image: SIFT, RANSAC", "kornia: SIFT, AdaLAM, RANSAC"
OFF = 5.0  # px: what the paper allows
SEED, DISPARITY_SHARE = 2017, 0.005  # of the phone photo's diagonal
KINDS = {"flat": 0.0, "deep": DISPARITY_SHARE}

COLUMNS = (
    Column("seconds by the clock", LESS),
    Column("processor seconds", LESS),
    Column("times dpedkit's", NEITHER, ".1f"),
    Column("error, px: median", LESS, ".3f", 0.01),
    Column("p95", LESS, ".2f", 0.05),
    Column("of places answered", MORE, ".0%", 0.01),
    Column("pairs answered", MORE, ".0%"),
    Column("wrong", LESS, ".0%"),
)
_ONE_HOMOGRAPHY = (
    "One homography is all that they look for; in scenes with depth dpedkit also follows several "
    "surfaces, whose cost hardly grows with the size of the photos."
)
_WHY = {
    "seconds by the clock": _ONE_HOMOGRAPHY,
    "processor seconds": _ONE_HOMOGRAPHY,
    "of places answered": (
        "A homography answers everywhere, also where it is wrong; dpedkit leaves out the places "
        "that it cannot confirm, and no patch is cut there."
    ),
    "pairs answered": "dpedkit refuses a pair that it cannot confirm.",
    "wrong": "dpedkit answered where it should have refused.",
}
TITLE = "Alignment"
NOTE = (
    "Simulated pairs with known maps; one thread, medians over the pairs. The error is the "
    "distance to the true place, in px of the phone photo, over a grid of the places that both "
    "photos show and that the method answers for. *Answered* pairs are those for which there is a "
    f"result at all, *wrong* those of all whose median error exceeds {OFF:g} px. The textbook, "
    "ECC, DLT and PoseLib share their keypoints and matches: that part is run once a pair and "
    "counted in each row."
)

Files = tuple[Path, Path]
Answer = Callable[[Points], tuple[Points, NDArray[np.bool_]]]


@dataclass
class Result:
    """What one method made of one pair."""

    cost: Cost
    answered: bool
    median: float | None = None
    p95: float | None = None
    places: float | None = None


@dataclass
class Method:
    """A method, its results, and why there are none.

    It finds the homography either from the photos alone or also from their matches.
    """

    name: str
    from_photos: Callable[[Photo, Photo], Homography | None] | None = None
    from_matches: Callable[[Photo, Photo, Points, Points], Homography | None] | None = None
    slow: bool = False
    absent: str = ""
    results: list[Result] = field(default_factory=list)


def compare(effort: Effort) -> Iterator[Table]:
    """A table for each size and kind of scene."""
    own_process()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch, one_thread, one_thread_of_torch():
        for megapixels, count, slow in effort.align:
            for kind, share in KINDS.items():
                raw = Path(scratch) / f"{megapixels:g}-{kind}"
                simulate(raw, megapixels, share, count)
                yield compare_pairs(raw, f"{kind.capitalize()} scenes, {megapixels:g} MP", slow)


def simulate(raw: Path, megapixels: float, disparity: float, count: int) -> None:
    """Simulated pairs of DSLR photos of `megapixels` and phone photos of three quarters of that.

    In a process of its own: its workers are then gone when the measurement begins.
    """
    phone = 0.75 * megapixels
    diagonal = (phone * 1e6 * 25 / 12) ** 0.5
    command = [sys.executable, "-m", "dpedkit", "simulate", "-q", "-o", raw, "--pairs", count]
    command += ["--seed", SEED, "--phone-megapixels", phone, "--dslr-megapixels", megapixels]
    command += ["--disparity", disparity * diagonal]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def compare_pairs(raw: Path, what: str, with_slow: bool) -> Table:
    """All methods in turn on each pair of a folder that `dpedkit simulate` wrote."""
    methods = [method for method in all_methods() if with_slow or not method.slow]
    ours, floor = Method(OURS), Method(FLOOR)
    photos = [list_photos(raw / side) for side in ("iphone", "canon")]
    output = raw / "aligned"
    output.mkdir()
    for number, files in enumerate(zip(*photos, strict=True)):
        truth = Truth.read(raw, files[0].stem)
        keep_freed_memory()  # as the workers of `dpedkit align` do
        if number == 0:
            _ours(files, output)  # imports and first allocations
        floor.results.append(Result(cost_of(partial(_copy, files, output)), True))
        ours.results.append(_measured(partial(_ours, files, output), truth, files))
        manage_memory_as_ever()
        _peers(methods, files, output, truth, number == 0)
    rows = [_row(method, ours) for method in (ours, *methods, floor)]
    title = f"{what}: {counted(len(ours.results), 'pair')}"
    return Table(title, COLUMNS, tuple(rows), OURS)


def all_methods() -> list[Method]:
    """The peers, those that are absent with the reason."""
    return [
        Method(TEXTBOOK, from_matches=lambda _p, _d, a, b: textbook_align.by_ransac(a, b)),
        Method(ECC, from_matches=_by_ecc),
        Method(DLT, from_matches=lambda _p, _d, a, b: other_homographies.by_dlt(a, b)),
        _peer(POSELIB, ("poselib",), _poselib),
        _peer(SKIMAGE, ("skimage.feature",), _skimage),
        _peer(KORNIA, ("kornia.feature", "kornia.geometry"), _kornia),
    ]


def _peer(
    name: str, modules: tuple[str, ...], make: Callable[[str, tuple[ModuleType, ...]], Method]
) -> Method:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peers deprecate is not ours to mend
            return make(name, tuple(map(peers.load, modules)))
    except peers.AbsentError as reason:
        return Method(name, absent=str(reason))


def _by_ecc(phone: Photo, dslr: Photo, source: Points, target: Points) -> Homography | None:
    start = textbook_align.by_ransac(source, target)
    return None if start is None else other_homographies.by_ecc(phone, dslr, start)


def _poselib(name: str, modules: tuple[ModuleType, ...]) -> Method:
    def find(_phone: Photo, _dslr: Photo, source: Points, target: Points) -> Homography | None:
        return other_homographies.by_poselib(modules[0], source, target)

    return Method(name, from_matches=find)


def _skimage(name: str, modules: tuple[ModuleType, ...]) -> Method:
    return Method(name, from_photos=other_homographies.by_skimage, slow=True)


def _kornia(name: str, modules: tuple[ModuleType, ...]) -> Method:
    return Method(name, from_photos=partial(other_homographies.by_kornia, *modules), slow=True)


def _copy(files: Files, output: Path) -> None:
    """Read a pair and write it: what no method can do without."""
    phone, dslr = map(read_photo, files)
    # The crops are of one size, that of the phone photo at most.
    _write(output, phone, dslr[: phone.shape[0], : phone.shape[1]])


def _write(output: Path, phone: Photo, dslr: Photo) -> None:
    for side, photo in (("phone", phone), ("dslr", dslr)):
        write_photo(output / f"{side}.jpg", photo)


def _ours(files: Files, output: Path) -> PairMap | None:
    found = align_pair(*map(read_photo, files))
    if not found.accepted or found.phone is None or found.dslr is None:
        return None
    _write(output, found.phone, found.dslr)
    return found.map


def _peers(methods: list[Method], files: Files, output: Path, truth: Truth, first: bool) -> None:
    """One pair by the methods that take matches, which are made once, and by the others."""
    photos: list[Photo] = []
    matches: list[tuple[Points, Points] | None] = []

    def match() -> None:
        photos.extend(map(read_photo, files))
        matches.append(textbook_align.matches_of(*photos))

    shared = cost_of(match)
    for method in methods:
        if method.absent or (method.slow and not first):
            continue
        work = partial(_found_by, method, files, output, photos, matches[0])
        try:
            with peers.calling():
                result = _measured(work, truth, files)
        except peers.AbsentError as reason:
            method.absent = str(reason)
            continue
        if method.from_matches is not None:
            result.cost = Cost(
                shared.clock + result.cost.clock, shared.processor + result.cost.processor
            )
        method.results.append(result)


def _found_by(
    method: Method,
    files: Files,
    output: Path,
    photos: list[Photo],
    matches: tuple[Points, Points] | None,
) -> PairMap | None:
    """A homography as a map; the DSLR photo is warped by it and both are written."""
    if method.from_photos is not None:
        phone, dslr = map(read_photo, files)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            homography = method.from_photos(phone, dslr)
    else:
        assert method.from_matches is not None
        phone, dslr = photos
        homography = None if matches is None else method.from_matches(phone, dslr, *matches)
    if homography is None or not np.isfinite(homography).all():
        return None
    _write(output, phone, textbook_align.warped(dslr, homography, phone))
    return PairMap(homography, (phone.shape[1], phone.shape[0]), (dslr.shape[1], dslr.shape[0]))


def _measured(work: Callable[[], PairMap | None], truth: Truth, files: Files) -> Result:
    found: list[PairMap | None] = []
    cost = cost_of(lambda: found.append(work()))
    if found[0] is None:
        return Result(cost, False)
    return Result(cost, True, *error_of(found[0], truth))


def error_of(found: PairMap, truth: Truth) -> tuple[float, float, float]:
    """Median and p95 of the error in phone px, and the share of places with an answer."""
    width, height = found.phone_size
    places = grid_points(np.linspace(0, width - 1, 80), np.linspace(0, height - 1, 60))
    true = truth(places)
    seen = (true >= 0).all(axis=1) & (true <= np.array(found.dslr_size) - 1).all(axis=1)
    answered = seen & found.holds(places)
    scale = truth.surfaces[0].scale_at(centre_of(found.phone_size))
    errors = np.linalg.norm(found(places[answered]) - true[answered], axis=1) / scale
    median, p95 = np.percentile(errors, (50, 95)) if len(errors) else (np.inf, np.inf)
    return float(median), float(p95), float(answered.sum() / max(1, seen.sum()))


def _row(method: Method, ours: Method) -> Row:
    if method.absent:
        return Row(method.name, absent=method.absent)
    cost = median_cost([result.cost for result in method.results])
    turns = zip(method.results, ours.results, strict=False)  # slow ones took the first turn alone
    ratio = statistics.median(one.cost.processor / other.cost.processor for one, other in turns)
    name = method.name
    if len(method.results) < len(ours.results):
        name += f" ({counted(len(method.results), 'pair')})"
    times = (cost.clock, cost.processor, ratio)
    if method.name == FLOOR:
        return Row(name, (*times, None, None, None, None, None), is_floor=True)
    answered = [result for result in method.results if result.answered]
    wrong = [result for result in answered if (result.median or 0) > OFF]
    count = len(method.results)

    def median(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    quality = (
        median([result.median for result in answered]),
        median([result.p95 for result in answered]),
        median([result.places for result in answered]),
        len(answered) / count,
        len(wrong) / count,
    )
    return Row(name, (*times, *quality), _WHY)
