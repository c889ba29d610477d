"""Surfaces of a scene with depth: records come back, and no surface leaks into another."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpedkit.geometry import PairMap, apply_homography, grid_points
from dpedkit.surfaces import EDGE, HOLDS, MISSING, UNKNOWN, Layer, Surfaces

SEEDS = st.integers(0, 2**32 - 1)
HOMOGRAPHY = np.array([[1.4, -0.05, 60.0], [0.05, 1.4, 20.0], [2e-5, -1e-5, 1.0]])


def drawn(seed, labels=(0, 1, 2, 3, 254, 255), spread=20.0):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 12, 2))
    displacement = rng.normal(0, spread, (*shape, 2))
    return Surfaces.of(
        float(rng.uniform(4, 40)), rng.choice(labels, shape).astype(np.uint8), displacement
    )


def sharpened(seed):
    """Two layers that differ in places, and smaller cells that each take one of them."""
    first, rng = drawn(seed), np.random.default_rng([seed, 1])
    shape, fine = first.labels.shape, tuple(4 * side for side in first.labels.shape)
    differs = rng.random(shape) < 0.3
    surface = np.where(differs, 7, first.labels).astype(np.uint8)
    moved = np.rint(rng.normal(0, 20, (*shape, 2)) * 64) / 64
    moved = np.where(differs[..., None], moved, first.layer.displacement)
    return Surfaces(
        first.cell / 4,
        rng.choice([0, 1, 2, 7, 254, 255], fine).astype(np.uint8),
        first.layer,
        Layer(first.cell, surface, moved),
        rng.random(fine) < 0.5,
    )


def points_around(surfaces, rng, count=200):
    """Phone points in the photo and a good way beyond its edges."""
    rows, columns = surfaces.labels.shape
    size = np.array([columns, rows]) * surfaces.cell
    return rng.uniform(-0.5 * size, 1.5 * size, (count, 2))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 1.0, 1e4]))
def test_a_record_gives_the_same_surfaces_back_bit_for_bit(seed, spread):
    surfaces = drawn(seed, spread=spread)
    back = Surfaces.from_dict(json.loads(json.dumps(surfaces.to_dict())))
    assert back.cell == surfaces.cell
    assert back.labels.dtype == np.uint8
    assert np.array_equal(back.labels, surfaces.labels)
    assert np.array_equal(back.layer.surface, surfaces.labels)
    assert np.array_equal(back.layer.displacement, surfaces.layer.displacement)
    assert back.other is None


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_record_gives_both_layers_back_bit_for_bit(seed):
    surfaces = sharpened(seed)
    record = json.loads(json.dumps(surfaces.to_dict()))
    back = Surfaces.from_dict(record)
    assert back.to_dict() == record
    assert np.array_equal(back.labels, surfaces.labels)
    assert np.array_equal(back.shows_other, surfaces.shows_other)
    for name in ("layer", "other"):
        one, other = getattr(back, name), getattr(surfaces, name)
        assert one.cell == other.cell
        assert np.array_equal(one.surface, other.surface)
        assert np.array_equal(one.displacement, other.displacement)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_each_small_cell_takes_its_displacement_from_the_layer_that_it_names(seed):
    surfaces, rng = sharpened(seed), np.random.default_rng(seed)
    rows, columns = surfaces.labels.shape
    points = rng.uniform(-0.5, np.array([columns, rows]) * surfaces.cell - 0.5, (200, 2))
    column, row = np.floor((points + 0.5) / surfaces.cell).astype(int).T
    taken = surfaces.shows_other[row, column]
    found = surfaces.displacement_at(points)
    assert np.array_equal(found[taken], surfaces.other.displacement_at(points[taken]))
    assert np.array_equal(found[~taken], surfaces.layer.displacement_at(points[~taken]))


@given(SEEDS)
def test_rounding_for_the_record_moves_nothing_by_more_than_half_a_64th(seed):
    exact = np.random.default_rng(seed).normal(0, 9, (5, 7, 2))
    rounded = Surfaces.of(16.0, np.ones((5, 7), np.uint8), exact).layer.displacement
    assert np.abs(rounded - exact).max() <= 1 / 128
    assert np.array_equal(rounded * 64, np.rint(rounded * 64))


def packed(content):
    return base64.b64encode(zlib.compress(content, 9)).decode()


def wrong_by_one_bit(text):
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 4
    return base64.b64encode(bytes(content)).decode()


DAMAGES = {
    "a row too many": lambda r: r | {"shape": [r["shape"][0] + 1, r["shape"][1]]},
    "a row too few": lambda r: r | {"shape": [r["shape"][0] - 1, r["shape"][1]]},
    "no rows": lambda r: r | {"shape": [0, r["shape"][1]]},
    "negative rows and columns": lambda r: r | {"shape": [-6, -8]},
    "no rows, and nothing in them": lambda r: (
        r | {"shape": [0, 8], "labels": packed(b""), "displacement": packed(b"")}
    ),
    "more columns than any photo": lambda r: (
        r
        | {"shape": [1, 9000], "labels": packed(bytes(9000)), "displacement": packed(bytes(72000))}
    ),
    "one number for a shape": lambda r: r | {"shape": [48]},
    "three numbers for a shape": lambda r: r | {"shape": [6, 8, 2]},
    "a shape that fills the memory": lambda r: r | {"shape": [10**6, 10**6]},
    "a cell of no size": lambda r: r | {"cell": 0.0},
    "a cell of negative size": lambda r: r | {"cell": -16.0},
    "a cell that is no number": lambda r: r | {"cell": float("nan")},
    "labels not in base64": lambda r: r | {"labels": "*" + r["labels"][1:]},
    "labels with a stray character": lambda r: r | {"labels": "*" + r["labels"]},
    "labels cut short": lambda r: r | {"labels": r["labels"][:-8]},
    "labels not compressed": lambda r: r | {"labels": base64.b64encode(b"\1" * 48).decode()},
    "a label too many": lambda r: r | {"labels": packed(b"\1" * 49)},
    "a label too few": lambda r: r | {"labels": packed(b"\1" * 47)},
    "labels that unpack to 100 MB": lambda r: r | {"labels": packed(b"\1" * 100_000_000)},
    "a displacement too many": lambda r: r | {"displacement": packed(bytes(4 * 2 * 48 + 8))},
    "a wrong bit": lambda r: r | {"displacement": wrong_by_one_bit(r["displacement"])},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_record_is_refused(damage):
    rng = np.random.default_rng(3)
    surfaces = Surfaces.of(16.0, np.ones((6, 8), np.uint8), rng.normal(0, 2, (6, 8, 2)))
    record = surfaces.to_dict()
    Surfaces.from_dict(record)
    with pytest.raises(ValueError):
        Surfaces.from_dict(damage(record))


SHARPENED_DAMAGES = {
    "a row of large cells too many": lambda r: r | {"layer_shape": [7, 8]},
    "large cells of no size": lambda r: r | {"layer_cell": 0.0},
    "no displacement": lambda r: {k: v for k, v in r.items() if k != "displacement"},
    "no second displacement": lambda r: {k: v for k, v in r.items() if k != "other_displacement"},
    "a second surface too few": lambda r: r | {"other_surface": packed(bytes(47))},
    "a choice too few": lambda r: r | {"shows_other": packed(bytes(95))},
    "a choice that is no text": lambda r: r | {"shows_other": 5},
}


@pytest.mark.parametrize("damage", SHARPENED_DAMAGES.values(), ids=SHARPENED_DAMAGES)
def test_a_damaged_record_of_two_layers_is_refused(damage):
    one = Layer(16.0, np.ones((6, 8), np.uint8), np.zeros((6, 8, 2)))
    two = Layer(16.0, np.full((6, 8), 2, np.uint8), np.ones((6, 8, 2)))
    labels, other = np.ones((24, 32), np.uint8), np.zeros((24, 32), bool)
    record = Surfaces(4.0, labels, one, two, other).to_dict()
    Surfaces.from_dict(record)
    with pytest.raises(ValueError):
        Surfaces.from_dict(damage(record))


def test_of_content_larger_than_stated_no_more_is_unpacked_than_needed(monkeypatch):
    asked = []
    unpacker = zlib.decompressobj

    class Watched:
        def __init__(self):
            self.inner = unpacker()

        def decompress(self, content, limit=0):
            asked.append(limit)
            return self.inner.decompress(content, limit)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    record = drawn(1).to_dict() | {"shape": [3, 4], "labels": packed(bytes(10_000_000))}
    monkeypatch.setattr("dpedkit.surfaces.zlib.decompressobj", Watched)
    with pytest.raises(ValueError):
        Surfaces.from_dict(record)
    assert asked == [12]


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_inside_a_surface_a_linear_displacement_is_exact(seed):
    """Two surfaces, side by side, each with its own slope: far beyond their centres, too."""
    rng = np.random.default_rng(seed)
    cell, rows, columns = float(rng.uniform(4, 40)), 6, 10
    labels = np.ones((rows, columns), np.uint8)
    labels[:, rng.integers(2, columns - 1) :] = 2
    start = rng.integers(-640, 640, (3, 2)) / 64
    slopes = rng.integers(-64, 64, (3, 2, 2)) / 64  # px per cell: of x and y, along x and y
    row, column = np.mgrid[:rows, :columns]
    place = np.stack([column, row], axis=-1)
    displacement = start[labels] + (slopes[labels] * place[..., None, :]).sum(axis=3)
    surfaces = Surfaces.of(cell, labels, displacement)

    points = points_around(surfaces, rng)
    label = surfaces.label_at(points)
    there = (points + 0.5) / cell - 0.5  # in cells, the centre of the first one at 0
    expected = start[label] + (slopes[label] * there[:, None, :]).sum(axis=2)
    assert set(label) == {1, 2}
    assert np.abs(surfaces.displacement_at(points) - expected).max() < 1e-9


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_no_surface_takes_part_in_the_displacement_of_another(seed):
    surfaces = drawn(seed)
    rng = np.random.default_rng(seed)
    points = points_around(surfaces, rng)
    label = surfaces.label_at(points)
    before = surfaces.displacement_at(points)
    for one in np.unique(label):
        apart = np.where(surfaces.labels == one, 0, 1000.0)[..., None]
        others = Layer(surfaces.cell, surfaces.labels, surfaces.layer.displacement + apart)
        changed = others.displacement_at(points)
        assert np.array_equal(changed[label == one], before[label == one])
        assert (np.abs(changed - before)[label != one] > 900).all()


@given(SEEDS)
def test_at_the_centre_of_a_cell_its_own_displacement_holds(seed):
    surfaces = drawn(seed)
    rows, columns = surfaces.labels.shape
    xs, ys = ((np.arange(count) + 0.5) * surfaces.cell - 0.5 for count in (columns, rows))
    found = surfaces.displacement_at(grid_points(xs, ys))
    assert np.abs(found - surfaces.layer.displacement.reshape(-1, 2)).max() < 1e-9


def test_beyond_the_photo_the_nearest_cell_says_what_is_shown():
    labels = np.array([[1, 2, 3], [254, 255, 0]], np.uint8)
    surfaces = Surfaces.of(10.0, labels, np.zeros((2, 3, 2)))
    cases = {
        (-0.5, -0.5): 1,
        (9.4, 9.4): 1,
        (9.6, 9.4): 2,
        (9.6, 9.6): 255,
        (-800.0, 3.0): 1,
        (-800.0, 900.0): 254,
        (14.0, -900.0): 2,
        (900.0, 3.0): 3,
        (900.0, 900.0): 0,
    }
    assert surfaces.label_at(np.array(list(cases))).tolist() == list(cases.values())
    holding = [value in (1, 2, 3) for value in cases.values()]
    assert surfaces.holds(np.array(list(cases))).tolist() == holding
    assert surfaces.count == 3


@given(SEEDS, st.sampled_from([1, 4, 7]))
def test_each_pixel_is_known_as_the_cell_that_it_lies_in(seed, cell):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, 2))
    labels = rng.choice([0, 1, 2, 253, 254, 255], shape).astype(np.uint8)
    surfaces = Surfaces.of(float(cell), labels, np.zeros((*shape, 2)))
    meaning = {0: UNKNOWN, 1: HOLDS, 2: HOLDS, 253: HOLDS, 254: MISSING, 255: EDGE}
    states = np.array([[meaning[label] for label in row] for row in labels.tolist()])
    pixels = np.kron(states, np.ones((cell, cell), int))
    pixels = np.pad(pixels, ((0, cell), (0, cell)), mode="edge")  # a crop may end past the grid
    x, y = (int(rng.integers(0, side)) for side in pixels.shape[::-1])
    width, height = (int(rng.integers(1, side + 1)) for side in (pixels[y:, x:].shape[::-1]))
    known = surfaces.known((x, y, width, height))
    assert known.dtype == np.uint8
    assert np.array_equal(known, pixels[y : y + height, x : x + width])


def test_cells_of_a_broken_number_of_pixels_keep_their_places():
    """A cell of 2.5 px holds the pixels whose centres lie in it, two or three in turn."""
    labels = np.array([[1, 254, 0, 255]], np.uint8)
    known = Surfaces.of(2.5, labels, np.zeros((1, 4, 2))).known((0, 0, 10, 1))
    expected = [HOLDS] * 2 + [MISSING] * 3 + [UNKNOWN] * 2 + [EDGE] * 3
    assert known.tolist() == [expected]


def stepped_map(**more):
    """The near half on the right is displaced by 6 px against the far one."""
    labels = np.ones((6, 8), np.uint8)
    labels[:, 4:] = 2
    surfaces = Surfaces.of(16.0, labels, np.where(labels == 2, 6.0, 0.0)[..., None] * [1, 0.5])
    return PairMap(HOMOGRAPHY, (128, 96), (300, 200), surfaces=surfaces, **more)


def test_a_map_adds_the_displacement_of_its_surfaces_before_the_homography():
    found = stepped_map()
    points = grid_points(np.arange(0, 128, 3.0), np.arange(0, 96, 5.0))
    moved = points + np.where(points[:, :1] < 63.5, 0.0, 1.0) * [6.0, 3.0]
    assert np.allclose(found(points), apply_homography(HOMOGRAPHY, moved), rtol=0, atol=1e-9)
    lens = {"radial": (0.02, 0.0, 0.0), "field": np.full((5, 6, 2), 0.7)}
    bent = PairMap(HOMOGRAPHY, (128, 96), (300, 200), **lens).displacement(points)
    both = stepped_map(**lens).displacement(points)
    assert np.allclose(both, bent + moved - points, rtol=0, atol=1e-9)


def test_the_scale_at_a_break_is_that_without_it():
    plain = PairMap(HOMOGRAPHY, (128, 96), (300, 200))
    for x in (20.0, 63.0, 63.4, 64.0):
        point = np.array([x, 40.0])
        assert stepped_map().scale_at(point) == plain.scale_at(point)
    assert 1.3 < plain.scale_at(np.array([63.0, 40.0])) < 1.5


def test_a_map_with_surfaces_comes_back_from_its_record():
    found = stepped_map(radial=(0.01, -0.002, 0.0))
    back = PairMap.from_dict(json.loads(json.dumps(found.to_dict())))
    points = grid_points(np.arange(-20, 150, 7.0), np.arange(-20, 120, 7.0))
    assert np.array_equal(back(points), found(points))
    assert np.array_equal(back.holds(points), found.holds(points))


def test_a_record_without_surfaces_is_a_map_that_holds_everywhere():
    """As written before there were any: format 1."""
    record = {
        "phone_to_dslr": HOMOGRAPHY.tolist(),
        "phone_size": [128, 96],
        "dslr_size": [300, 200],
        "radial": [0.01, 0.0, 0.0],
        "field": None,
    }
    found = PairMap.from_dict(json.loads(json.dumps(record)))
    points = grid_points(np.arange(0, 128, 9.0), np.arange(0, 96, 9.0))
    offset = points - [63.5, 47.5]
    straight = points + 0.01 * offset * (offset**2).sum(axis=1, keepdims=True) / 80**2
    assert found.surfaces is None
    assert found.holds(points).all()
    expected = apply_homography(HOMOGRAPHY, straight)
    assert np.allclose(found(points), expected, rtol=0, atol=1e-9)
    assert found.to_dict() == record
