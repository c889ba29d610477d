"""Simulated scenes with depth: each surface is where its map says, and what is hidden is marked."""

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np
import pytest

from dpedkit import images
from dpedkit.core import manifest
from dpedkit.core.errors import DpedkitError
from dpedkit.geometry import PairMap, apply_homography, grid_points
from dpedkit.simulate.cameras import draw_position
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import Shot, simulate_folders, simulate_pair
from dpedkit.simulate.truth import OCCLUDED, Truth

DEEP = SimulateConfig(pairs=3, phone_megapixels=0.3, dslr_megapixels=0.8, disparity=24.0)
TINY = dataclasses.replace(DEEP, phone_megapixels=0.04, dslr_megapixels=0.12, disparity=12.0)

# Several tests look at the same pairs, from several sides.
photographed = functools.lru_cache(maxsize=8)(simulate_pair)


def luma(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 6)
    return cv2.GaussianBlur((grey - mean) / (np.abs(grey - mean).mean() + 1), (0, 0), 0.8)


def all_points(shot: Shot) -> np.ndarray:
    height, width = shot.phone.shape[:2]
    return grid_points(np.arange(width), np.arange(height))


def through(surface: PairMap, shot: Shot) -> np.ndarray:
    """The DSLR photo resampled onto the phone's pixels as if all of it were on one surface."""
    grid = surface(all_points(shot)).astype(np.float32).reshape(*shot.phone.shape[:2], 2)
    return cv2.remap(cv2.GaussianBlur(shot.dslr, (0, 0), 0.9), grid, None, cv2.INTER_LINEAR)


BENT = dataclasses.replace(DEEP, k1=-0.05, parallax=4.0, rotation=20.0)


@pytest.mark.parametrize(
    ("config", "index"), [(DEEP, 0), (DEEP, 1), (DEEP, 3), (BENT, 0), (BENT, 2)]
)
def test_each_surface_is_where_its_map_says(config, index):
    """Around the truth, any shift fits worse, and the best shift is a small part of a pixel."""
    shot = photographed(config, index)
    phone = luma(shot.phone)
    seen = 0
    for number, surface in enumerate(shot.pixel_truth.surfaces):
        core = cv2.erode((shot.labels == number).astype(np.uint8), np.ones((17, 17))) > 0
        if core.sum() < 800:
            continue
        seen += 1
        dslr = luma(through(surface, shot))
        error = {
            (dx, dy): float(np.square(np.roll(dslr, (dy, dx), (0, 1)) - phone)[core].mean())
            for dx, dy in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
        }
        assert min(error, key=error.__getitem__) == (0, 0)
        for ahead, behind in (((1, 0), (-1, 0)), ((0, 1), (0, -1))):
            peak = 0.5 * (error[ahead] - error[behind])
            peak /= error[ahead] + error[behind] - 2 * error[0, 0]
            assert abs(peak) < 0.1
    assert seen >= 3


@pytest.mark.parametrize("index", range(2))
def test_what_is_hidden_follows_from_the_outlines(index):
    """The labels agree with rays cast at the outlines themselves, which know nothing of pixels."""
    config = dataclasses.replace(DEEP, objects=5)
    labels = simulate_pair(config, index).labels
    position = draw_position(config, index)
    height, width = labels.shape
    points = np.random.default_rng(0).integers(0, [width, height], (2000, 2))
    expected, clear = [], []
    for point in points:
        label, distance = first_hit(position.surfaces, point[None].astype(float))
        expected.append(label)
        clear.append(distance > 6)
    found = labels[points[:, 1], points[:, 0]]
    wrong = (found != expected)[clear]
    assert np.mean(clear) > 0.6
    assert np.sum(np.array(expected)[clear] == OCCLUDED) > 50
    assert not wrong.any()


def first_hit(surfaces, point) -> tuple[int, float]:
    """The label of a phone point, and how far the nearest edge is that decides it, in DSLR px."""
    nearest = np.inf
    for number in reversed(range(len(surfaces))):
        there = surfaces[number].map(point)[0]
        depth = signed_distance(surfaces[number].outline, there)
        nearest = min(nearest, abs(depth))
        if depth > 0:
            break
    limit = np.array(surfaces[0].map.dslr_size) - 1
    border = float(min(there.min(), (limit - there).min()))
    in_front = [
        signed_distance(surface.outline, there)
        for surface in surfaces[number + 1 :]
        if not surface.joined
    ]
    nearest = min([nearest, abs(border), *map(abs, in_front)])
    hidden = border < 0 or max(in_front, default=-1.0) > 0
    return (OCCLUDED if hidden else number), nearest


def signed_distance(outline, point) -> float:
    if outline is None:
        return np.inf
    return cv2.pointPolygonTest(outline.astype(np.float32), tuple(point.tolist()), True)


