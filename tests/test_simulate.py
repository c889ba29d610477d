"""The simulated rig: its truth is true, and its photos are the same every time."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from dpedkit import images
from dpedkit.core import manifest
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.geometry import PairMap, grid_points
from dpedkit.simulate.cameras import draw_phone, draw_position
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import Shot, simulate_folders, simulate_pair
from dpedkit.simulate.scenes import SCENES, paint_scene
from dpedkit.simulate.textures import fractal

SMALL = SimulateConfig(pairs=3, phone_megapixels=0.04, dslr_megapixels=0.12)


def seen_through_truth(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """The DSLR photo resampled onto the phone's pixels by the recorded map, and where it is."""
    truth = PairMap.from_dict(shot.truth["map"])
    height, width = shot.phone.shape[:2]
    points = truth(grid_points(np.arange(width), np.arange(height)))
    grid = points.astype(np.float32).reshape(height, width, 2)
    soft = cv2.GaussianBlur(shot.dslr, (0, 0), 0.9)
    warped = cv2.remap(soft, grid, None, cv2.INTER_LINEAR)
    inside = ((points > 3) & (points < np.array(truth.dslr_size) - 4)).all(axis=1)
    return warped, inside.reshape(height, width)


def luma(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 6)
    return cv2.GaussianBlur((grey - mean) / (np.abs(grey - mean).mean() + 1), (0, 0), 0.8)


@pytest.mark.parametrize(
    "changes", [{}, {"k1": -0.05}, {"parallax": 4.0}, {"rotation": 20.0, "perspective": 0.2}]
)
def test_the_recorded_map_is_the_one_photographed(changes):
    """Around the truth, any shift fits worse, and the best shift is a small part of a pixel."""
    config = dataclasses.replace(SMALL, phone_megapixels=0.2, dslr_megapixels=0.6, **changes)
    shot = simulate_pair(config, 3)
    warped, inside = seen_through_truth(shot)
    phone, dslr = luma(shot.phone), luma(warped)
    core = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))).astype(bool)
    error = {
        (dx, dy): float(np.square(np.roll(dslr, (dy, dx), (0, 1)) - phone)[core].mean())
        for dx, dy in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    }
    assert min(error, key=error.__getitem__) == (0, 0)
    for ahead, behind in (((1, 0), (-1, 0)), ((0, 1), (0, -1))):
        peak = 0.5 * (error[ahead] - error[behind])
        peak /= error[ahead] + error[behind] - 2 * error[0, 0]
        assert abs(peak) < 0.08


def test_overlap_is_as_asked_for():
    config = SimulateConfig(min_overlap=0.6, max_overlap=0.95)
    overlaps = [draw_position(config, index).overlap for index in range(60)]
    assert 0.55 < min(overlaps) < 0.7 and 0.88 < max(overlaps) < 0.98


def test_both_frames_lie_in_the_scene():
    config = SimulateConfig(rotation=10, perspective=0.1, k1=0.05, parallax=5)
    for index in range(20):
        position = draw_position(config, index)
        width, height = position.map.phone_size
        edge = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], float)
        low = np.array(position.origin)
        for points in (position.map(edge), np.array([[0, 0], position.map.dslr_size])):
            in_scene = points + low
            assert (in_scene >= 0).all() and (in_scene <= position.scene_size).all()


def test_parallax_is_as_large_as_asked_for():
    rigid = draw_position(SimulateConfig(), 0).map
    deep = draw_position(SimulateConfig(parallax=5.0), 0).map
    points = grid_points(np.linspace(0, 1600, 30), np.linspace(0, 1200, 30))
    moved = np.linalg.norm(deep.displacement(points) - rigid.displacement(points), axis=1)
    assert 3.0 < moved.max() <= 5.0


