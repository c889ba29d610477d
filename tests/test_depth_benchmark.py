"""The measures on scenes with depth: they find planted errors, and none where there is none."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_shards import write_shards

from dpedkit.align.pair import Alignment
from dpedkit.geometry import PairMap, apply_homography, grid_points
from dpedkit.images import write_photo
from dpedkit.patches import Patches
from dpedkit.surfaces import DOMINANT, ON_EDGE, Surfaces

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FAR, NEAR, HIDDEN = 0, 1, 255
SIZE = 60  # px of a window


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """Detail of several sizes, everywhere."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for sigma in (1.5, 4, 10):
        noise = rng.standard_normal((height, width, 1), dtype=np.float32)
        total += cv2.GaussianBlur(noise, (0, 0), sigma)[..., None] * sigma * 60
    return np.clip(128 + total, 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------- against the truth


@pytest.fixture
def layers():
    """A scene of two layers, and an alignment that is exact wherever there is a truth."""
    from depth_scenes import layered_scene

    scene = layered_scene(texture(0, 400, 500), texture(1, 400, 500), 12.0, [0, 1200, 0], 0.15)
    height, width = scene.labels.shape
    places = grid_points(np.arange(width), np.arange(height))
    truth, labels = scene.truth(places), scene.labels.ravel()
    far, near = labels == FAR, labels == NEAR
    phone_to_dslr, _ = cv2.findHomography(places[far], truth[far])
    back = apply_homography(np.linalg.inv(phone_to_dslr), truth[near]) - places[near]
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 12.0, atol=0.02)
    displacement = np.zeros((height, width, 2))
    displacement[scene.labels == NEAR] = back.mean(axis=0)
    names = np.full(scene.labels.shape, ON_EDGE, np.uint8)
    names[scene.labels == FAR], names[scene.labels == NEAR] = DOMINANT, DOMINANT + 1
    size, dslr_size = (width, height), (scene.dslr.shape[1], scene.dslr.shape[0])
    surfaces = Surfaces.of(1.0, names, displacement)
    exact = PairMap(phone_to_dslr, size, dslr_size, surfaces=surfaces)
    crop = (17, 11, width - 30, height - 20)
    phone = scene.phone[crop[1] : crop[1] + crop[3], crop[0] : crop[0] + crop[2]]
    return scene, Alignment("", exact, crop, phone, None, {"error": 0.01})


def kept_windows(corners, shift=None, angle=None) -> Patches:
    """Windows as if all had been kept, unless said otherwise where they are."""
    count = len(corners)
    zeros = np.zeros(count, np.float32)
    pixels = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    corners = np.array(corners, np.int32)
    return Patches(
        pixels, pixels, zeros + 1, corners,
        np.zeros((count, 2), np.float32) if shift is None else np.array(shift, np.float32),
        zeros if angle is None else np.array(angle, np.float32),
        zeros, corners, ("kept",) * count, zeros + 1, zeros,
    )  # fmt: skip


