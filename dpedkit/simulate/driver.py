"""Writes a folder of simulated raw photos: paints, photographs, and notes the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dpedkit import console, images, lock, manifest, parallel, workfolder
from dpedkit.atomic import make_folder
from dpedkit.errors import DpedkitError
from dpedkit.simulate.cameras import (
    Position,
    draw_phone,
    draw_position,
    photograph_with_dslr,
    photograph_with_phone,
)
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.scenes import paint_scene
from dpedkit.simulate.textures import Pixels

RAW_FORMAT = 1
PHONE_FOLDER, DSLR_FOLDER, TRUTH_FILE = "iphone", "canon", "truth.jsonl"
_SCENE_STREAM, _NOISE_STREAM = 0, 4
_DSLR_QUALITY = 95


@dataclass(frozen=True)
class Shot:
    """One scene as both cameras saw it.

    Attributes
    ----------
    phone, dslr : (H, W, 3) arrays of uint8
    truth : dict
        The map from phone to DSLR pixels, the overlap, and the phone's colours and flaws.
    """

    phone: Pixels
    dslr: Pixels
    truth: dict[str, Any]


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
        already = f" ({before} of them were there already)" if before else ""
        return f"{self.pairs} pairs in {self.phone_folder} and {self.dslr_folder}{already}"


def simulate_pair(config: SimulateConfig, index: int, photo: Pixels | None = None) -> Shot:
    """Photograph scene number `index` with both cameras.

    Parameters
    ----------
    config : SimulateConfig
    index : int
        From 0; everything random about the pair follows from it and the seed.
    photo : (H, W, 3) array of uint8, optional
        A real photo to take the place of a painted scene. The photos become as large as fits in
        it, in the proportion that `config` gives them.
    """
    if photo is None:
        position = draw_position(config, index)
        rng = np.random.default_rng([config.seed, _SCENE_STREAM, index])
        scene = paint_scene(rng, index, *position.scene_size)
    else:
        position, scene = _fit_into(photo, config, index)
    noise = np.random.default_rng([config.seed, _NOISE_STREAM, index])
    camera = draw_phone(config, index)
    truth = {
        "map": position.map.to_dict(),
        "overlap": round(position.overlap, 4),
        "camera": camera.to_dict(),
    }
    return Shot(
        photograph_with_phone(scene, position, camera, noise),
        photograph_with_dslr(scene, position, noise),
        truth,
    )


@lock.until_end()
def simulate_folders(
    output: Path,
    config: SimulateConfig,
    *,
    photos: Path | None = None,
    jobs: int = 0,
    overwrite: bool = False,
) -> SimulateSummary:
    """Write `iphone/NAME.jpg`, `canon/NAME.jpg` and `truth.jsonl` into a folder.

    A run that was stopped is continued. The same seed gives the same bytes for any number of
    workers, and more pairs leave the first ones as they are.

    Parameters
    ----------
    output : Path
        The folder, `raw` by custom.
    config : SimulateConfig
    photos : Path, optional
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
    for name in (PHONE_FOLDER, DSLR_FOLDER):
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
    shot = simulate_pair(config, index, images.read_photo(source) if source else None)
    images.write_photo(
        output / PHONE_FOLDER / f"{name}.jpg", shot.phone, jpeg_quality=config.jpeg_quality
    )
    images.write_photo(output / DSLR_FOLDER / f"{name}.jpg", shot.dslr, jpeg_quality=_DSLR_QUALITY)
    return {"name": name, "scene": source.name if source else "painted", **shot.truth}


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
    for _ in range(3):  # frame sizes are whole pixels, so the fit is found by trying
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
