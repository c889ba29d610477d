"""What photos of one camera are like: brightness, colour, noise, sharpness, resolution.

Measured on windows of the size of a patch, so that the patches of shards and whole photos can be
compared. The statistics of the photos that a network was trained on are kept in its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.shards.index import read_pairs
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.shards.sampling import spread_indices

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_MOST_PHOTOS, _MOST_WINDOWS = 100, 64
_FLAT = 4.0  # standard deviation of luma in levels; patches that could be matched have more
_CLIPPED = 0.25  # share of a window that may be black or white, as for patches
_SMOOTHEST = 25  # per cent of the windows, whose fine detail is taken for noise
_NORMAL_MEAN = 0.7979  # mean absolute value of a normal distribution, in its sigma
_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Measure:
    """One property of a photo.

    Attributes
    ----------
    title, unit : str
    more, less : str
        Words for photos with a larger or a smaller value than others.
    smallest : float
        A difference that people hardly notice, in units of the measure, or in powers of 2 where
        it is compared by ratio.
    ratio : bool
        Whether values are compared by ratio.
    """

    title: str
    unit: str
    more: str
    less: str
    smallest: float
    ratio: bool = False


MEASURES = {
    "brightness": Measure("brightness", "levels", "brighter", "darker", 10.0),
    "contrast": Measure("contrast", "levels", "more contrast", "less contrast", 5.0),
    "saturation": Measure("saturation", "levels", "more colourful", "less colourful", 6.0),
    "red_green": Measure("red to green", "stops", "redder", "less red", 0.1),
    "blue_green": Measure("blue to green", "stops", "bluer", "less blue", 0.1),
    "noise": Measure("noise", "levels", "noisier", "less noisy", 0.3),
    "sharpness": Measure("sharpness", "dB", "sharper", "softer", 1.0),
    "megapixels": Measure("resolution", "MP", "more pixels", "fewer pixels", 0.25, ratio=True),
}
"""The measures by name.