def corners_in(alignment):
    width, height = alignment.crop[2:]
    steps = [np.arange(0, side - SIZE, SIZE // 2) for side in (width, height)]
    return grid_points(*steps).astype(int)


def labels_of(scene, alignment, corners):
    x, y = alignment.crop[:2]
    return [scene.labels[y + b : y + b + SIZE, x + a : x + a + SIZE] for a, b in corners]


def test_the_exact_map_is_right_and_a_planted_error_is_found(layers):
    from depth_measures import score_claims, score_windows

    scene, alignment = layers
    corners = corners_in(alignment)
    patches = kept_windows(corners)
    claims = score_claims(alignment, scene)
    assert claims["p95"] < 0.02  # displacements are stored in 64ths of a px
    assert claims["off"] == claims["hidden_claimed"] == 0
    assert 0.7 < claims["held"] < 1
    windows = score_windows(alignment, patches, scene)
    assert windows["wrong"] == 0 < windows["wrong_or_hidden"]
    assert windows["tried"] == windows["kept"] == len(corners)
    assert 0 < windows["near"] == windows["near_kept"] < windows["one_layer"]

    exact = alignment.map.surfaces
    planted = exact.layer.displacement + [1.1, 0] * (exact.labels == DOMINANT + 1)[..., None]
    moved = replace(exact, layer=replace(exact.layer, displacement=planted))
    wrong_map = replace(alignment.map, surfaces=moved)
    amiss = replace(alignment, map=wrong_map)
    claims = score_claims(amiss, scene)
    near = (scene.labels == NEAR).sum() / (scene.labels != HIDDEN).sum()
    assert claims["off"] == pytest.approx(near, abs=0.1)
    assert claims["background"] < 0.02
    shares = [(part == NEAR).mean() for part in labels_of(scene, amiss, corners)]
    expected = np.greater(shares, 0.1).sum()
    assert score_windows(amiss, patches, scene)["wrong"] == pytest.approx(expected, abs=1)


def test_hidden_places_that_are_claimed_are_counted(layers):
    from depth_measures import score_claims

    scene, alignment = layers
    boastful = replace(alignment, map=replace(alignment.map, surfaces=None))
    claims = score_claims(boastful, scene)
    assert claims["held"] == claims["hidden_claimed"] == 1
    assert claims["off"] > 0.05
    assert claims["background"] < 1e-3


def test_a_window_is_judged_where_it_was_matched(layers):
    from depth_measures import score_windows

    scene, alignment = layers
    every = corners_in(alignment)
    corner = next(
        corner
        for corner, part in zip(every, labels_of(scene, alignment, every), strict=True)
        if (part == FAR).all()
    )
    flat = replace(alignment, map=replace(alignment.map, surfaces=None))
    wrong = [
        score_windows(flat, kept_windows([corner], [shift], [angle]), scene)["wrong"]
        for shift, angle in [((0, 0), 0), ((0.9, 0), 0), ((0, 1.1), 0), ((0, 0), 3)]
    ]
    assert wrong == [0, 0, 1, 1]
    # A map that is turned about the window's centre, and moved, is undone by its motion.
    x, y = corner + np.array(alignment.crop[:2]) + (SIZE - 1) / 2
    turn = np.vstack([cv2.getRotationMatrix2D((x, y), 3.0, 1.0), [0, 0, 1]])  # anticlockwise
    turn = turn @ [[1, 0, -4], [0, 1, 2], [0, 0, 1]]
    turned = replace(flat, map=replace(flat.map, phone_to_dslr=flat.map.phone_to_dslr @ turn))
    undone = kept_windows([corner], [(4, -2)], [3.0])
    assert score_windows(turned, undone, scene)["wrong"] == 0
    assert score_windows(turned, kept_windows([corner]), scene)["wrong"] == 1


# ------------------------------------------------------------------------------- the program


def test_the_program_prints_and_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    import depth

    (tmp_path / "photos").mkdir()
    for number in range(2):
        write_photo(tmp_path / "photos" / f"{number}.png", texture(number, 600, 800))
    phone = np.array([texture(seed, SIZE, SIZE) for seed in range(4)])
    train, val = phone[:3], phone[3:]
    splits = {"train": (train, train, np.array([0, 0, 1])), "val": (val, val, np.array([2]))}
    write_shards(tmp_path / "shards", splits)
    arguments = ["--photos", "photos", "--pairs", "1", "--parallax", "8", "--megapixels", "0.3"]
    arguments += ["--shards", "shards", "--json", "rows.json", "--tune"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["depth.py", *arguments])
    depth.main()
    printed = capsys.readouterr().out
    rows = json.loads(Path("rows.json").read_text())
    assert [row["part"] for row in rows] == ["layers", "simulated", "shards", "shards", "shards"]
    assert [row["reason"] for row in rows[:2]] == ["", ""]
    assert all(row["median"] < 0.2 for row in rows[:2])
    assert [row["patches"] for row in rows[2:]] == [2, 1, 1]
    assert "layers: seeds [0, parallax x 100, 0 to 0]" in printed
    assert "all patch pairs" in printed