@pytest.mark.parametrize("index", range(2))
def test_no_pixel_on_an_edge_counts_as_seen(index):
    """Pixels of two surfaces never touch, unless the one continues the other."""
    labels = photographed(DEEP, index).labels.astype(int)
    solid = np.arange(OCCLUDED + 1)
    solid[1] = 0 if draw_position(DEEP, index).surfaces[1].joined else 1
    apart = 0
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        a = labels[: labels.shape[0] - dy, : labels.shape[1] - dx]
        b = labels[dy:, dx:]
        seen = (a != OCCLUDED) & (b != OCCLUDED)
        assert (solid[a] == solid[b])[seen].all()
        apart += ((a == OCCLUDED) != (b == OCCLUDED)).sum()
    assert apart > 100


@pytest.mark.parametrize("index", range(2))
def test_no_surface_explains_what_is_hidden(index):
    shot = photographed(DEEP, index)
    phone, truth = luma(shot.phone), shot.pixel_truth
    errors = [np.abs(luma(through(surface, shot)) - phone) for surface in truth.surfaces]
    inside = np.stack([inside_dslr(surface, shot) for surface in truth.surfaces]).all(axis=0)
    unseen = cv2.erode((shot.labels == OCCLUDED).astype(np.uint8), np.ones((9, 9))) > 0
    assert (inside & unseen).sum() > 1000
    hidden = [np.median(error[inside & unseen]) for error in errors]
    own = [error[inside & (shot.labels == number)] for number, error in enumerate(errors)]
    assert min(hidden) > 4 * np.median(np.concatenate(own))


def inside_dslr(surface: PairMap, shot: Shot) -> np.ndarray:
    points = surface(all_points(shot))
    inside = ((points > 3) & (points < np.array(surface.dslr_size) - 4)).all(axis=1)
    return inside.reshape(shot.phone.shape[:2])


def test_displacements_are_as_large_as_asked_for_and_along_one_baseline():
    config = dataclasses.replace(TINY, k1=0.0, objects=4)
    largest = []
    for index in range(5):
        shot = simulate_pair(config, index)
        truth = shot.pixel_truth
        moved = truth.displacement(all_points(shot))
        known = np.isfinite(moved).all(axis=1)
        assert (known == (shot.labels.ravel() != OCCLUDED)).mean() > 0.9999
        length = np.linalg.norm(moved[known], axis=1)
        largest.append(length.max())
        assert length.max() < config.disparity + 1e-6
        far = truth.surface_at(all_points(shot))[known]
        assert length[far == 0].max() < 1e-6
        means = [length[far == number].mean() for number in np.unique(far)]
        assert means == sorted(means), "the farthest surface comes first"
        direction = moved[known][length > 1] / length[length > 1, None]
        assert np.ptp(direction, axis=0).max() < 1e-6
        assert abs(direction[0, 0]) > 0.86, "the cameras stand side by side"
    assert min(largest) > 0.8 * config.disparity and max(largest) > 0.98 * config.disparity


def test_ground_meets_the_farthest_surface_without_a_step():
    joined = [draw_position(DEEP, index).surfaces[1].joined for index in range(20)]
    assert 9 <= sum(joined) <= 18, "ground in many scenes, not in all"
    for index in np.flatnonzero(joined)[:2]:
        shot = photographed(DEEP, int(index))
        at_the_line = (shot.labels[:-1] == 0) & (shot.labels[1:] == 1)
        rows, columns = np.nonzero(at_the_line)
        assert len(rows) > 100, "the line itself is no edge"
        below = np.stack([columns, rows + 1], axis=1).astype(float)
        truth = shot.pixel_truth
        assert np.abs(truth.displacement(below)).max() < 0.3
        rows, columns = np.nonzero(shot.labels == 1)
        lowest = np.array([[columns[-1], rows[-1]]], float)
        assert 1 < np.abs(truth.displacement(lowest)).max() < 0.5 * DEEP.disparity


def test_things_are_as_many_and_as_large_as_asked_for():
    config = dataclasses.replace(DEEP, objects=6)
    parts, slanted = [], 0
    for index in range(10):
        position = draw_position(config, index)
        things = [surface for surface in position.surfaces[1:] if not surface.joined]
        assert len(things) == 6
        for thing in things:
            back = np.linalg.inv(thing.map.phone_to_dslr)
            outline = apply_homography(back, thing.outline).astype(np.float32)
            parts.append(cv2.contourArea(outline) / np.prod(position.map.phone_size))
            step = np.linalg.inv(position.map.phone_to_dslr) @ thing.map.phone_to_dslr
            slanted += bool(np.abs((step / step[2, 2])[:2, :2] - np.eye(2)).max() > 1e-6)
    assert 0.039 < min(parts) < 0.06 and 0.22 < max(parts) < 0.301
    assert 15 < slanted < 45


