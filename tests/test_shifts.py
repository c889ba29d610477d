"""Figure 2 of the paper: curves against a direct computation, and what is said of them."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError
from dpedkit.report.colour_loss import ColourLossReport, write_colour_loss_report
from dpedkit.report.shifts import losses_under_shifts


def test_a_plane_wave_has_the_curves_of_its_formula():
    """Of a fine wave along x, a blur of standard deviation s leaves the share exp(-(w s)^2 / 2)."""
    w = 2 * np.pi / 25
    photo = np.broadcast_to(100 * np.sin(w * np.arange(400)) + 128, (400, 400))
    photo = np.repeat(photo.round().astype(np.uint8)[:, :, None], 3, axis=2)
    curves = losses_under_shifts([photo], patches=200)
    assert curves.patches == 200
    assert curves.mse[0] == curves.paper[0] == curves.authors[0] == 0
    # Away from the zeros beyond the patch's edges the ratio is that of the wave's powers.
    assert curves.mse[8] / curves.paper[8] == pytest.approx(np.exp(w**2 * 3), rel=0.05)
    assert curves.mse[8] / curves.authors[8] == pytest.approx(np.exp(w**2 * 4.34**2), rel=0.15)
    directions = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
    dx = (8 * np.cos(directions)).round()
    expected = ((100 / 255) ** 2 * (1 - np.cos(w * dx))).mean()
    assert curves.mse[8] == pytest.approx(expected, rel=0.2)


def test_the_same_seed_gives_the_same_curves_and_blurs_only_lower_them():
    rng = np.random.default_rng(0)
    photo = ndimage.gaussian_filter(rng.random((150, 160, 3)), (2, 2, 0))
    photo = (255 * (photo - photo.min()) / np.ptp(photo)).astype(np.uint8)
    first, second = (losses_under_shifts([photo], patches=20, seed=1) for _ in range(2))
    assert np.array_equal(first.mse, second.mse)
    assert (first.authors[1:] < first.paper[1:]).all() and (first.paper[1:] < first.mse[1:]).all()


def report_with(tmp_path, mse, **colour):
    return ColourLossReport(tmp_path / "plot.svg", "photos", 10, mse, colour)


def test_the_verdict_on_the_claim(tmp_path):
    mse = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    report = report_with(
        tmp_path,
        mse,
        a=[0.0, 0.1, 0.1, 0.11, 0.15, 0.19],
        b=[0.0, 0.5, 0.5, 0.5, 0.5, 0.5],
        c=[0.0, 0.1, 0.1, 0.05, 0.1, 0.1],
    )
    assert "9.1 to 5.3 times smaller with the a (as the paper says)" in report.verdict()
    assert "2.0 to 2.0 times smaller with the b (less than" in report.verdict()
    assert "20.0 to 10.0 times smaller with the c (partly" in report.verdict()
    write_colour_loss_report(report)
    lines = list(ET.parse(report.plot).iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 4  # the MSE, too
    assert all(len(line.get("points").split()) == 5 for line in lines)
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_command_on_photos(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (130, 140, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "a.png")
    assert execute(["report", "colour-loss", "--photos", "photos"]) == 0
    assert "100 patches of photos; drawn in colour-loss.svg" in capsys.readouterr().out
    assert (tmp_path / "colour-loss.svg").exists()
    assert execute(["report", "colour-loss", "--photos", "photos", "-o", "new/x.svg"]) == 0
    assert (tmp_path / "new" / "x.svg").exists()
    assert execute(["report", "photos", "-o", "x.svg"]) == 2
    with pytest.raises(DpedkitError, match="too small"):
        losses_under_shifts([noise[:119]])