Brightness, contrast (standard deviation within windows) and saturation (largest minus smallest
channel) are in 8-bit levels; red and blue are compared with green in powers of 2. Noise is the
standard deviation of the finest diagonal detail of the smoothest windows; sharpness is the energy
of the finest octave of detail, without noise, against that of the next one.
"""


@dataclass(frozen=True)
class PhotoStatistics:
    """The distribution of each measure over photos.

    Attributes
    ----------
    patch_size : int
        Side of the windows, px.
    photos : int
    known_photos : bool
        False where it is not known which patches are of one photo (`dpedkit import-patches`), so
        that each patch counts as a photo, and the values vary more.
    percentiles : dict of str to list of float
        For each measure the percentiles 5, 25, 50, 75 and 95; a measure is missing where no photo
        tells.
    """

    patch_size: int
    photos: int
    known_photos: bool
    percentiles: dict[str, list[float]]

    @classmethod
    def of(
        cls, measured: Iterable[Mapping[str, float]], patch_size: int, *, known_photos: bool = True
    ) -> PhotoStatistics:
        """The statistics of photos, from what `measure_windows` found in each."""
        found = list(measured)
        percentiles = {}
        for name in MEASURES:
            values = [one[name] for one in found if name in one]
            if values:
                percentiles[name] = [float(v) for v in np.percentile(values, _PERCENTILES)]
        return cls(patch_size, len(found), known_photos, percentiles)

    def distance(self, name: str, value: float) -> float:
        """How far a value is from the median, in units of the spread between photos, with sign."""
        low, q1, median, q3, high = (_scaled(name, one) for one in self.percentiles[name])
        # Two estimates of a normal distribution's sigma: the quartiles of few photos lie close.
        spread = max((q3 - q1) / 1.349, (high - low) / 3.29, MEASURES[name].smallest)
        return (_scaled(name, value) - median) / spread

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhotoStatistics:
        """What `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something else is given.
        """
        percentiles = {
            name: [float(value) for value in values["percentiles"][name]]
            for name in MEASURES
            if name in values["percentiles"]
        }
        if any(len(found) != len(_PERCENTILES) for found in percentiles.values()):
            raise ValueError("percentiles are missing")
        return cls(
            int(values["patch_size"]),
            int(values["photos"]),
            bool(values["known_photos"]),
            percentiles,
        )


def _scaled(name: str, value: float) -> float:
    """The value as it is compared: by difference, so that ratios become powers of 2."""
    return float(np.log2(max(value, 1e-6))) if MEASURES[name].ratio else value


def statistics_of_training(shards: str | Path) -> PhotoStatistics:
    """What the phone photos of a train split are like: at most 100 photos, 64 patches of each.

    Raises
    ------
    DpedkitError
        If the shards cannot be read.
    """
    reader = open_split(shards, "train")
    pairs = read_pairs(shards)
    numbers = reader.pair
    present = np.unique(numbers)
    chosen = present[spread_indices(len(present), _MOST_PHOTOS)]
    measured = [
        _measure_pair(reader, np.flatnonzero(numbers == number), pairs[int(number)])
        for number in chosen
    ]
    known = any("cameras" in pairs[int(number)] for number in chosen)
    return PhotoStatistics.of(filter(None, measured), reader.patch_size, known_photos=known)


def _measure_pair(
    reader: SplitReader, rows: NDArray[np.int64], pair: Mapping[str, Any]
) -> dict[str, float]:
    phone, _ = reader.gather(rows[spread_indices(len(rows), _MOST_WINDOWS)])
    found = measure_windows(phone)
    width, height = pair.get("phone_size", (0, 0))
    if found and width * height:
        found["megapixels"] = width * height / 1e6
    return found


def measure_photo(photo: NDArray[np.uint8], patch_size: int) -> dict[str, float]:
    """The measures of one photo.

    Parameters
    ----------
    photo : (H, W, 3) uint8
        RGB, sRGB.
    patch_size : int
        Side of the windows, px.

    Returns
    -------
    dict of str to float
        Of `MEASURES`; empty if no window has any detail, or the photo is smaller than a window.
    """
    height, width = photo.shape[:2]
    rows, columns = height // patch_size, width // patch_size
    if not rows * columns:
        return {}
    windows = [
        photo[y * patch_size : (y + 1) * patch_size, x * patch_size : (x + 1) * patch_size]
        for y, x in (
            divmod(int(cell), columns) for cell in spread_indices(rows * columns, _MOST_WINDOWS)
        )
    ]
    found = measure_windows(np.stack(windows))
    if found:
        found["megapixels"] = width * height / 1e6
    return found


def measure_windows(windows: NDArray[np.uint8]) -> dict[str, float]:
    """The measures of one photo, without its resolution, from windows of it.

    Windows that could not become patches, because they are flat or clipped, are left out.

    Parameters
    ----------
    windows : (N, S, S, 3) uint8
        RGB, sRGB.

    Returns
    -------
    dict of str to float
        Empty if no window is left.
    """
    luma: NDArray[Any] = windows.astype(np.float32) @ _LUMA  # (N, S, S) float32
    contrast = luma.std(axis=(1, 2))
    clipped = ((windows == 0) | (windows == 255)).any(axis=3).mean(axis=(1, 2))
    used = (contrast > _FLAT) & (clipped <= _CLIPPED)
    if not used.any():
        return {}
    windows, luma, contrast = windows[used], luma[used], contrast[used]
    red, green, blue = np.maximum(windows.mean(axis=(0, 1, 2), dtype=np.float64), 1.0)
    noise, sharpness = _noise_and_sharpness(luma)
    spread = windows.max(axis=3).astype(np.float32) - windows.min(axis=3)
    return {
        "brightness": float(np.median(luma.mean(axis=(1, 2)))),
        "contrast": float(np.median(contrast)),
        "saturation": float(spread.mean()),
        "red_green": float(np.log2(red / green)),
        "blue_green": float(np.log2(blue / green)),
        "noise": noise,
        "sharpness": sharpness,
    }


def _noise_and_sharpness(luma: NDArray[Any]) -> tuple[float, float]:
    """Of windows (N, S, S): the noise in levels, and fine against coarse detail in dB."""
    mean, fine, diagonal = _octave(luma)
    _, coarse, _ = _octave(mean / 2)
    # The median would be a multiple of 0.74 levels, since 8 bits differ by half a level at least.
    sigma = np.abs(diagonal).mean(axis=(1, 2)) / _NORMAL_MEAN
    noise = float(np.percentile(sigma, _SMOOTHEST))
    # Both octaves hold the noise: 3 of the 4 coefficients of each 2 x 2 block, and of a mean of 4
    # pixels a quarter of its variance.
    fine = np.maximum(fine - 3 * noise**2, 1e-3)
    coarse = np.maximum(coarse - 3 * noise**2 / 4, 1e-3)
    return noise, float(np.median(10 * np.log10(fine / coarse)))


def _octave(image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """One level of an orthonormal Haar transform of (N, S, S): twice the means of 2 x 2 blocks, the
    energy of the detail of each image (N,), and the diagonal detail."""
    side = image.shape[1] // 2 * 2
    a, b = image[:, 0:side:2, 0:side:2], image[:, 0:side:2, 1:side:2]
    c, d = image[:, 1:side:2, 0:side:2], image[:, 1:side:2, 1:side:2]
    diagonal = (a - b - c + d) / 2
    across, down = (a - b + c - d) / 2, (a + b - c - d) / 2
    energy = (across**2 + down**2 + diagonal**2).mean(axis=(1, 2))
    return (a + b + c + d) / 2, energy, diagonal
