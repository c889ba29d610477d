"""Results of `dpedkit evaluate`, kept in the folder of the run whose network was measured."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.core.atomic import make_folder, write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.evaluations import EVALUATIONS
from dpedkit.core.records import RUN_CONFIG
from dpedkit.evaluation.evaluation import Evaluation
from dpedkit.evaluation.photo_evaluation import PhotoEvaluation
from dpedkit.images import write_photo
from dpedkit.models.files import model_hash
from dpedkit.shards.index import fingerprint

_DIGITS, _QUALITY = 16, 92

PictureFiles = dict[str, dict[str, str]]  # names of files, by the keys of an evaluation's pictures


def keep_evaluation(evaluation: Evaluation) -> Path | None:
    """Write an evaluation into the run's folder that the model lies in.

    A later evaluation of the same model file on the same splits of the same patches replaces it.

    Returns
    -------
    Path or None
        The run's folder; None if the model is not from a run, or the folder cannot be written to.
        The latter only causes a warning, since the result is printed in any case.
    """
    evaluation = replace(evaluation, shards=evaluation.shards.absolute())
    splits = "-".join(split.split for split in evaluation.splits)
    name = f"{evaluation.model.stem}-{fingerprint(evaluation.shards)}-{splits}"

    def write_pictures(folder: Path) -> PictureFiles:
        return {
            split: {
                end: _write_patches(folder / f"{name}-{split}-{end}.png", shown)
                for end, shown in own.items()
            }
            for split, own in evaluation.pictures.items()
        }

    return _keep(evaluation, name, write_pictures)


def keep_photo_evaluation(evaluation: PhotoEvaluation) -> Path | None:
    """The same of an evaluation on whole photos, with pictures of the worst and best of them.

    A later evaluation of the same model file on the same folder replaces it.
    """
    evaluation = replace(evaluation, aligned=evaluation.aligned.absolute())
    place = hashlib.sha256(str(evaluation.aligned).encode()).hexdigest()[:_DIGITS]
    name = f"photos-{evaluation.model.stem}-{place}"

    def write_pictures(folder: Path) -> PictureFiles:
        for old in folder.glob(f"{glob.escape(name)}-*.jpg"):
            old.unlink()
        pictures: PictureFiles = {}
        for number, (pair, shown) in enumerate(evaluation.pictures.items()):
            pictures[pair] = {}
            for method, pixels in shown.items():
                file = folder / f"{name}-{number}-{method.replace(' ', '-')}.jpg"
                write_photo(file, pixels, jpeg_quality=_QUALITY)
                pictures[pair][method] = file.name
        return pictures

    return _keep(evaluation, name, write_pictures)


def _keep(
    evaluation: Evaluation | PhotoEvaluation,
    name: str,
    write_pictures: Callable[[Path], PictureFiles],
) -> Path | None:
    """Write NAME.json and the pictures that it names; returns what `keep_evaluation` does."""
    run = evaluation.model.parent
    if not (run / RUN_CONFIG).is_file():
        return None
    try:
        folder = make_folder(run / EVALUATIONS)
        content = {
            **evaluation.to_dict(),
            "model_file": evaluation.model.name,
            "model_hash": model_hash(evaluation.model),
            "pictures": write_pictures(folder),
        }
        write_json(folder / f"{name}.json", content)
    except DpedkitError as error:
        console.warn(f"The evaluation could not be saved: {error}")
        return None
    return run


def _write_patches(file: Path, rows: NDArray[np.uint8]) -> str:
    """Write patches `(rows, columns, S, S, 3)` as one picture without gaps; returns its name."""
    count, columns, side = rows.shape[:3]
    whole = rows.transpose(0, 2, 1, 3, 4).reshape(count * side, columns * side, 3)
    write_photo(file, np.ascontiguousarray(whole))
    return file.name
