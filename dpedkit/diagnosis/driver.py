"""Compare photos with those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from dpedkit.core.console import progress, warn
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.diagnosis.config import DiagnoseConfig
from dpedkit.diagnosis.diagnosis import Diagnosis, Finding
from dpedkit.images import list_photos, read_photo_and_metadata
from dpedkit.models.authors import is_checkpoint
from dpedkit.models.files import STATISTICS, find_model, read_card
from dpedkit.models.model_card import photos_of_data
from dpedkit.photostatistics import MEASURES, PhotoStatistics, measure_photo
from dpedkit.shards.sampling import spread_indices


def diagnose(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    config: DiagnoseConfig | None = None,
) -> Diagnosis:
    """Compare photos with those that a network was trained on.

    Parameters
    ----------
    model : str or Path
        A model file, or the folder of a run.
    inputs : str, Path or sequence of them
        Photos, and folders whose photos are taken.
    config : DiagnoseConfig, optional

    Raises
    ------
    DpedkitError
        If the file does not say what the network was trained on, or no photo can be measured.
    """
    config = config or DiagnoseConfig()
    path = find_model(model)
    card = {} if is_checkpoint(path) else read_card(path)
    trained_on = _statistics(path, card)
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    photos = [
        photo for one in map(Path, given) for photo in (list_photos(one) if one.is_dir() else [one])
    ]
    chosen = [photos[number] for number in spread_indices(len(photos), config.limit)]
    measured, cameras, failed = _measure(chosen, trained_on.patch_size)
    if not measured:
        first = next(iter(failed.values()), "no photo was found")
        raise DpedkitError(f"None of the photos can be measured: {first}")
    findings = {
        name: _finding(name, trained_on, [one[name] for one in measured if name in one])
        for name in MEASURES
        if name in trained_on.percentiles
    }
    trained_cameras = photos_of_data(card)["phone"].cameras
    return Diagnosis(
        path, len(measured), len(photos), trained_on, findings, cameras, trained_cameras, failed
    )


def _statistics(path: Path, card: Mapping[str, Any]) -> PhotoStatistics:
    """What the network was trained on.

    Raises
    ------
    DpedkitError
        If its file does not say.
    """
    if STATISTICS not in card:
        raise DpedkitError(
            f"{path} does not say what the photos of its training were like; earlier versions did "
            "not record it. If you have the shards it was trained on, add it with "
            f"`dpedkit card {path} --data SHARDS`."
        )
    try:
        return PhotoStatistics.from_dict(card[STATISTICS])
    except (KeyError, TypeError, ValueError) as error:
        raise DpedkitError(f"{path}: the statistics of its photos are damaged ({error}).") from None


def _measure(
    photos: Sequence[Path], patch_size: int
) -> tuple[list[dict[str, float]], dict[str, int], dict[str, str]]:
    """The measures of photos, how many each camera took, and why others were left out."""
    measured: list[dict[str, float]] = []
    cameras: dict[str, int] = {}
    failed: dict[str, str] = {}
    with progress("diagnose", len(photos), "photos") as bar:
        for photo in photos:
            try:
                pixels, metadata = read_photo_and_metadata(photo)
                found = measure_photo(pixels, patch_size)
                if not found:
                    raise PhotoError(
                        f"{photo} has no window of {patch_size} px with detail to measure."
                    )
                measured.append(found)
                if metadata.camera:
                    cameras[metadata.camera] = cameras.get(metadata.camera, 0) + 1
            except PhotoError as error:
                failed[str(photo)] = str(error)
                warn(f"left out: {error}")
            bar.advance()
    return measured, cameras, failed


def _finding(name: str, trained_on: PhotoStatistics, values: Sequence[float]) -> Finding:
    low, _, middle, _, high = trained_on.percentiles[name]
    found = median(values)
    return Finding(
        trained_on=middle,
        low=low,
        high=high,
        found=found,
        distance=trained_on.distance(name, found),
    )
