"""Measures a network on the whole photos of an aligned folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.aligned import AlignedPhotos, content_hash, read_aligned
from dpedkit.colourmap import ColourMap, fit_colour_map
from dpedkit.core import console
from dpedkit.core.device import choose_device, full_float32
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.core.methods import COUNTED, DSLR, NETWORK, ORACLE, PHONE, POLYNOMIAL, SHOWN
from dpedkit.core.records import PairRecord
from dpedkit.core.wording import counted
from dpedkit.evaluation.config import PhotoEvaluateConfig
from dpedkit.evaluation.perceptual import (
    PerceptualDistance,
    squared_distance,
    squares_to_compare,
)
from dpedkit.evaluation.photo_evaluation import PhotoEvaluation, PhotoFacts
from dpedkit.evaluation.scenes import ByScene, SceneScores
from dpedkit.evaluation.trained_scenes import TrainedScenes, trained_scenes
from dpedkit.models.files import COLOUR_POLYNOMIAL
from dpedkit.models.generator import Generator
from dpedkit.photometrics import MIN_SIDE, score_photo
from dpedkit.surfaces import HOLDS, UNKNOWN

Photo = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)

_BAND_ROWS = 256
_PICTURE_SIDE = 800  # px, of the pictures of the worst and the best photos
_EXTREMES = 3  # photos shown as the worst and as the best
_ORDER = (*SHOWN, COUNTED)  # of the pictures of a photo


class Enhancer(Protocol):
    """A network that enhances whole photos as `dpedkit enhance` does."""

    @property
    def model(self) -> Generator:
        """The network."""

    def __call__(self, image: Photo) -> Photo:
        """Enhance a photo."""


@full_float32
def evaluate_photos(
    model: Path,
    aligned: str | Path,
    enhancer: Enhancer,
    config: PhotoEvaluateConfig | None = None,
) -> PhotoEvaluation:
    """Measure a network and its baselines on whole photos.

    The network enhances the whole phone photo, and its aligned part is compared with the DSLR's.
    A pixel counts unless it is on the edge of a surface or its detail was not found in the DSLR
    photo. Where there is too little detail to decide, as in clear sky, it counts: a small shift
    changes nothing there.

    Parameters
    ----------
    model : Path
        The file that the network was loaded from.
    aligned : str or Path
        What `dpedkit align` wrote; the original phone photos must still be there.
    enhancer : Enhancer
    config : PhotoEvaluateConfig, optional

    Raises
    ------
    DpedkitError
        If the folder cannot be read, or there is nothing to measure.
    """
    config = config or PhotoEvaluateConfig()
    aligned = Path(aligned)
    kept = enhancer.model.card.get(COLOUR_POLYNOMIAL)
    colour_map = ColourMap.from_dict(kept) if kept is not None else None
    if colour_map is None:
        console.warn(f"{model} holds no colour polynomial, so there is none to compare with.")
    records, description = read_aligned(aligned)
    photos = AlignedPhotos.of(aligned, description)
    known = trained_scenes(model)
    if known is None:
        console.warn(
            f"It is not known on which photos {model} was trained, so all of {aligned} are "
            "measured. It would be known of a network in the folder of its run, beside the shards "
            "that it was trained on."
        )
    chosen, trained_on = _choose(records, known, config, aligned)
    perceptual = None
    if config.perceptual:
        perceptual = PerceptualDistance.if_installed(choose_device(config.device))
        if perceptual is None:
            console.say("no VGG-19 weights are installed, so its features are not compared")
    measured = _Measured()
    with console.progress("evaluate", len(chosen), "photos") as bar:
        for record, split in chosen:
            try:
                pair = _read(photos, record, enhancer)
            except PhotoError as error:
                measured.left_out[record.name] = str(error)
                console.warn(str(error))
            else:
                measured.add(record.name, pair, split, colour_map, perceptual)
            bar.advance(1, note=record.name)
    if not measured.scenes:
        reason = next(iter(measured.left_out.values()))
        raise DpedkitError(f"None of the photos of {aligned} could be measured: {reason}")
    return PhotoEvaluation(
        model,
        aligned,
        enhancer.model.architecture,
        ByScene.of(measured.scenes),
        measured.facts,
        measured.left_out,
        trained_on,
        content_hash(aligned, records, description),
        perceptual.weights.name if perceptual is not None else "",
        measured.pictures,
    )


def _choose(
    records: list[PairRecord],
    known: TrainedScenes | None,
    config: PhotoEvaluateConfig,
    aligned: Path,
) -> tuple[list[tuple[PairRecord, str | None]], int | None]:
    """The pairs to measure, each with its split; and how many the network was trained on."""
    if known is None:
        if config.split != "all":
            raise DpedkitError(
                f"It is not known which photos of {aligned} are in the {config.split} split of the "
                "training; leave --split out."
            )
        return [(record, None) for record in records], None
    splits = [(record, known.line_of(record).get("split")) for record in records]
    trained_on = sum(split == "train" for _, split in splits)
    wanted = [
        (record, split)
        for record, split in splits
        if config.split in ("all", split)
        and (split != "train" or config.scenes == "all" or config.split == "train")
    ]
    if not wanted:
        which = "" if config.split == "all" else f" of the {config.split} split"
        raise DpedkitError(
            f"{aligned} has no photos{which} to measure: the network was trained on {trained_on} "
            f"of {counted(len(records), 'pair')}. --scenes all measures those, too."
        )
    if trained_on and len(wanted) < len(records):
        console.say(
            f"measuring {len(wanted)} of {counted(len(records), 'pair')}; the network was trained "
            f"on {trained_on}"
        )
    return wanted, trained_on


@dataclass(frozen=True)
class _Pair:
    """An aligned pair with the network's output, and where its pixels count."""

    phone: Photo
    dslr: Photo
    enhanced: Photo
    counts: Mask


