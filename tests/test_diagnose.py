"""Whether a network fits photos, with cameras that differ in one property each."""

import json

import numpy as np
import pytest
from fake_shards import write_shards
from scipy import ndimage

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.images import write_photo
from dpedkit.models import build_generator, read_card, save_model
from dpedkit.photostatistics import (
    MEASURES,
    PhotoStatistics,
    measure_photo,
    measure_windows,
    statistics_of_training,
)
from dpedkit.shards.index import PAIRS_FILE
from dpedkit.training.config import TrainConfig

SIZE = 32
SIDES = (224, 320)  # height and width of a photo


def scene(seed):
    """A picture with detail of all sizes, as photos have it: (224, 320, 3), mean about 0.45."""
    rng = np.random.default_rng(seed)
    layers = [
        ndimage.gaussian_filter(rng.standard_normal((*SIDES, 3)), (sigma, sigma, 0)) * sigma
        for sigma in (0.7, 1.5, 3, 6, 12, 24)
    ]
    picture = sum(layers)
    picture += 2 * picture.mean(axis=2, keepdims=True)  # mostly grey
    return 0.45 + 0.12 * rng.standard_normal() * 0.5 + 0.1 * picture / picture.std()


def camera(picture, seed, *, gains=(1.0, 1.0, 1.0), noise=2.0, blur=0.0, gain=1.0):
    """What a camera makes of a scene: (H, W, 3) uint8."""
    rng = np.random.default_rng(1000 + seed)
    seen = ndimage.gaussian_filter(picture, (blur, blur, 0)) * gains * gain
    levels = 255 * seen + noise * rng.standard_normal(picture.shape)
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


