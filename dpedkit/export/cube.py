"""Write the colour map of a photo as a .cube file, the 3D look-up table of video and photo editors.

A table knows nothing of the place in a photo. What the map does differently from place to place is
averaged: over x and y, and with the luminance that surrounds a pixel of this luminance on average.
The detail that the layers add is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.colourmap import EXPONENTS
from dpedkit.core.atomic import complete_or_absent, make_folder, refuse_existing, remove_unfinished
from dpedkit.core.errors import UsageError
from dpedkit.export.config import ExportConfig
from dpedkit.images import make_thumbnail, read_photo
from dpedkit.photomap import PhotoColours, PhotoGuide, PhotoMap
from dpedkit.photomap.look import LUMA
from dpedkit.photomap.map import LINEAR, PLACE, terms

_AT_ONCE = 1 << 16  # colours
_OF_X = slice(len(EXPONENTS), len(EXPONENTS) + LINEAR)  # terms
_PLAIN = str.maketrans({'"': "'", "\n": " ", "\r": " "})  # what a title must not hold


@dataclass(frozen=True)
class CubeSummary:
    """What `export_cube` wrote.

    Attributes
    ----------
    file : Path
    size : int
        Bytes.
    points : int
        Along each side of the table.
    psnr : float or None
        Between the thumbnail of the photo by the table, interpolated linearly, and by the map as
        `dpedkit enhance --colours-only` applies it, dB; None without a photo.
    """

    file: Path
    size: int
    points: int
    psnr: float | None

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {**vars(self), "file": str(self.file)}

    def as_text(self) -> str:
        """One line for people."""
        text = f"{self.file} ({self.size / 1e6:.1f} MB, {self.points} points)"
        if self.psnr is None:
            return f"{text}: the colour map of all photos"
        return (
            f"{text}: {self.psnr:.1f} dB from the colour map of the photo, which also depends on "
            "the place"
        )


def export_cube(
    model_path: Path, output: Path, config: ExportConfig, *, overwrite: bool = False
) -> CubeSummary:
    """Write a colour map as a table of `config.points` per side, for colours in sRGB.

    Parameters
    ----------
    model_path : Path
        The model file of a photo-aware or colour-residual network.
    output : Path
    config : ExportConfig
        `photo` says whose map is written; without it, that of all photos is.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    CubeSummary

    Raises
    ------
    UsageError
        If the network has no colour map, or none of its own for each photo; or if a setting is not
        for .cube files.
    DpedkitError
        If the model or the photo cannot be read, or the file exists.
    """
    from dpedkit.models.colour_residual import ColourResidual
    from dpedkit.models.files import load_model
    from dpedkit.models.photo_aware import PhotoAware

    config.refuse_unused(("photo", "points"), f"in a {output.suffix} file")
    refuse_existing(output, overwrite=overwrite)
    model = load_model(model_path)
    if not isinstance(model, ColourResidual):
        raise UsageError(
            f"{model_path} is a {model.architecture} network, which has no colour map to write; "
            "give a name that ends in .onnx."
        )
    if config.photo and not isinstance(model, PhotoAware):
        raise UsageError(
            f"{model_path} is a {model.architecture} network, which has the same colour map for "
            "every photo; leave out --photo."
        )
    if config.photo and isinstance(model, PhotoAware):
        thumbnail = make_thumbnail(read_photo(config.photo))
        table, psnr = _table_of_photo(model.photo_map, thumbnail, config.points)
        title = Path(config.photo).name
    else:
        every_photo = PhotoMap.of_every_photo(model.colour_map.double().numpy())
        table, psnr = _table(every_photo.coefficients, config.points), None
        title = "every photo"
    make_folder(output.parent)
    remove_unfinished([output])
    with complete_or_absent(output) as part:
        part.write_text(_as_text(table, title), encoding="utf-8")
    return CubeSummary(output, output.stat().st_size, config.points, psnr)


def _table_of_photo(
    photo_map: PhotoMap, thumbnail: NDArray[np.uint8], points: int
) -> tuple[NDArray[np.float64], float]:
    """The table of one photo, and how near it is to the map: `CubeSummary.psnr`."""
    guide = PhotoGuide.of(thumbnail, photo_map)
    table = _table(
        photo_map.coefficients_of(guide.scores),
        points,
        around=_surroundings(thumbnail, guide),
        # x and y are evenly spread about zero, each over its side.
        squared=sum(side * side for side in guide.look.proportions) / 12,
    )
    height, width = thumbnail.shape[:2]
    colours = PhotoColours.of(photo_map, guide, (width, height)).map_levels(thumbnail, 0)
    error = float(np.mean((look_up(table, thumbnail / 255) - colours / 255) ** 2))
    return table, -10 * math.log10(max(error, 1e-12))


def _surroundings(thumbnail: NDArray[np.uint8], guide: PhotoGuide) -> tuple[np.float64, np.float64]:
    """The line that gives the luminance around a pixel by its own: slope and intercept."""
    height, width = thumbnail.shape[:2]
    around = guide.rows(0, height, width, height)[0].astype(np.float64).ravel()
    own = ((thumbnail / 255) @ LUMA).ravel()
    spread = np.mean((own - own.mean()) ** 2)
    covariance = np.mean((own - own.mean()) * (around - around.mean()))
    slope = covariance / spread if spread > 0 else np.float64(0)
    return slope, around.mean() - slope * own.mean()


def _table(
    coefficients: NDArray[np.float64],
    points: int,
    around: tuple[float, float] = (0, 0),
    squared: float = 0,
) -> NDArray[np.float64]:
    """The map at a lattice of colours: (points, points, points, 3), clipped, by R, G and B.

    Parameters
    ----------
    coefficients : (43, 3) float64
    points : int
    around : tuple of float
        The line of `_surroundings`.
    squared : float
        Mean of x^2 + y^2 over the photo; the means of x and of y are zero.
    """
    axis = np.linspace(0, 1, points)
    colours = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    slope, intercept = around
    table = np.empty_like(colours)
    for start in range(0, len(colours), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        place = np.zeros((len(colours[block]), PLACE))
        place[:, 0] = colours[block] @ LUMA * slope + intercept
        place[:, 1] = math.sqrt(squared)
        mapped = terms(colours[block], place)
        mapped[:, _OF_X] = 0  # only the square of x was meant
        table[block] = mapped @ coefficients
    return np.clip(table, 0, 1).reshape(points, points, points, 3)


def _as_text(table: NDArray[np.float64], title: str) -> str:
    """The content of a .cube file; red varies fastest."""
    lines = [f'TITLE "dpedkit: {title.translate(_PLAIN)}"', f"LUT_3D_SIZE {len(table)}"]
    lines += ["DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
    lines += [f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in table.transpose(2, 1, 0, 3).reshape(-1, 3)]
    return "\n".join(lines) + "\n"


def look_up(table: NDArray[np.float64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """What programs make of a table: interpolated linearly between its points.

    Parameters
    ----------
    table : (P, P, P, 3) array
        By R, G and B.
    colours : (..., 3) array
        In [0, 1].
    """
    position = np.clip(colours, 0, 1) * (len(table) - 1)
    lower = np.minimum(position.astype(np.int64), len(table) - 2)
    share = position - lower
    result = np.zeros(colours.shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), axis=-1, keepdims=True)
        red, green, blue = np.moveaxis(lower + corner, -1, 0)
        result += weight * table[red, green, blue]
    return result
