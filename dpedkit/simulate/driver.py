"""Write a folder of simulated raw photos: paint scenes, photograph them, and record the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit import images
from dpedkit.core import console, lock, manifest, parallel, workfolder
from dpedkit.core.atomic import make_folder
from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted
from dpedkit.simulate.cameras import (
    Position,
    draw_phone,
    draw_position,
    photograph_with_dslr,
    photograph_with_phone,
)
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.layers import Layer, cut_layers, label_phone
from dpedkit.simulate.scenes import SCENES, paint_scene
from dpedkit.simulate.textures import Pixels
from dpedkit.simulate.truth import LABEL_FOLDER, TRUTH_FILE, Truth, surfaces_of, write_labels

RAW_FORMAT = 1
PHONE_FOLDER, DSLR_FOLDER = "iphone", "canon"
_SCENE_STREAM, _NOISE_STREAM, _TEXTURE_STREAM = 0, 4, 6
_BELOW_THE_SKY = 0.62  # part of a painted scene's height that has detail everywhere
_DSLR_QUALITY = 95
_PLACES = 8  # parts of a photo among which the one with the most detail is taken
_DETAIL_STEP = 4  # px between the pixels by which detail is judged


@dataclass(frozen=True)
class Shot:
    """One scene as both cameras saw it.

    Attributes
    ----------
    phone, dslr : (H, W, 3) arrays of uint8
    truth : dict
        The map from phone to DSLR pixels, the overlap, and the phone's colours and flaws; with a
        disparity the maps of all surfaces, the farthest first.
    labels : (H, W) array of uint8
        For each pixel of the phone photo the surface that it shows, as in `Truth.labels`.
    """

    phone: Pixels
    dslr: Pixels
    truth: dict[str, Any]
    labels: NDArray[np.uint8]

    @property
    def pixel_truth(self) -> Truth:
        """Where every point of the phone photo is in the DSLR photo."""
        return Truth(surfaces_of(self.truth), self.labels)


@dataclass(frozen=True)
class SimulateSummary:
    """What `simulate_folders` left in its folder."""

    folder: Path
    phone_folder: Path
    dslr_folder: Path
    pairs: int
    made: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "folder": str(self.folder),
            "phone_folder": str(self.phone_folder),
            "dslr_folder": str(self.dslr_folder),
            "pairs": self.pairs,
            "made": self.made,
        }

    def as_text(self) -> str:
        """One line for people."""
        before = self.pairs - self.made
        already = f" ({before} of them already there)" if before else ""
        return (
            f"{counted(self.pairs, 'pair')} in {self.phone_folder} and {self.dslr_folder}{already}"
        )


def simulate_pair(
    config: SimulateConfig,
    index: int,
    photo: Pixels | None = None,
    foreground: Pixels | None = None,
) -> Shot:
    """Photograph scene number `index` with both cameras.

    Parameters
    ----------
    config : SimulateConfig
    index : int
        From 0; everything random about the pair follows from it and the seed.
    photo : (H, W, 3) array of uint8, optional
        A real photo to take the place of a painted scene. The photos become as large as fits in
        it, in the proportion that `config` gives them.
    foreground : (H, W, 3) array of uint8, optional
        Another real photo, for the objects in front of the scene. Without it they show other parts
        of `photo`, rotated, or, if that is None, other painted scenes.
    """
    if photo is None:
        position = draw_position(config, index)
        rng = np.random.default_rng([config.seed, _SCENE_STREAM, index])
        scene = paint_scene(rng, index, *position.scene_size)
    else:
        position, scene = _fit_into(photo, config, index)
    noise = np.random.default_rng([config.seed, _NOISE_STREAM, index])
    camera = draw_phone(config, index)
    truth: dict[str, Any] = {"map": position.map.to_dict()}
    layers: tuple[Layer, ...] = ()
    labels = np.zeros(position.map.phone_size[::-1], np.uint8)
    if config.disparity > 0:
        truth["surfaces"] = [surface.map.to_dict() for surface in position.surfaces]
        source = photo if foreground is None else foreground
        texture = partial(_texture, config, index, source)
        layers = cut_layers(position.surfaces, scene, position.origin, texture)
        labels = label_phone(position.map, layers, camera.blur)
    truth |= {"overlap": round(position.overlap, 4), "camera": camera.to_dict()}
    return Shot(
        photograph_with_phone(scene, position, camera, noise, layers),
        photograph_with_dslr(scene, position, noise, layers),
        truth,
        labels,
    )


@lock.until_end()
def simulate_folders(
    output: str | Path,
    config: SimulateConfig | None = None,
    *,
    photos: str | Path | None = None,
    jobs: int = 0,
    overwrite: bool = False,
) -> SimulateSummary:
    """Write `iphone/NAME.jpg`, `canon/NAME.jpg` and `truth.jsonl` into a folder.

    With a disparity, `truth/NAME.png` holds the surface that each phone pixel shows.
    A run that was stopped is continued. The same seed gives the same bytes for any number of
    workers, and more pairs leave the first ones as they are.

    Parameters
    ----------
    output : str or Path
        The folder, `raw` by custom.
    config : SimulateConfig, optional
    photos : str or Path, optional
        A folder of real photos to use as scenes, in the order of their names, over and over.
    jobs : int
        Worker processes; 0 for one per core.
    overwrite : bool
        Replace what a run with other settings left there.

    Raises
    ------
    DpedkitError
        If the folder was made with other settings, `photos` holds none, or the disk is full.
    """
    output, config = Path(output), config or SimulateConfig()
    photos = Path(photos) if photos else None
    scenes = images.list_photos(photos) if photos else []
    folder = workfolder.prepare(
        output,
        kind="raw",
        description_name="simulate.json",
        format_version=RAW_FORMAT,
        config=config,
        inputs={"photos": str(photos.absolute()) if photos else ""},
        overwrite=overwrite,
    )
    label_folders = (LABEL_FOLDER,) if config.disparity > 0 else ()
    for name in (PHONE_FOLDER, DSLR_FOLDER, *label_folders):
        make_folder(output / name)
    finished = _finished(output)
    left = [index for index in range(config.pairs) if index >= len(finished)]
    make = partial(_make_pair, output, config, scenes)
    with (
        manifest.Journal(output / TRUTH_FILE) as journal,
        console.progress("simulate", config.pairs, "pairs", done=len(finished)) as bar,
    ):
        for record in parallel.ordered_map(make, left, jobs):
            journal.append(record)
            bar.advance()
    if not folder.complete:
        folder.finish(pairs=config.pairs)
    return SimulateSummary(
        output, output / PHONE_FOLDER, output / DSLR_FOLDER, config.pairs, len(left)
    )


def _make_pair(
    output: Path, config: SimulateConfig, scenes: list[Path], index: int
) -> dict[str, Any]:
    """Write both photos of one pair; returns its line of the truth file."""
    name = f"{index + 1:04}"
    source = scenes[index % len(scenes)] if scenes else None
    other = _other_photo(scenes, index) if config.disparity > 0 else None
    shot = simulate_pair(
        config,
        index,
        images.read_photo(source) if source else None,
        images.read_photo(other) if other else None,
    )
    images.write_photo(
        output / PHONE_FOLDER / f"{name}.jpg", shot.phone, jpeg_quality=config.jpeg_quality
    )
    images.write_photo(output / DSLR_FOLDER / f"{name}.jpg", shot.dslr, jpeg_quality=_DSLR_QUALITY)
    if config.disparity > 0:
        write_labels(output / LABEL_FOLDER / f"{name}.png", shot.labels)
    return {"name": name, "scene": source.name if source else "painted", **shot.truth}


def _other_photo(scenes: list[Path], index: int) -> Path | None:
    """A photo for the foreground of pair `index`, another each time the scenes come round again."""
    if len(scenes) < 2:
        return None
    ahead = 1 + index // len(scenes) % (len(scenes) - 1)
    return scenes[(index + ahead) % len(scenes)]


def _texture(
    config: SimulateConfig, index: int, photo: Pixels | None, number: int, size: tuple[int, int]
) -> Pixels:
    """What thing `number` of a pair shows; (height, width, 3) uint8 for `(width, height)`.

    A part of the photo, turned so that it continues nothing of what lies behind, or a painted scene
    of another kind than that of the pair.
    """
    rng = np.random.default_rng([config.seed, _TEXTURE_STREAM, index, number])
    width, height = size
    if photo is None:
        kind = index + 1 + (number + int(rng.integers(2))) % (len(SCENES) - 1)
        scene = paint_scene(rng, kind, width, round(height / _BELOW_THE_SKY))
        return np.ascontiguousarray(scene[-height:])
    enlarged = max(1.0, width / photo.shape[1], height / photo.shape[0])
    if enlarged > 1:
        fitting = (np.ceil(np.array(photo.shape[1::-1]) * enlarged)).astype(int).tolist()
        photo = cv2.resize(photo, fitting, interpolation=cv2.INTER_CUBIC)
    x, y = _detailed_place(rng, photo, size)
    part = photo[y : y + height, x : x + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part[::-1, ::-1])


def _detailed_place(
    rng: np.random.Generator, photo: Pixels, size: tuple[int, int]
) -> tuple[int, int]:
    """Corner `(x, y)` of a part of a photo with detail nearly everywhere, by trying a few."""
    grey = cv2.cvtColor(photo[::_DETAIL_STEP, ::_DETAIL_STEP], cv2.COLOR_RGB2GRAY)
    detail = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (9, 9))
    room = np.array([photo.shape[1] - size[0], photo.shape[0] - size[1]])
    places = rng.integers(0, room + 1, (_PLACES, 2))
    first = places // _DETAIL_STEP
    last = (places + size) // _DETAIL_STEP + 1
    # Where a quarter of it is plain sky, that is what its lowest quartile tells.
    least = [
        np.percentile(detail[y0:y1, x0:x1], 25)
        for (x0, y0), (x1, y1) in zip(first, last, strict=True)
    ]
    x, y = places[int(np.argmax(least))]
    return int(x), int(y)


def _finished(output: Path) -> list[dict[str, Any]]:
    """The pairs that an earlier run finished: photos first, then their line, so lines suffice."""
    truth = output / TRUTH_FILE
    return manifest.read_jsonl(truth) if truth.exists() else []


def _fit_into(photo: Pixels, config: SimulateConfig, index: int) -> tuple[Position, Pixels]:
    """The largest cameras whose frames fit into a photo; an upright photo is laid on its side."""
    if photo.shape[0] > photo.shape[1]:
        photo = cv2.rotate(photo, cv2.ROTATE_90_COUNTERCLOCKWISE)
    height, width = photo.shape[:2]
    scale = 1.0
    # Frame sizes are whole pixels, so the fit is found by trying; a disparity is in pixels of any
    # photo, whatever its size, so that it takes longer.
    for _ in range(3 if config.disparity == 0 else 12):
        position = draw_position(config, index, scale)
        scene_width, scene_height = position.scene_size
        fit = min(width / scene_width, height / scene_height)
        if 1 <= fit < 1.002:
            break
        scale *= fit * 0.9995
    scene_width, scene_height = position.scene_size
    if min(scene_width, scene_height) < 64:
        raise DpedkitError(f"A photo of {width}x{height} pixels is too small to be a scene.")
    return position, np.ascontiguousarray(photo[:scene_height, :scene_width])