def photos_of(folder, seeds, enlarged=1, **properties):
    folder.mkdir()
    for seed in seeds:
        photo = camera(scene(seed), seed, **properties)
        if enlarged > 1:
            photo = photo.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
        write_photo(folder / f"{seed}.png", photo)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Patches of ten photos of the camera that the network is trained for."""
    patches, pairs = [], []
    for pair in range(10):
        photo = camera(scene(pair), pair)
        grid = photo.reshape(SIDES[0] // SIZE, SIZE, SIDES[1] // SIZE, SIZE, 3).swapaxes(1, 2)
        own = grid.reshape(-1, SIZE, SIZE, 3)[::3]
        patches.append(own)
        pairs.append(np.full(len(own), pair))
    phone = np.concatenate(patches)
    split = (phone, phone[..., ::-1].copy(), np.concatenate(pairs))
    folder = write_shards(tmp_path_factory.mktemp("diagnose") / "shards", {"train": split})
    told = {"cameras": ["Small Phone", ""], "kept": 9, "phone_size": [SIDES[1], SIDES[0]]}
    told |= {"phone": "phone/a.png", "dslr": "dslr/a.png"}
    write_jsonl(folder / PAIRS_FILE, [line | told for line in read_jsonl(folder / PAIRS_FILE)])
    return folder


@pytest.fixture(scope="module")
def run(shards):
    config = TrainConfig(
        generator="colour-residual", content="msssim-l1", steps=1, batch=4, evaluate_patches=4
    )
    return stages.train(shards, config, runs=shards.parent / "runs").folder


def unlike(found):
    return {name for name, finding in found.findings.items() if not finding.is_alike}


def test_other_scenes_of_the_same_camera_fit(run, tmp_path):
    found = stages.diagnose(run, photos_of(tmp_path / "same", range(20, 28)))
    assert unlike(found) == set() and found.fits
    assert "are like those of the training" in found.verdict()
    assert found.findings.keys() == MEASURES.keys()


@pytest.mark.parametrize(
    ("properties", "measures", "words"),
    [
        ({"gains": (1.25, 1.0, 0.8)}, {"red_green", "blue_green"}, ("redder", "less blue")),
        ({"noise": 12.0}, {"noise"}, ("noisier",)),
        ({"blur": 1.5}, {"sharpness"}, ("softer",)),
        ({"gain": 0.4}, {"brightness"}, ("darker",)),
        ({"enlarged": 2}, {"megapixels", "sharpness"}, ("more pixels", "softer")),
    ],
)
def test_another_camera_is_told_by_what_is_different(run, tmp_path, properties, measures, words):
    found = stages.diagnose(run, photos_of(tmp_path / "other", range(20, 28), **properties))
    assert measures <= unlike(found) and not found.fits
    assert set(MEASURES) - unlike(found), "everything is said to be different"
    verdicts = [finding.verdict(name) for name, finding in found.findings.items()]
    assert all(any(word in verdict for verdict in verdicts) for word in words)


def test_the_command(run, tmp_path, capsys):
    folder = photos_of(tmp_path / "dark", range(20, 23), gain=0.4)
    (folder / "broken.jpg").write_bytes(b"no photo")
    assert execute(["diagnose", str(run), str(folder), "-q"]) == 0
    text = capsys.readouterr().out
    assert "far from training: darker" in text and "Train with pairs of this camera" in text
    assert "on 3 photos" in text and "Fewer than 5 photos" in text
    (folder / "broken.jpg").unlink()
    assert execute(["diagnose", str(run), str(folder), "--json", "--limit", "2", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["photos"], found["given"]) == (2, 3)
    assert found["measures"]["brightness"]["distance"] < -4 and not found["fits"]


@pytest.mark.parametrize("content", [None, "small", "flat"])
def test_photos_that_cannot_be_measured(run, tmp_path, capsys, content):
    folder = tmp_path / "photos"
    folder.mkdir()
    if content:
        side = SIZE - 1 if content == "small" else 2 * SIZE
        write_photo(folder / "a.png", np.full((side, side, 3), 90, np.uint8))
    assert execute(["diagnose", str(run), str(folder), "-q"]) == 1
    assert capsys.readouterr().err.count("Traceback") == 0


def test_networks_of_earlier_versions_are_told_what_to_do(shards, run, tmp_path):
    old = tmp_path / "old.safetensors"
    trained_on = {"training": {"shards": read_card(run)["training"]["shards"]}}
    save_model(old, build_generator("srcnn"), trained_on)
    photos = photos_of(tmp_path / "same", range(20, 26))
    with pytest.raises(DpedkitError, match=r"does not say what the photos.*card .* --data"):
        stages.diagnose(old, photos)
    assert execute(["card", str(old), "--data", str(shards), "-q"]) == 0
    assert stages.diagnose(old, photos).fits


def test_damaged_statistics_are_named(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_model(path, build_generator("srcnn"), {"photo_statistics": {"patch_size": 32}})
    with pytest.raises(DpedkitError, match="damaged"):
        stages.diagnose(path, tmp_path)


def test_statistics_survive_the_way_through_json(shards):
    statistics = statistics_of_training(shards)
    assert PhotoStatistics.from_dict(json.loads(json.dumps(statistics.to_dict()))) == statistics
    assert (statistics.photos, statistics.known_photos) == (10, True)


def test_noise_and_blur_are_measured_as_they_are():
    picture = np.full((SIDES[0], SIDES[1], 3), 0.4)
    picture += 0.2 * np.linspace(0, 1, SIDES[1])[:, None]  # smooth, yet not flat
    for noise in (3.0, 8.0):
        rng = np.random.default_rng(0)
        photo = 255 * picture + noise * rng.standard_normal((*SIDES, 1))
        assert measure_photo(photo.round().astype(np.uint8), 64)["noise"] == pytest.approx(
            noise, rel=0.1
        )
    sharpness = [
        measure_photo(camera(scene(1), 1, blur=blur), 64)["sharpness"] for blur in (0, 0.8, 1.6)
    ]
    assert sharpness == sorted(sharpness, reverse=True)


def test_windows_that_could_not_become_patches_do_not_count():
    detail = camera(scene(0), 0)[:SIZE, :SIZE]
    black, flat = np.zeros_like(detail), np.full_like(detail, 128)
    alone = measure_windows(detail[None])
    assert measure_windows(np.stack([detail, black, flat])) == alone
    assert measure_windows(np.stack([black, flat])) == {}