def test_things_hide_more_the_nearer_they_are():
    def hidden(disparity: float) -> float:
        config = dataclasses.replace(TINY, disparity=disparity, objects=1)
        centres = [simulate_pair(config, index).labels[30:-30, 40:-40] for index in range(3)]
        return float(np.mean([labels == OCCLUDED for labels in centres]))

    assert hidden(2.0) < 0.6 * hidden(20.0)


def test_a_flat_scene_stays_as_it_is(tmp_path):
    flat = dataclasses.replace(TINY, disparity=0.0)
    simulate_folders(tmp_path, flat, jobs=1)
    records = manifest.read_jsonl(tmp_path / "truth.jsonl")
    assert all(set(record) == {"name", "scene", "map", "overlap", "camera"} for record in records)
    assert not (tmp_path / "truth").exists()
    truth = Truth.read(tmp_path, "0002")
    assert len(truth.surfaces) == 1 and not truth.labels.any()
    point = np.array([[100.0, 80.0]])
    np.testing.assert_array_equal(truth(point), truth.surfaces[0](point))
    assert np.abs(truth.displacement(point)).max() < 1e-6
    others = simulate_pair(dataclasses.replace(flat, objects=9), 1)
    np.testing.assert_array_equal(others.phone, simulate_pair(flat, 1).phone)


def test_a_disparity_changes_neither_cameras_nor_the_farthest_surface():
    flat, deep = (draw_position(dataclasses.replace(TINY, disparity=d), 1) for d in (0.0, 12.0))
    assert flat.map.to_dict() == deep.map.to_dict()


def contents(folder: Path) -> dict[str, bytes]:
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in (".jpg", ".jsonl", ".png")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_bytes_for_any_number_of_workers(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    simulate_folders(one, TINY, jobs=1)
    simulate_folders(two, TINY, jobs=2)
    assert contents(one) == contents(two)
    assert "truth/0003.png" in contents(one)


def test_truth_is_read_as_it_was_made(tmp_path):
    simulate_folders(tmp_path, TINY, jobs=1)
    truth, made = Truth.read(tmp_path, "0002"), photographed(TINY, 1).pixel_truth
    np.testing.assert_array_equal(truth.labels, made.labels)
    assert [s.to_dict() for s in truth.surfaces] == [s.to_dict() for s in made.surfaces]
    record = manifest.read_jsonl(tmp_path / "truth.jsonl")[1]
    assert record["map"] == record["surfaces"][0]
    with pytest.raises(DpedkitError, match="no pair '0009'"):
        Truth.read(tmp_path, "0009")
    images.write_photo(tmp_path / "truth" / "0002.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DpedkitError, match="size"):
        Truth.read(tmp_path, "0002")


def test_points_out_of_sight_have_no_counterpart():
    truth = photographed(TINY, 0).pixel_truth
    height, width = truth.labels.shape
    rows, columns = np.nonzero(truth.labels == OCCLUDED)
    unseen = np.stack([columns, rows], axis=1).astype(float)
    beyond = np.array([[-1.0, 5.0], [5.0, -1.0], [width, 5.0], [5.0, height], [np.nan, 5.0]])
    for points in (unseen, beyond):
        assert np.isnan(truth(points)).all() and np.isnan(truth.displacement(points)).all()
    rows, columns = np.nonzero(truth.labels != OCCLUDED)
    mapped = truth(np.stack([columns, rows], axis=1).astype(float))
    assert np.isfinite(mapped).all(axis=1).mean() > 0.999


def test_things_show_another_photo_of_the_folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("a", (200, 40, 40)), ("b", (40, 40, 200))):
        images.write_photo(folder / f"{name}.png", np.full((300, 420, 3), colour, np.uint8))
    simulate_folders(tmp_path / "raw", TINY, photos=folder, jobs=1)
    for name, own, other in (("0001", 0, 2), ("0002", 2, 0)):
        dslr = images.read_photo(tmp_path / f"raw/canon/{name}.jpg").astype(int)
        assert 0.05 < (dslr[:, :, other] > dslr[:, :, own]).mean() < 0.7


def test_things_of_a_single_photo_show_other_parts_of_it():
    y, x = np.mgrid[0:300, 0:420]
    photo = np.dstack([x * 0.6, y * 0.8, 0 * x]).astype(np.uint8)
    flat = simulate_pair(dataclasses.replace(TINY, disparity=0.0), 0, photo)
    deep = simulate_pair(TINY, 0, photo)
    assert deep.dslr.shape[2] == flat.dslr.shape[2] == 3
    truth = deep.pixel_truth
    on_thing = np.isin(truth.labels, range(2, 5))
    expected = cv2.resize(flat.phone, deep.phone.shape[1::-1])
    off = np.abs(expected.astype(int) - deep.phone).max(axis=2)
    assert np.median(off[on_thing]) > 25 > 3 * np.median(off[truth.labels == 0])
