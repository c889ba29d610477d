"""`align_pair` against photos taken through a known map, and against what it must refuse."""

import cv2
import numpy as np
import pytest

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import align_pair, find_alignment
from dpedkit.geometry import PairMap, apply_homography, grid_points

PHONE_SIZE, SCENE_SIZE = (640, 480), (1000, 760)
# Phone pixels to scene pixels, by hand: half a scene pixel each, turned by 2 degrees, tilted.
TURN = np.deg2rad(2)
TO_SCENE = np.array(
    [
        [1.4 * np.cos(TURN), -1.4 * np.sin(TURN), 60],
        [1.4 * np.sin(TURN), 1.4 * np.cos(TURN), 20],
        [2e-5, -1e-5, 1],
    ]
)


def paint(seed=0, size=SCENE_SIZE):
    """Soft-edged coloured shapes of all sizes: detail at every scale, and no two places alike."""
    rng = np.random.default_rng(seed)
    scene = np.full((size[1], size[0], 3), 120, np.uint8)
    for _ in range(900):
        centre = tuple(int(v) for v in rng.uniform([0, 0], size))
        axes = tuple(int(v) for v in rng.gamma(2, 7, 2) + 2)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.ellipse(scene, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(scene, (0, 0), 0.8)


def photograph(scene, to_scene, size=PHONE_SIZE, noise=3.0, seed=0):
    """What a phone sees whose pixels map to the scene's by `to_scene`; darker and noisy."""
    fine = 3
    inner = (np.arange(fine) + 0.5) / fine - 0.5
    xs, ys = ((np.arange(side)[:, None] + inner).ravel() for side in size)
    maps = to_scene(grid_points(xs, ys)).reshape(len(ys), len(xs), 2).astype(np.float32)
    image = cv2.remap(scene, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    image = 255 * (image / 255) ** 1.2 * np.array([0.9, 1.0, 0.8])
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def true_map(k1=0.0, bump=0.0):
    homography = PairMap(TO_SCENE, PHONE_SIZE, SCENE_SIZE, (k1, 0.0, 0.0))

    def to_scene(points):
        wave = np.sin(points / np.array(PHONE_SIZE) * 2 * np.pi)
        return homography(points) + 1.4 * bump * wave[:, ::-1]

    return to_scene


def error_px(estimate, to_scene):
    """Mean distance between the two maps over the phone photo, in phone px."""
    points = grid_points(np.linspace(0, 639, 30), np.linspace(0, 479, 22))
    return float(np.linalg.norm(estimate(points) - to_scene(points), axis=1).mean() / 1.4)


SCENE = paint()


@pytest.mark.parametrize(
    ("k1", "bump", "limit"),
    [(0.0, 0.0, 0.02), (0.03, 0.0, 0.02), (-0.03, 0.0, 0.02), (0.01, 2.0, 0.1)],
)
def test_finds_the_map_the_phone_photo_was_taken_by(k1, bump, limit):
    truth = true_map(k1, bump)
    found = find_alignment(photograph(SCENE, truth), SCENE, AlignConfig())
    assert found.accepted, found.reason
    error = error_px(found.map, truth)
    assert error < limit
    assert found.evidence["model"] == ("field" if bump else "radial")


def test_aligned_images_show_the_same_pixel_for_pixel_and_the_phone_s_are_its_own():
    phone = photograph(SCENE, true_map(), noise=0)
    found = align_pair(phone, SCENE)
    x, y, width, height = found.crop
    assert found.phone.shape == found.dslr.shape == (height, width, 3)
    assert np.array_equal(found.phone, phone[y : y + height, x : x + width])
    # Undo the phone's colours, then compare with the DSLR crop.
    undone = 255 * (found.phone / (255 * np.array([0.9, 1.0, 0.8]))) ** (1 / 1.2)
    inner = (slice(8, -8), slice(8, -8))
    difference = undone[inner] - found.dslr[inner]
    assert np.sqrt((difference**2).mean()) < 2.0


def test_crop_is_the_part_the_dslr_photo_covers():
    truth = true_map()
    dslr = SCENE[:, :600]
    found = find_alignment(photograph(SCENE, truth), dslr, AlignConfig())
    x, y, width, height = found.crop
    corners = grid_points(np.array([x, x + width - 1]), np.array([y, y + height - 1]))
    assert (truth(corners) <= [599.5, 760]).all() and (truth(corners) >= -0.5).all()
    wider = corners + np.array([[0, 0], [4, 0], [0, 0], [4, 0]])
    assert (truth(wider)[:, 0] > 597).any()


@pytest.mark.parametrize("turns", [1, 2])
def test_turned_photos_align(turns):
    phone = np.ascontiguousarray(np.rot90(photograph(SCENE, true_map()), turns))
    assert align_pair(phone, SCENE).accepted


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / 10).astype(np.uint8),
        lambda p: cv2.resize(p, (160, 120), interpolation=cv2.INTER_AREA),
        lambda p: np.clip(p + np.random.default_rng(0).normal(0, 30, p.shape), 0, 255).astype("u1"),
    ],
    ids=["ten times darker", "a quarter of the size", "heavy noise"],
)
def test_hard_but_honest_photos_align(change):
    found = find_alignment(change(photograph(SCENE, true_map())), SCENE, AlignConfig(min_size=100))
    assert found.accepted, found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: photograph(paint(1), true_map()), "in common"),
        (lambda p: np.ascontiguousarray(p[:, ::-1]), "in common"),
        (lambda p: 255 - p, "in common"),
        (lambda p: np.full_like(p, 90), "blank"),
        (lambda p: np.random.default_rng(0).integers(0, 256, p.shape, np.uint8), "in common"),
        (lambda p: cv2.resize(p, (64, 48)), "64 x 48 px"),
        (lambda p: p[:1, :1], "1 x 1 px"),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 8), "out of focus"),
    ],
    ids=["another scene", "mirrored", "negative", "blank", "noise", "tiny", "one pixel", "blurred"],
)
def test_what_cannot_be_aligned_is_refused_with_its_reason(change, reason):
    found = align_pair(change(photograph(SCENE, true_map())), SCENE)
    assert not found.accepted
    assert reason in found.reason
    assert found.phone is None and found.dslr is None