def _read(photos: AlignedPhotos, record: PairRecord, enhancer: Enhancer) -> _Pair:
    """Read a pair and enhance its phone photo.

    Raises
    ------
    PhotoError
        If it cannot be measured.
    """
    phone, dslr = photos.read(record)
    if min(phone.shape[:2]) < MIN_SIDE:
        raise PhotoError(
            f"{record.name}: its aligned part is smaller than {MIN_SIDE} px, too small for MS-SSIM."
        )
    known = photos.known(record)
    if known is None:
        counts = np.ones(phone.shape[:2], bool)
    else:
        counts = (known == HOLDS) | (known == UNKNOWN)
    if not counts.any():
        raise PhotoError(f"{record.name}: its alignment holds nowhere.")
    x, y, width, height = record.crop
    whole = enhancer(photos.whole_phone(record))
    return _Pair(phone, dslr, whole[y : y + height, x : x + width], counts)


@dataclass
class _Measured:
    """What was found so far, with pictures of the worst and the best photos alone."""

    scenes: list[SceneScores] = field(default_factory=list)
    facts: dict[str, PhotoFacts] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, dict[str, Photo]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        pair: _Pair,
        split: str | None,
        colour_map: ColourMap | None,
        perceptual: PerceptualDistance | None,
    ) -> None:
        """Score a pair by every method."""
        squares = squares_to_compare(pair.counts) if perceptual is not None else []
        wanted = perceptual.features(pair.dslr, squares) if perceptual is not None else None
        scores: dict[str, dict[str, float | None]] = {}
        shown = {DSLR: _reduced(pair.dslr), COUNTED: _reduced(_dimmed(pair.dslr, pair.counts))}
        for method, photo in _by_method(pair, colour_map):
            found: dict[str, float | None] = asdict(score_photo(photo, pair.dslr, pair.counts))
            if perceptual is not None:
                seen = perceptual.features(photo, squares)
                found["vgg19"] = squared_distance(seen, wanted)
            scores[method] = found
            if method in SHOWN:
                shown[method] = _reduced(photo)
        self.scenes.append(SceneScores(name, 1, scores))
        height, width = pair.counts.shape
        self.facts[name] = PhotoFacts(split, float(pair.counts.mean()), width, height)
        self.pictures[name] = {method: shown[method] for method in _ORDER if method in shown}
        ranked = [scene.scene for scene in sorted(self.scenes, key=lambda one: one.network_psnr)]
        for other in ranked[_EXTREMES:-_EXTREMES]:
            self.pictures.pop(other, None)


def _by_method(pair: _Pair, colour_map: ColourMap | None) -> Iterator[tuple[str, Photo]]:
    """The photo by every method, one after the other."""
    yield NETWORK, pair.enhanced
    yield PHONE, pair.phone
    if colour_map is not None:
        yield POLYNOMIAL, _mapped(pair.phone, colour_map)
    own = fit_colour_map([(pair.phone[pair.counts], pair.dslr[pair.counts])])
    yield ORACLE, _mapped(pair.phone, own)


def _mapped(photo: Photo, colour_map: ColourMap) -> Photo:
    """A photo with its colours mapped, as it would be saved."""
    mapped = np.empty_like(photo)
    for top in range(0, len(photo), _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        mapped[rows] = (colour_map.apply(photo[rows]).clip(0, 1) * 255).round()
    return mapped


def _dimmed(photo: Photo, counts: Mask) -> Photo:
    """A photo of which the pixels that do not count are nearly white."""
    shown = photo.copy()
    shown[~counts] = 255 - (255 - shown[~counts]) // 5
    return shown


def _reduced(photo: Photo) -> Photo:
    """A photo as large as pages show it."""
    height, width = photo.shape[:2]
    scale = _PICTURE_SIDE / max(height, width)
    if scale >= 1:
        return photo
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
