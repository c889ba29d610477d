"""How much a colour map gains that sees a thumbnail of the whole photo, by cross-validation.

    python benchmarks/photo_map.py SHARDS [--folds 10]

All photos of a shards folder with thumbnails are divided into folds. For each fold, maps are fitted
to the photos of the others: one colour polynomial for all, the same with terms of the place in the
photo, and the photo map of `photo-aware`. The oracle is fitted to the photo itself. No network is
trained. PSNR in dB of the pooled, unclipped squared error of a photo, then the mean over photos;
the interval is that of the gain over the one polynomial, 95%, by bootstrap over photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.photomap.fit import Choice, Sums, choose, fit, gather_sums
from dpedkit.photomap.map import PhotoMap, standardise
from dpedkit.shards.format import SPLITS
from dpedkit.shards.reader import open_split

_MONOMIALS, _RIDGE = 20, 1e-6
_DRAWS = 10_000
METHODS = ("one polynomial", "and the place", "photo map", "oracle polynomial")


def compare(sums: Sums, folds: int) -> NDArray[np.float64]:
    """PSNR of each photo with the map of each method: (P, 4), dB."""
    psnr = np.empty((len(sums), len(METHODS)))
    order = np.random.default_rng(0).permutation(len(sums))
    for fold in range(folds):
        tested = order[fold::folds]
        others = sums.of(np.setdiff1d(order, tested))
        shared = [fit(others, Choice(place)).coefficients for place in (False, True)]
        photo_map = fit(others, choose(others))
        for photo in tested.tolist():
            own = coefficients_for(photo_map, sums.description[photo])
            maps = (*shared, own, oracle(sums, photo))
            psnr[photo] = [-10 * np.log10(sums.error(photo, each)) for each in maps]
    return psnr


def coefficients_for(photo_map: PhotoMap, description: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coefficients for a photo of this description: (43, 3)."""
    known = standardise(description, photo_map.mean, photo_map.scale)
    return photo_map.coefficients_of(known @ photo_map.weights + photo_map.offset)


def oracle(sums: Sums, photo: int) -> NDArray[np.float64]:
    """The polynomial that suits a photo best, as coefficients of all terms: (43, 3)."""
    normal = sums.normal[photo][:_MONOMIALS, :_MONOMIALS] + _RIDGE * np.eye(_MONOMIALS)
    coefficients = np.zeros_like(sums.moments[photo])
    coefficients[:_MONOMIALS] = np.linalg.solve(normal, sums.moments[photo][:_MONOMIALS])
    return coefficients


def table(psnr: NDArray[np.float64]) -> str:
    """A row for each method: mean, gain with its interval, part of the gap, photos that lose."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(psnr), size=(_DRAWS, len(psnr)))
    gains = psnr - psnr[:, :1]
    rows = []
    for name, values, gain in zip(METHODS, psnr.T, gains.T, strict=True):
        low, high = np.percentile(gain[draws].mean(axis=1), [2.5, 97.5])
        part = gain.mean() / gains[:, -1].mean()
        cells = (f"{gain.mean():+.2f}", f"{low:+.2f} to {high:+.2f}", f"{part:.0%}")
        lost = f"{(gain < 0).sum()} of {len(gain)}"
        rows.append((name, f"{values.mean():.2f}", *cells, lost))
    header = ("map", "PSNR", "gain", "interval", "of the oracle's", "photos that lose")
    return console.table(header, rows, f"{len(psnr)} photos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--folds", type=int, default=10)
    arguments = parser.parse_args()
    readers = [open_split(arguments.shards, split) for split in SPLITS]
    parts = [gather_sums(reader) for reader in readers if len(reader)]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    sums = Sums(*(np.concatenate(column) for column in columns))
    print(table(compare(sums, min(arguments.folds, len(sums)))))


if __name__ == "__main__":
    main()
