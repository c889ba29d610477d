"""The cross-validation of training: who is measured on what, and what a second run does."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_shards import make_patches
from test_import_patches import write_patches

from dpedkit import stages
from dpedkit.colourmap import EXPONENTS
from dpedkit.core.errors import DpedkitError
from dpedkit.models.build import build_generator
from dpedkit.models.files import save_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COUNT, SIZE, FOLDS = 6, 32, 2
# One step that changes nothing: the network stays the polynomial that it starts as.
STANDSTILL = """
[train]
generator = "colour-residual"
steps = 1
batch = 2
learning_rate = 1e-8
content = "msssim-l1"
texture_weight = 0.0
colour_weight = 0.0
tv_weight = 0.0
evaluate_patches = 2
"""


@pytest.fixture
def validate(tmp_path, monkeypatch, capsys):
    """Runs the benchmark on a few patches; returns what it prints and the results of the folds."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    import five_folds

    phone, dslr, _ = make_patches(COUNT, SIZE, 0)
    dslr[::FOLDS] //= 2  # what suits one fold does not suit the other
    write_patches(tmp_path / "phone", phone)
    write_patches(tmp_path / "canon", dslr)
    Path("standstill.toml").write_text(STANDSTILL)

    def run(*arguments):
        command = ("five_folds.py", "phone", "canon", "--recipe", "standstill.toml", *arguments)
        monkeypatch.setattr(sys, "argv", [*command, "--folds", str(FOLDS), "--output", "out"])
        five_folds.main()
        folds = [json.loads(path.read_text()) for path in sorted(Path("out").glob("fold-*.json"))]
        return capsys.readouterr().out, [fold["scores"] for fold in folds]

    run.phone, run.dslr = phone / 255, dslr / 255
    return run


def mean_psnr(images, dslr):
    """Over the images, each by itself."""
    errors = ((images.clip(0, 1) - dslr) ** 2).mean(axis=(1, 2, 3))
    return float((-10 * np.log10(errors)).mean())


def terms(pixels):
    return np.prod(pixels.reshape(-1, 1, 3) ** np.array(EXPONENTS), axis=2)


def polynomial(phone, dslr, images):
    """The least-squares cubic of some patches, applied to others."""
    fit = np.linalg.lstsq(terms(phone), dslr.reshape(-1, 3), rcond=None)[0]
    return (terms(images) @ fit).reshape(images.shape)


def test_each_image_is_measured_once_by_what_was_fitted_to_the_other_folds(validate):
    printed, folds = validate()
    phone, dslr, numbers = validate.phone, validate.dslr, np.arange(COUNT)
    expected = []
    for fold, scores in enumerate(folds):
        own = numbers % FOLDS == fold
        untouched = mean_psnr(phone[own], dslr[own])
        fitted, leaked = (
            mean_psnr(polynomial(phone[seen], dslr[seen], phone[own]), dslr[own])
            for seen in (~own, numbers >= 0)
        )
        assert abs(leaked - fitted) > 1  # dB: what follows can tell the two apart
        assert scores["untouched phone"]["psnr"] == pytest.approx(untouched, abs=1e-4)
        assert scores["colour polynomial"]["psnr"] == pytest.approx(fitted, abs=0.05)
        assert scores["network"]["psnr"] == pytest.approx(fitted, abs=0.05)
        expected.append((untouched, fitted))
    last = next(line for line in printed.splitlines() if line.startswith("all")).split()
    assert int(last[1]) == COUNT
    np.testing.assert_allclose([float(last[2]), float(last[4])], np.mean(expected, 0), atol=0.05)


def test_the_network_that_training_starts_from_stands_beside(validate, tmp_path):
    save_model(tmp_path / "start.safetensors", build_generator("srcnn").eval(), {})
    printed, folds = validate("--init", "start.safetensors")
    for scores in folds:
        start, end = (scores[name] for name in ("network at the start", "network"))
        assert end["psnr"] == pytest.approx(start["psnr"], abs=1e-2)
        assert abs(start["psnr"] - scores["colour polynomial"]["psnr"]) > 1
    assert "over the network at the start" in printed


def test_folds_that_are_done_are_kept_and_others_settings_refused(validate, monkeypatch):
    validate("--only", "0")
    trained = []
    train = stages.train

    def noted(*arguments, **named):
        trained.append(named["name"])
        return train(*arguments, **named)

    monkeypatch.setattr(stages, "train", noted)
    first, _ = validate()
    assert trained == ["fold-1"]
    assert validate()[0] == first
    assert trained == ["fold-1"]
    with pytest.raises(DpedkitError, match="give another --output"):
        validate("--seed", "7")
