"""Fit a photo map: least squares, with as much dependence on the photo as cross-validation allows.

Each photo of the train split has a colour map of its own, found from its patches. The few ways in
which these maps differ most are regressed on the descriptions of the photos (reduced-rank ridge
regression). With tens of photos this could easily explain too much, so that the number of ways and
the ridge are chosen by cross-validation over photos, as is whether the map depends on the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dpedkit.colourmap import EXPONENTS, ColourMap, fit_colour_map_to
from dpedkit.photomap.guides import PatchPlaces, place
from dpedkit.photomap.look import describe
from dpedkit.photomap.map import RANK, TERMS, PhotoMap, standardise, terms
from dpedkit.shards.sampling import spread_indices

if TYPE_CHECKING:
    from dpedkit.shards.reader import SplitReader

_MONOMIALS = len(EXPONENTS)
_PATCHES, _EVERY = 20_000, 5  # patches looked at, and of these every fifth row and column
_RIDGE, _PLACE_RIDGE = 1e-6, 1e-5  # per pixel: decide only what the colours leave undecided
_OWN_RIDGE = 3e-3  # of the mean over photos: holds the map of a photo with few colours
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # tried in cross-validation
_FOLDS, _FEWEST = 8, 5  # folds, and photos below which there is no cross-validation
_EXACT = 1e-5  # mean squared error below which a map could not be better


@dataclass(frozen=True)
class Sums:
    """What the fit needs to know of each of P photos.

    Attributes
    ----------
    description : (P, 47) float64
    normal : (P, 43, 43) float64
        Means over pixels of the products of terms.
    moments : (P, 43, 3) float64
        Means of the products of terms and DSLR colours.
    squares : (P,) float64
        Mean of the squared DSLR colours, summed over channels.
    """

    description: NDArray[np.float64]
    normal: NDArray[np.float64]
    moments: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.squares)

    def of(self, photos: NDArray[np.int64]) -> Sums:
        """Those of some photos."""
        return Sums(
            self.description[photos],
            self.normal[photos],
            self.moments[photos],
            self.squares[photos],
        )

    def without_place(self) -> Sums:
        """For the monomials alone."""
        return replace(
            self,
            normal=self.normal[:, :_MONOMIALS, :_MONOMIALS],
            moments=self.moments[:, :_MONOMIALS],
        )

    def error(self, photo: int, coefficients: NDArray[np.float64]) -> float:
        """Mean squared error of a map on a photo, not clipped."""
        rows = coefficients[: self.normal.shape[1]]
        quadratic = np.sum(rows * (self.normal[photo] @ rows - 2 * self.moments[photo]))
        return float(quadratic + self.squares[photo]) / 3


@dataclass(frozen=True)
class Choice:
    """How far a map may depend on the photo.

    Attributes
    ----------
    place : bool
        Whether it depends on the place in the photo.
    rank : int
        In how many ways maps differ from photo to photo; 0 if not at all.
    ridge : float
    """

    place: bool = False
    rank: int = 0
    ridge: float = 1.0


def fit_photo_map_to(reader: SplitReader) -> PhotoMap:
    """Fit to the thumbnails and patches of a split.

    Where the split has no thumbnails, or those of fewer than 5 photos, the map is that of
    `fit_colour_map_to`, for every photo.

    Raises
    ------
    DpedkitError
        If the split is empty.
    """
    if len(reader) and reader.has_thumbnails and len(np.unique(reader.pair)) >= _FEWEST:
        sums = gather_sums(reader)
        return fit(sums, choose(sums))
    return PhotoMap.of_every_photo(fit_colour_map_to(reader).coefficients)


def gather_sums(reader: SplitReader) -> Sums:
    """Look at the photos of a split and some of the pixels of their patches."""
    places = PatchPlaces(reader)
    chosen = spread_indices(len(reader), _PATCHES)
    pairs = reader.pair[chosen]
    rows = []
    for pair in np.unique(pairs):
        (thumbnail,) = reader.thumbnails([pair])
        look = describe(thumbnail.pixels)
        indices = chosen[pairs == pair]
        phone, dslr = (levels[:, ::_EVERY, ::_EVERY] / 255 for levels in reader.gather(indices))
        where = [places.centres(index, thumbnail.crop, thumbnail.size) for index in indices]
        planes = np.stack(
            [place(look, x[::_EVERY], y[::_EVERY]) for x, y in where], dtype=np.float64
        )
        found = terms(phone.reshape(-1, 3), planes.transpose(0, 2, 3, 1).reshape(-1, 3))
        target = dslr.reshape(-1, 3)
        count = len(target)
        rows.append(
            (
                look.description,
                found.T @ found / count,
                found.T @ target / count,
                np.sum(target**2) / count,
            )
        )
    return Sums(*(np.array(column) for column in zip(*rows, strict=True)))


def choose(sums: Sums) -> Choice:
    """The choice whose maps are nearest to the DSLR's colours on photos left out of the fit.

    The logarithm of each photo's mean squared error is compared, as in PSNR. A map that depends on
    the photo must be better than one that does not by a standard error of the mean over photos
    (Breiman et al., 1984): the best of so many choices is often better by chance alone.
    """
    errors: dict[Choice, list[float]] = {choice: [] for choice in _ALL}
    number = np.arange(len(sums))
    folds = min(_FOLDS, len(sums))
    for fold in range(folds):
        left_out = number[number % folds == fold]
        for choice, photo_map in _fits(sums.of(number[number % folds != fold])):
            for photo in left_out.tolist():
                coefficients = photo_map.coefficients_of(_scores(photo_map, sums, photo))
                error = max(sums.error(photo, coefficients), _EXACT)
                errors[choice].append(np.log(error))
    best = min(errors, key=lambda choice: sum(errors[choice]))
    plain = min(
        (choice for choice in errors if not choice.rank), key=lambda choice: sum(errors[choice])
    )
    gain = np.subtract(errors[plain], errors[best])
    return best if gain.mean() > gain.std() / np.sqrt(len(gain)) else plain


def fit(sums: Sums, choice: Choice) -> PhotoMap:
    """The map of a choice."""
    return next(photo_map for made, photo_map in _fits(sums, (choice,)) if made == choice)


def _scores(photo_map: PhotoMap, sums: Sums, photo: int) -> NDArray[np.float64]:
    standardised = standardise(sums.description[photo], photo_map.mean, photo_map.scale)
    return standardised @ photo_map.weights + photo_map.offset


_ALL = tuple(
    [Choice(place) for place in (False, True)]
    + [Choice(*it) for it in product((False, True), range(1, RANK + 1), _RIDGES)]
)


def _fits(sums: Sums, choices: tuple[Choice, ...] = _ALL) -> Iterator[tuple[Choice, PhotoMap]]:
    """The maps of several choices, which share most of the work."""
    mean = sums.description.mean(axis=0)
    scale = sums.description.std(axis=0) + 1e-6
    known = standardise(sums.description, mean, scale)  # (P, 47)
    # The ridge in its dual form: one decomposition of a (P, P) or (47, 47) matrix serves them all.
    values, vectors = np.linalg.eigh(known.T @ known / known.shape[1])
    for with_place in sorted({choice.place for choice in choices}):
        used = sums if with_place else sums.without_place()
        shared = _shared(used)
        scores, directions = _differences(used, shared)
        offset = scores.mean(axis=0)
        projected = vectors.T @ known.T @ (scores - offset) / known.shape[1]
        base = PhotoMap.of_every_photo(ColourMap.identity().coefficients)
        coefficients = np.zeros((TERMS, 3))
        coefficients[: len(shared)] = shared
        base = replace(base, coefficients=coefficients, mean=mean, scale=scale)
        for choice in choices:
            if choice.place != with_place:
                continue
            if not choice.rank:
                yield choice, base
                continue
            kept = np.arange(RANK) < choice.rank
            weights = vectors @ (projected / (values[:, None] + choice.ridge))
            yield (
                choice,
                replace(base, directions=directions, weights=weights * kept, offset=offset * kept),
            )


def _shared(sums: Sums) -> NDArray[np.float64]:
    """The coefficients that suit all photos best, each counting the same."""
    normal, moments = sums.normal.mean(axis=0), sums.moments.mean(axis=0)
    ridge = np.full(len(normal), _PLACE_RIDGE)
    ridge[:_MONOMIALS] = _RIDGE
    start_from = np.zeros_like(moments)
    start_from[:_MONOMIALS] = ColourMap.identity().coefficients
    return np.linalg.solve(normal + np.diag(ridge), moments + ridge[:, None] * start_from)


def _differences(
    sums: Sums, shared: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By how much and in which ways the photos' own maps differ: (P, 3) and (3, 20, 3).

    The principal components of the differences in colour, not in coefficients.
    """
    normal = sums.normal[:, :_MONOMIALS, :_MONOMIALS]
    missing = (sums.moments - sums.normal @ shared)[:, :_MONOMIALS]
    mean = normal.mean(axis=0)
    ridge = _OWN_RIDGE * mean + 1e-5 * np.eye(_MONOMIALS)
    own = np.linalg.solve(normal + ridge, missing)  # (P, 20, 3)
    # |root @ d|^2 is the mean squared difference in colour that the coefficients d make.
    root = np.linalg.cholesky(mean + 1e-7 * np.eye(_MONOMIALS)).T
    colours = (root @ own).reshape(len(own), -1)
    _, _, components = np.linalg.svd(colours, full_matrices=False)
    components = components[:RANK]
    directions = np.linalg.solve(root, components.reshape(-1, _MONOMIALS, 3))
    return colours @ components.T, directions