def symmetric_scene():
    half = paint(3, (500, 760))
    scene = np.concatenate([half, half[:, ::-1]], axis=1)
    rng = np.random.default_rng(5)
    for _ in range(120):  # things that are not symmetric
        centre = tuple(int(v) for v in rng.uniform([0, 0], SCENE_SIZE))
        cv2.circle(scene, centre, 25, tuple(int(v) for v in rng.integers(0, 256, 3)), -1)
    return scene


def test_a_mirrored_photo_of_a_nearly_symmetric_scene_is_refused():
    scene = symmetric_scene()
    straight = photograph(scene, lambda points: points * 1.4 + [50, 40])
    assert align_pair(straight, scene).accepted
    mirrored = align_pair(np.ascontiguousarray(straight[:, ::-1]), scene)
    assert "mirrored" in mirrored.reason


def brick_wall(marks):
    """A wall whose bricks are all alike, with some marks that are not."""
    tile = paint(4, (100, 80))
    wall = np.tile(tile, (10, 10, 1))[: SCENE_SIZE[1], : SCENE_SIZE[0]].copy()
    rng = np.random.default_rng(6)
    for _ in range(marks):
        centre = tuple(int(v) for v in rng.uniform([0, 0], SCENE_SIZE))
        cv2.circle(wall, centre, 14, tuple(int(v) for v in rng.integers(0, 256, 3)), -1)
    return wall


def test_repeated_texture_is_accepted_only_where_something_tells_the_places_apart():
    truth = true_map()
    marked = brick_wall(40)
    found = find_alignment(photograph(marked, truth), marked, AlignConfig())
    assert found.accepted, found.reason
    assert error_px(found.map, truth) < 0.05
    assert not align_pair(photograph(brick_wall(0), truth), brick_wall(0)).accepted


def test_gates_are_options():
    phone = photograph(SCENE, true_map())
    assert "(minimum 10000)" in align_pair(phone, SCENE, AlignConfig(min_verified=10_000)).reason
    assert "apart" in align_pair(phone, SCENE, AlignConfig(max_residual=1e-6)).reason
    assert "covers only" in align_pair(phone, SCENE[:, :600], AlignConfig(min_overlap=0.9)).reason
    assert "out of focus" in align_pair(phone, SCENE, AlignConfig(max_blur=0.5)).reason


def test_a_second_matcher_serves_as_well():
    truth = true_map(0.01)
    found = find_alignment(photograph(SCENE, truth), SCENE, AlignConfig(matcher="orb"))
    assert found.accepted, found.reason
    assert error_px(found.map, truth) < 0.02


def test_stated_error_is_near_the_true_one():
    ratios = []
    for seed in range(4):
        truth = true_map(0.01)
        phone = photograph(paint(10 + seed), truth, noise=6, seed=seed)
        found = find_alignment(phone, paint(10 + seed), AlignConfig())
        ratios.append(error_px(found.map, truth) / found.evidence["error"])
    assert 0.5 < np.median(ratios) < 2.0


def test_a_view_from_far_aside_is_refused_by_that_reason():
    aside = np.array([[3.5, 0.0, 60.0], [0.3, 1.3, 40.0], [4e-3, 0.0, 1.0]])

    def to_scene(points):
        return apply_homography(aside, points)

    refused = align_pair(photograph(SCENE, to_scene), SCENE)
    assert not refused.accepted
    assert "too far apart" in refused.reason


@pytest.mark.parametrize("share", [0.15, 0.155, 0.16])
def test_a_narrow_strip_in_common_is_aligned_or_refused_in_words(share):
    """All blocks of the smallest size may lie in one column there, which determines no map."""
    wide = paint(7, (2400, 900))
    left = round(1200 * (1 - share))
    noise = np.random.default_rng(5).normal(0, 2, (2, 900, 1200, 3))
    phone, dslr = (
        np.clip(part + noise[side], 0, 255).astype(np.uint8)
        for side, part in enumerate((wide[:, :1200], wide[:, left : left + 1200]))
    )
    found = find_alignment(phone, dslr, AlignConfig())
    if found.accepted:
        x, y, width, height = found.crop
        points = grid_points(np.linspace(x, x + width - 1, 5), np.linspace(y, y + height - 1, 9))
        assert np.abs(found.map(points) - (points - [left, 0])).max() < 0.1
    else:
        assert len(found.reason) > 20


def test_blocks_that_determine_no_map_are_a_refusal(monkeypatch):
    def undetermined(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    photo = photograph(SCENE, true_map())
    for name, said in (
        ("refine.fit_map", "cannot be refined"),
        ("pair.fit_depth", "narrow a strip"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"dpedkit.align.{name}", undetermined)
            assert said in find_alignment(photo, SCENE, AlignConfig()).reason


def test_a_side_beyond_what_can_be_resampled_is_refused():
    long = np.tile(paint(3, (400, 160)), (1, 100, 1))
    assert "the maximum side is 32766 px" in align_pair(long, SCENE).reason
    assert "the maximum side is 32766 px" in align_pair(SCENE, long).reason


def test_identical_photos_are_aligned_without_a_complaint():
    found = find_alignment(SCENE, SCENE, AlignConfig())
    assert found.accepted, found.reason
    assert found.evidence["error"] < 0.01
