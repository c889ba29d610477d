"""Evaluations: the numbers against direct computation, and what they say in words."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards

from dpedkit.colourmap import fit_colour_map
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.methods import DSLR, NETWORK, ORACLE, PHONE, POLYNOMIAL
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.driver import _measure, evaluate
from dpedkit.evaluation.evaluation import Evaluation, SplitScores
from dpedkit.evaluation.limitations import LimitationSheet
from dpedkit.evaluation.scores import Scores, ScoreSheet, through_float16
from dpedkit.metrics import ms_ssim_of_batch, ssim, ssim_and_ms_ssim
from dpedkit.metrics import psnr as psnr_of_tensors
from dpedkit.models import build_generator, save_model
from dpedkit.shards import open_split
from dpedkit.shards.index import fingerprint

SIZE = 20


@pytest.fixture(scope="module")
def data():
    splits = {"train": make_patches(60, SIZE, 0), "test": make_patches(105, SIZE, 1)}
    phone, dslr, pair = splits["test"]
    phone[:2] = dslr[:2]  # two pairs that are the same picture twice
    splits["test"] = phone, dslr, pair // 7
    return splits


@pytest.fixture(scope="module")
def shards(data, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("data") / "shards", data)


def save_identity(path, card):
    save_model(path, build_generator("colour-residual", channels=4, blocks=1), card)
    return path


@pytest.fixture(scope="module")
def identity_model(tmp_path_factory, shards):
    """A network that does nothing, trained on the shards, of an earlier version."""
    card = {"training": {"shards": [fingerprint(shards)]}}
    return save_identity(tmp_path_factory.mktemp("model") / "model.safetensors", card)


def psnr(error):
    return 10 * np.log10(1 / error)


def test_numbers_of_the_untouched_phone(data, shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(device="cpu"))
    test = next(split for split in evaluation.splits if split.split == "test")
    phone, dslr = (x.astype(np.float64) / 255 for x in data["test"][:2])
    errors = ((phone - dslr) ** 2).mean(axis=(1, 2, 3))
    scores = test.scores[PHONE]
    assert (test.patches, test.pairs, scores.identical) == (105, 15, 2)
    assert scores.psnr == pytest.approx(psnr(errors[2:]).mean(), abs=1e-4)
    assert scores.psnr_pooled == pytest.approx(psnr(errors.mean()), abs=1e-4)
    rounded = [(np.float16(x) / 255).astype(np.float64) for x in data["test"][:2]]
    errors = ((rounded[0] - rounded[1]) ** 2).mean(axis=(1, 2, 3))
    two_batches = [psnr(errors[:50].mean()), psnr(errors[50:100].mean())]
    assert scores.psnr_per_batch == pytest.approx(np.mean(two_batches), abs=1e-5)
    tensors = [torch.from_numpy(x).permute(0, 3, 1, 2) for x in rounded]
    batches = [ms_ssim_of_batch(*(x[i : i + 50] for x in tensors)).item() for i in (0, 50)]
    assert scores.ms_ssim_per_batch == pytest.approx(np.mean(batches), abs=1e-5)


def test_a_network_that_does_nothing_scores_as_the_phone(shards, identity_model):
    for split in evaluate(identity_model, shards, EvaluateConfig(device="cpu")).splits:
        network, phone = split.scores[NETWORK], split.scores[PHONE]
        assert network.ssim == pytest.approx(phone.ssim, abs=1e-6)
        assert network.psnr_pooled == pytest.approx(phone.psnr_pooled, abs=1e-4)


def test_the_polynomial_is_fitted_to_the_train_split(data, shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(split="test", device="cpu"))
    (test,) = evaluation.splits
    mapped = fit_colour_map([data["train"][:2]]).apply(data["test"][0]).clip(0, 1)
    errors = ((mapped - data["test"][1] / 255) ** 2).mean(axis=(1, 2, 3))
    assert test.scores[POLYNOMIAL].psnr == pytest.approx(psnr(errors).mean(), abs=1e-3)


def test_a_large_train_split_is_sampled_and_the_test_split_never(shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(train_patches=7, device="cpu"))
    assert {s.split: s.patches for s in evaluation.splits} == {"train": 7, "test": 105}


def test_rounding_through_float16_is_that_of_numpy():
    levels = np.arange(256, dtype=np.uint8)
    expected = np.float16(levels) / 255  # as the authors' training code has it
    assert expected.dtype == np.float16
    assert np.array_equal(through_float16(levels), expected.astype(np.float32))
    assert np.abs(through_float16(levels) - levels / 255).max() > 1e-4


def test_both_procedures_see_their_own_inputs(shards):
    """The network is run on float32 inputs for per-image and on rounded ones for per-batch."""
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, photo):
            seen.append(photo.clone())
            return photo

    reader = open_split(shards, "test")
    bar = SimpleNamespace(advance=lambda steps: None)
    _measure("test", reader, np.arange(10), Spy(), None, torch.device("cpu"), bar)
    phone, _ = reader.gather(np.arange(10))
    assert np.array_equal(seen[0].permute(0, 2, 3, 1).numpy(), phone / np.float32(255))
    assert np.array_equal(seen[1].permute(0, 2, 3, 1).numpy(), through_float16(phone))


def test_ssim_is_that_of_the_clipped_output_alone():
    dslr, noise = torch.rand(4, 3, SIZE, SIZE), 0.3 * torch.randn(4, 3, SIZE, SIZE)
    images = (dslr + noise) * torch.tensor([1.0, 1.0, 0.0, 1.0])[:, None, None, None]
    sheet = ScoreSheet()
    sheet.add(images, dslr)
    sheet.add_batch(images, dslr)
    scores = sheet.result()
    assert scores.ssim == pytest.approx(ssim(images.clamp(0, 1), dslr).mean().item(), abs=1e-6)
    unclipped = ssim_and_ms_ssim(images, dslr)[1]
    assert scores.ms_ssim == pytest.approx(unclipped.mean().item(), abs=1e-6)


def test_clipping_counts_per_image_and_not_per_batch():
    dslr = torch.ones(3, 3, SIZE, SIZE)
    sheet = ScoreSheet()
    sheet.add(dslr + 0.1, dslr)
    sheet.add_batch(dslr + 0.1, dslr)
    scores = sheet.result()
    assert (scores.psnr, scores.identical, scores.psnr_pooled) == (None, 3, None)
    assert scores.psnr_per_batch == pytest.approx(20, abs=1e-4)


def test_text_and_json(shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(device="cpu"))
    text = evaluation.as_text()
    assert "test: 105 patches of 15 photo pairs" in text
    assert "infinite PSNR" in text and "2 (untouched phone)" in text
    assert "does not beat the baselines: the colour polynomial is ahead" in text
    result = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert result["splits"][1]["scores"]["untouched phone"]["identical"] == 2
    assert result["verdict"] in text
    assert "mean of 15 scenes" in text and "network - colour polynomial" in text
    assert result["splits"][1]["by_scene"]["scenes"][0]["images"] == 7


def test_scores_of_scenes_are_means_of_their_patches(data, shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(split="test", device="cpu"))
    (test,) = evaluation.splits
    phone, dslr, pair = data["test"]
    errors = ((phone / 255 - dslr / 255) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        values = psnr(errors)
    assert [scene.scene for scene in test.by_scene.scenes] == [f"{n:03d}" for n in range(15)]
    for number, scene in enumerate(test.by_scene.scenes):
        own = values[pair == number]
        expected = own[np.isfinite(own)].mean()  # two patches of the first are identical
        assert scene.scores[PHONE]["psnr"] == pytest.approx(expected, abs=1e-4)
    shifts = 255 * (phone / 255 - dslr / 255).mean(axis=(1, 2))
    expected = np.linalg.norm(shifts, axis=1)[pair == 3].mean()
    assert test.by_scene.scenes[3].scores[PHONE]["colour_error"] == pytest.approx(
        expected, rel=1e-4
    )


def test_the_worst_and_best_patches_are_kept_with_their_pictures(data, shards, identity_model):
    evaluation = evaluate(identity_model, shards, EvaluateConfig(split="test", device="cpu"))
    (test,) = evaluation.splits
    phone, dslr, pair = data["test"]
    with np.errstate(divide="ignore"):
        values = psnr(((phone / 255 - dslr / 255) ** 2).mean(axis=(1, 2, 3)))
    assert test.worst[0].number == np.argmin(values)
    assert test.best[0].number == np.argmax(np.where(np.isfinite(values), values, -1))
    for end in (test.worst, test.best):
        assert len({patch.scene for patch in end}) == len(end) == 4
        assert all(patch.scene == f"{pair[patch.number]:03d}" for patch in end)
    shown = evaluation.pictures["test"]["worst"]
    assert shown.shape == (4, 4, SIZE, SIZE, 3)
    assert np.array_equal(shown[0, 0], phone[test.worst[0].number])
    assert np.array_equal(shown[0, 3], dslr[test.worst[0].number])
    assert np.abs(shown[:, 2].astype(int) - shown[:, 0]).max() == 0  # the network does nothing


PLAIN = Scores(20.0, 0, 20.0, 20.0, 0.8, 0.9, 0.9)


def verdict_of(network: Scores, split: str = "test", trained_here: bool = True) -> str:
    scores = {NETWORK: network, PHONE: PLAIN, POLYNOMIAL: replace(PLAIN, psnr=25.0, ssim=0.85)}
    splits = [SplitScores("train", 9, 3, scores), SplitScores(split, 9, 3, scores)]
    return Evaluation("m", "s", "srcnn", splits, trained_here, trained_here).verdict()


def test_the_verdict_in_words():
    better = replace(PLAIN, psnr=26.0, ssim=0.9, ms_ssim=0.95)
    assert "beats the baselines: +1.00 dB PSNR, +0.0500 SSIM, +0.0500 MS-SSIM over" in verdict_of(
        better
    )
    assert "never sees" in verdict_of(better)
    assert "was chosen" in verdict_of(better, "val")
    seen = verdict_of(better, "train")
    assert "On the patches it was trained on" in seen
    assert seen.endswith("That says nothing about scenes it has not seen.")
    assert "says nothing" not in verdict_of(better)
    words = verdict_of(replace(better, psnr=24.0))
    assert "does not beat the baselines: the colour polynomial is ahead in PSNR." in words
    # These patches are of unknown scenes.
    assert words.endswith("so neither is how it does on others.")
    assert "beats the baselines: +inf dB" in verdict_of(replace(better, psnr=None))


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_the_verdict_claims_nothing_of_a_training_that_it_does_not_know(split):
    words = verdict_of(replace(PLAIN, psnr=26.0, ssim=0.9, ms_ssim=0.95), split, trained_here=False)
    assert f"of the {split} split (it is not known whether training saw these scenes)" in words
    for claim in ("never sees", "was chosen", "it was trained on"):
        assert claim not in words


def test_training_patches_are_called_so_even_if_training_saw_others_too():
    splits = [SplitScores("train", 9, 3, {NETWORK: PLAIN, PHONE: PLAIN})]
    words = Evaluation("m", "s", "srcnn", splits, trained_here=False, saw_train=True).verdict()
    assert words.startswith("On the patches it was trained on")
    assert "says nothing about scenes it has not seen" in words


def test_whether_a_model_was_trained_on_these_shards_stands_in_its_card(tmp_path, data, shards):
    network = build_generator("colour-residual", channels=4, blocks=1)
    print_here = fingerprint(shards)
    for number, (trained_on, known, saw) in enumerate(
        [
            ({"training": {"shards": [print_here]}}, True, True),
            ({"training": {"shards": ["0123456789abcdef"]}}, False, False),
            ({"training": {"shards": [print_here, None]}}, False, True),
            ({"training": {}}, False, False),
            ({}, False, False),
        ]
    ):
        path = tmp_path / f"{number}.safetensors"
        save_model(path, network, trained_on)
        evaluation = evaluate(path, shards, EvaluateConfig(split="test", device="cpu"))
        assert evaluation.trained_here is known
        assert evaluation.to_dict()["trained_here"] is known
        assert evaluation.to_dict()["saw_train"] is saw


def test_what_is_refused(tmp_path, shards, identity_model):
    with pytest.raises(DpedkitError, match="no 'val' patches"):
        evaluate(identity_model, shards, EvaluateConfig(split="val"))
    with pytest.raises(DpedkitError, match="no such model file"):
        evaluate(tmp_path / "no.safetensors", shards, EvaluateConfig())
    with pytest.raises(DpedkitError, match="no such folder"):
        evaluate(identity_model, tmp_path / "no", EvaluateConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DpedkitError, match="is empty"):
        evaluate(identity_model, tmp_path / "empty", EvaluateConfig())
    nothing = write_shards(tmp_path / "nothing", {"test": make_patches(0, SIZE, 0)})
    with pytest.raises(DpedkitError, match="no patches to measure"):
        evaluate(identity_model, nothing, EvaluateConfig())
    with pytest.raises(UsageError, match="split"):
        EvaluateConfig(split="rest")


def test_the_polynomial_is_that_of_the_patches_of_the_training(data, tmp_path, caplog):
    """On other shards, and never one fitted to their train split."""
    trained_on = fit_colour_map([data["train"][:2]])
    model = save_identity(tmp_path / "m.safetensors", {"colour_polynomial": trained_on.to_dict()})
    phone, dslr, pair = make_patches(6, SIZE, 5)
    splits = {"train": (phone, 255 - dslr, pair), "test": data["test"]}
    folder = write_shards(tmp_path / "others", splits)
    (test,) = evaluate(model, folder, EvaluateConfig(split="test", device="cpu")).splits
    mapped = trained_on.apply(data["test"][0]).clip(0, 1)
    errors = ((mapped - data["test"][1] / 255) ** 2).mean(axis=(1, 2, 3))
    assert test.scores[POLYNOMIAL].psnr == pytest.approx(psnr(errors).mean(), abs=1e-3)
    assert caplog.text == ""


def test_there_is_no_polynomial_where_its_patches_are_not_known(tmp_path, identity_model, caplog):
    splits = {"train": make_patches(6, SIZE, 5), "test": make_patches(3, SIZE, 0)}
    folder = write_shards(tmp_path / "others", splits)
    evaluation = evaluate(identity_model, folder, EvaluateConfig(device="cpu"))
    assert list(evaluation.splits[0].scores) == [NETWORK, PHONE, ORACLE]
    assert "holds no colour polynomial" in caplog.text


def smooth_scene(count=4, size=100):
    """A gradient with a coloured square in one corner: (N, 3, S, S), mostly flat."""
    ramp = torch.linspace(0.3, 0.5, size).expand(count, 3, size, size).clone()
    ramp[:, 0, :40, :40] += 0.2
    return ramp


def limitations_of(images, phone, dslr):
    sheet = LimitationSheet()
    sheet.add(images, phone, dslr)
    return sheet.result()


@pytest.mark.parametrize("added", [0.0, 0.01, 0.03])
def test_noise_gain_is_that_of_known_noise(added):
    torch.manual_seed(0)
    dslr = smooth_scene()
    phone = dslr + 0.02 * torch.randn_like(dslr)
    found = limitations_of(phone + added * torch.randn_like(dslr), phone, dslr)
    assert found.noise_gain == pytest.approx(np.hypot(0.02, added) / 0.02, rel=0.03)
    assert found.flat_share > 0.5
    assert limitations_of(dslr, phone, dslr).noise_gain == pytest.approx(0, abs=0.02)


def test_noise_in_texture_and_at_edges_does_not_count():
    torch.manual_seed(0)
    dslr = smooth_scene()
    dslr[:, :, :, 50:] += 0.1 * torch.randn(4, 3, 100, 50)  # texture
    phone = dslr + 0.01 * torch.randn_like(dslr)
    sharper = phone.clone()
    sharper[:, :, :, 50:] = dslr[:, :, :, 50:] + 0.2 * torch.randn(4, 3, 100, 50)
    assert limitations_of(sharper, phone, dslr).noise_gain == pytest.approx(1, abs=1e-3)
    wild = torch.rand(2, 3, 100, 100)
    assert limitations_of(wild, wild, wild).noise_gain is None


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.6])
def test_contrast_ratio_is_the_factor_of_the_contrast(factor):
    dslr = smooth_scene()
    mean = dslr.mean(dim=(2, 3), keepdim=True)
    found = limitations_of(mean + factor * (dslr - mean), dslr, dslr)
    assert found.contrast_ratio == pytest.approx(factor, rel=1e-4)
    assert found.colour_error == pytest.approx(0, abs=1e-3)
    assert limitations_of(dslr, mean.expand_as(dslr), mean.expand_as(dslr)).contrast_ratio is None


def test_colour_error_is_the_shift_of_the_mean_in_levels():
    dslr = smooth_scene()
    shift = torch.tensor([3.0, -4.0, 12.0])[:, None, None] / 255
    found = limitations_of(dslr + shift, dslr, dslr)
    assert found.colour_error == pytest.approx(13, rel=1e-4)
    assert found.contrast_ratio == pytest.approx(1, rel=1e-3)


class OnAppleGpu(torch.Tensor):
    """A tensor that knows no float64 before `cpu()` has brought it to main memory."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        assert func is not torch.Tensor.double, "MPS has no float64"
        found = super().__torch_function__(func, types, args, kwargs)
        return found.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else found


