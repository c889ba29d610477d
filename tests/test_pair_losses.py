"""What each loss says of true, shuffled and shifted pairs: against direct sums, and on the page."""

import json

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from scipy import ndimage

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError
from dpedkit.losses import ContentLoss
from dpedkit.models import vgg
from dpedkit.report import write_report
from dpedkit.shards import open_split
from dpedkit.training.config import TrainConfig
from dpedkit.training.pair_losses import SHIFTS, judge_pairs, spread_pairs

PIXELS = ["MSE", "L1", "1 - MS-SSIM", "MS-SSIM + L1", "colour, paper", "colour, authors"]


def smooth_patches(count, size=64, seed=0):
    rng = np.random.default_rng(seed)
    scenes = ndimage.gaussian_filter(rng.random((count, size, size, 3)), (0, 2, 2, 0))
    scenes = (scenes - scenes.min()) / np.ptp(scenes)
    return (255 * scenes).round().astype(np.uint8)


def test_every_number_against_direct_sums():
    """With an odd number of pairs, more than are computed at once."""
    count, seed = 11, 4
    phone, dslr = smooth_patches(count, seed=1), smooth_patches(count, seed=2)
    found = judge_pairs(phone, dslr, None, seed=seed)
    assert (found.pairs, found.size, found.weights) == (count, 48, "")
    assert list(found.losses) == PIXELS
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, count)
    a, b = phone / 255, dslr / 255
    middle = (slice(None), slice(8, 56), slice(8, 56))
    for n in (0, 1, 5, 8):
        moved = np.stack(
            [
                np.roll(b[k], (-round(n * np.sin(t)), -round(n * np.cos(t))), (0, 1))
                for k, t in enumerate(angles)
            ]
        )
        mse = ((a - moved)[middle] ** 2).mean()
        assert found.losses["MSE"].shifted[n] == pytest.approx(mse, rel=1e-4)
        mae = np.abs((b - moved)[middle]).mean()
        assert found.losses["L1"].itself[n] == pytest.approx(mae, rel=1e-4, abs=1e-7)
    other = np.roll(b, -(count // 2), axis=0)
    each = ((a - other)[middle] ** 2).mean(axis=(1, 2, 3))
    true = ((a - b)[middle] ** 2).mean(axis=(1, 2, 3))
    assert found.losses["MSE"].shuffled == pytest.approx(each.mean(), rel=1e-4)
    assert found.losses["MSE"].true == pytest.approx(true.mean(), rel=1e-4)
    assert found.losses["MSE"].preferred == pytest.approx((true < each).mean())
    assert 0 < found.losses["MSE"].preferred < 1


def test_pairs_that_are_the_same_picture_are_preferred_and_shift_like_themselves():
    patches = smooth_patches(6)
    found = judge_pairs(patches, patches, None)
    for name, loss in found.losses.items():
        assert loss.preferred == 1, name
        assert loss.true == pytest.approx(0, abs=1e-5) and loss.shuffled > 0, name
        assert loss.shifted == pytest.approx(loss.itself), name
        assert len(loss.shifted) == len(SHIFTS) and loss.itself[8] > loss.itself[1] > 0, name


def test_the_content_losses_of_features(monkeypatch):
    thin = tuple(layer if layer == "pool" else 4 for layer in vgg.LAYERS)
    monkeypatch.setattr(vgg, "LAYERS", thin)
    generator = torch.Generator().manual_seed(0)
    convolutions = [
        (torch.randn(4, 3 if n == 0 else 4, 3, 3, generator=generator) / 3, torch.zeros(4))
        for n in range(16)
    ]
    weights = vgg.VGG19Weights(convolutions, 255.0, (120.0,) * 3, (1.0,) * 3, "here.bin")
    phone, dslr = smooth_patches(3, seed=1), smooth_patches(3, seed=2)
    found = judge_pairs(phone, dslr, weights)
    assert found.weights == "here.bin"
    middle = [torch.from_numpy(p[:, 8:56, 8:56]).permute(0, 3, 1, 2) / 255 for p in (phone, dslr)]
    for pooling in ("same", "floor"):  # the same at this size
        x, y = (vgg.VGG19(weights, pooling)(image) for image in middle)
        for name in ("paper", "authors"):
            wanted = float(ContentLoss(torch.nn.Identity(), name).distance(x, y))
            assert wanted > 0
            assert found.losses[f"content, {name}"].true == pytest.approx(wanted, rel=1e-3)


def test_what_cannot_be_compared():
    with pytest.raises(DpedkitError, match="at least two patch pairs"):
        judge_pairs(smooth_patches(1), smooth_patches(1), None)
    with pytest.raises(DpedkitError, match=r"31 px are too small .* at least 32 px"):
        judge_pairs(smooth_patches(3, 31), smooth_patches(3, 31), None)


def test_pairs_are_taken_from_all_over_a_split(tmp_path):
    shards = write_shards(tmp_path / "s", {"train": make_patches(20, 16, 0)})
    reader = open_split(shards, "train")
    phone, dslr = spread_pairs(reader, 3)
    wanted = reader.gather([0, 10, 19])
    assert np.array_equal(phone, wanted[0]) and np.array_equal(dslr, wanted[1])
    assert len(spread_pairs(reader, 100)[0]) == 20


def test_the_page_of_a_run_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dpedkit.training.pair_losses.find_weights", lambda path, *, download: None)
    data = {"train": make_patches(8, 32, 0), "val": make_patches(2, 32, 1)}
    shards = write_shards(tmp_path / "shards", data)
    config = TrainConfig(
        generator="colour-residual", steps=1, batch=2, content="msssim-l1", texture_weight=0.0
    )
    run = stages.train(shards, config, name="a", runs=tmp_path).folder
    page = run / "report" / "index.html"
    assert "How each loss reacts to shifts" not in page.read_text()
    assert execute(["report", str(run), "--losses"]) == 0
    assert "No VGG-19 weights" in capsys.readouterr().err
    write_report(run)
    text = page.read_text().split("How each loss reacts to shifts")[1]
    assert "8 patch pairs, the central 16 px" in text
    assert text.count("<polyline") == 2 * len(PIXELS)
    kept = json.loads((run / "report" / "losses.json").read_text())
    share = kept["losses"]["MSE"]["itself"][3] / kept["losses"]["MSE"]["shuffled"]
    assert f"<td>{share:.1%}</td>" in text


@pytest.mark.parametrize(
    "arguments", [["colour-loss", "--losses"], ["runs/001", "--vgg", "vgg.mat"]]
)
def test_options_that_do_not_go_together(arguments, capsys):
    assert execute(["report", *arguments]) == 2
    assert "--losses" in capsys.readouterr().err