def test_same_bytes_for_any_number_of_workers(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    simulate_folders(one, SMALL, jobs=1)
    simulate_folders(two, SMALL, jobs=2)
    assert contents(one) == contents(two)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".jpg", ".jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_more_pairs_leave_the_first_ones_as_they_are(tmp_path):
    simulate_folders(tmp_path / "few", dataclasses.replace(SMALL, pairs=2), jobs=1)
    simulate_folders(tmp_path / "many", SMALL, jobs=1)
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    truth = few.pop("truth.jsonl")
    assert many["truth.jsonl"].startswith(truth)
    assert few.items() <= many.items()


def test_a_stopped_run_is_continued(tmp_path, monkeypatch):
    write = images.write_photo

    def stop_at_the_second_dslr_photo(path, *args, **options):
        if path.match("canon/0002.jpg"):
            raise KeyboardInterrupt
        write(path, *args, **options)

    monkeypatch.setattr(images, "write_photo", stop_at_the_second_dslr_photo)
    with pytest.raises(KeyboardInterrupt):
        simulate_folders(tmp_path / "raw", SMALL, jobs=1)
    monkeypatch.setattr(images, "write_photo", write)
    assert simulate_folders(tmp_path / "raw", SMALL, jobs=1).made == 2
    assert simulate_folders(tmp_path / "raw", SMALL, jobs=1).made == 0
    simulate_folders(tmp_path / "clean", SMALL, jobs=1)
    assert contents(tmp_path / "raw") == contents(tmp_path / "clean")


def test_other_settings_are_refused(tmp_path):
    tiny = dataclasses.replace(SMALL, pairs=1)
    simulate_folders(tmp_path / "raw", tiny, jobs=1)
    other = dataclasses.replace(tiny, seed=1)
    with pytest.raises(DpedkitError, match="--overwrite"):
        simulate_folders(tmp_path / "raw", other, jobs=1)
    simulate_folders(tmp_path / "raw", other, jobs=1, overwrite=True)


def test_real_photos_as_scenes(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("wide", (300, 420)), ("upright", (420, 300))):
        field = 128 + 40 * fractal(rng, *size)
        images.write_photo(folder / f"{name}.png", np.dstack([field] * 3).clip(0, 255).astype("u1"))
    config = dataclasses.replace(SMALL, pairs=2)
    simulate_folders(tmp_path / "raw", config, photos=folder, jobs=1)
    for record in manifest.read_jsonl(tmp_path / "raw" / "truth.jsonl"):
        truth = PairMap.from_dict(record["map"])
        assert images.photo_size(tmp_path / f"raw/canon/{record['name']}.jpg") == truth.dslr_size
        assert images.photo_size(tmp_path / f"raw/iphone/{record['name']}.jpg") == truth.phone_size
        assert 200 < truth.dslr_size[0] <= 420, "as large as the photo allows"


def test_a_photo_too_small_to_be_a_scene():
    with pytest.raises(DpedkitError, match="too small"):
        simulate_pair(SMALL, 0, np.zeros((20, 30, 3), np.uint8))


def test_one_phone_takes_all_photos():
    config = SimulateConfig()
    phones = [draw_phone(config, index) for index in range(5)]
    assert len({phone.gamma for phone in phones}) == 1
    assert len({phone.mixing for phone in phones}) == 1
    assert len({phone.gains for phone in phones}) == 5, "exposure differs from photo to photo"
    others = dataclasses.replace(config, new_phone_each_pair=True)
    gammas = [draw_phone(others, index).gamma[0] for index in range(40)]
    assert min(gammas) < 0.85 and max(gammas) > 1.2


def test_the_phone_is_worse_in_the_ways_asked_for():
    still = dataclasses.replace(SMALL, noise=0.0, blur=0.0, vignetting=0.0, jpeg_quality=100)
    noisy = dataclasses.replace(still, noise=10.0)
    a, b = simulate_pair(still, 1).phone.astype(float), simulate_pair(noisy, 1).phone.astype(float)
    inner = (a > 40) & (a < 215)
    assert 5 < (b - a)[inner].std() < 15
    blurred = simulate_pair(dataclasses.replace(still, blur=2.0), 1).phone
    assert cv2.Laplacian(blurred, cv2.CV_64F).std() < 0.5 * cv2.Laplacian(a, cv2.CV_64F).std()
    dark = simulate_pair(dataclasses.replace(still, vignetting=0.8), 1).phone.astype(float)
    assert dark[:20, :20].mean() < 0.75 * a[:20, :20].mean()
    centre = (slice(75, 100), slice(95, 135))
    assert dark[centre].mean() == pytest.approx(a[centre].mean(), rel=0.06)


@pytest.mark.parametrize("kind", range(len(SCENES)))
@pytest.mark.parametrize("size", [(90, 70), (401, 303), (300, 420)])
def test_scenes_of_any_size(kind, size):
    scene = paint_scene(np.random.default_rng(kind), kind, *size)
    assert scene.shape == (size[1], size[0], 3)
    assert 45 < scene.mean() < 200 and scene.std() > 25


def test_overlap_limits_must_be_in_order():
    with pytest.raises(UsageError, match="max_overlap"):
        SimulateConfig(min_overlap=0.9, max_overlap=0.8)


def test_fractal_fields_are_normalised_and_rough():
    field = fractal(np.random.default_rng(0), 200, 300)
    assert field.shape == (200, 300)
    assert abs(field.mean()) < 1e-3 and field.std() == pytest.approx(1, abs=1e-3)
    coarse = cv2.resize(field, (30, 20), interpolation=cv2.INTER_AREA)
    assert coarse.std() > 0.5, "most of the variance is in large structures"