def test_devices_without_float64_can_measure():
    scene, other = smooth_scene(), smooth_scene() * 0.9
    there = [images.as_subclass(OnAppleGpu) for images in (other, scene, scene)]
    torch.testing.assert_close(psnr_of_tensors(*there[:2]), psnr_of_tensors(other, scene))
    sheets = ScoreSheet(), ScoreSheet()
    for sheet, (images, dslr) in zip(sheets, (there[:2], (other, scene)), strict=True):
        sheet.add(images, dslr)
        sheet.add_batch(images, dslr)
    assert sheets[0].result() == sheets[1].result()
    assert limitations_of(*there) == limitations_of(other, scene, scene)


def test_the_oracle_is_refitted_to_every_scene(tmp_path):
    """Each scene with an exposure of its own: the oracle is right, one polynomial cannot be."""
    phone, _, pair = make_patches(12, SIZE, 3)
    gains = np.array([0.6, 0.9, 1.2])[pair // 4, None, None, None]
    dslr = np.clip(phone * gains, 0, 255).round().astype(np.uint8)
    scene = phone, dslr, pair // 4
    folder = write_shards(tmp_path / "s", {"train": make_patches(6, SIZE, 0), "test": scene})
    card = {"training": {"shards": [fingerprint(folder)]}}
    model = save_identity(tmp_path / "m.safetensors", card)
    evaluation = evaluate(model, folder, EvaluateConfig(split="test", device="cpu"))
    (test,) = evaluation.splits
    assert test.scores[ORACLE].psnr > 45 > test.scores[POLYNOMIAL].psnr + 15
    mapped = np.concatenate(
        [
            fit_colour_map([(phone[n : n + 4], dslr[n : n + 4])]).apply(phone[n : n + 4])
            for n in (0, 4, 8)
        ]
    )
    errors = ((mapped.clip(0, 1) - dslr / 255) ** 2).mean(axis=(1, 2, 3))
    assert test.scores[ORACLE].psnr == pytest.approx(psnr(errors).mean(), abs=1e-3)
    assert test.limitations[DSLR].colour_error == 0
    assert ORACLE in evaluation.as_text()
    assert ORACLE not in evaluation.verdict()
