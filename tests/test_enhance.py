"""Photos and folders through a network: files, metadata, damage, resuming."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from test_photo_formats import icc_profile, picture, to_srgb
from torch import nn

from dpedkit import images
from dpedkit.colourmap import ColourMap
from dpedkit.core.errors import (
    DpedkitError,
    FolderInUseError,
    PhotoError,
    TooManyRejectedError,
    UsageError,
)
from dpedkit.enhancement import EnhanceConfig, enhance_photos
from dpedkit.enhancement.comparison import before_after
from dpedkit.models import build_generator, load_model, save_model

RNG = np.random.default_rng(3)
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model file whose network visibly changes a photo."""
    torch.manual_seed(1)
    network = build_generator("srcnn")
    for layer in network.layers:
        nn.init.normal_(layer.conv.weight, std=(2 / layer.conv.weight[0].numel()) ** 0.5)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, network, {})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for number, suffix in enumerate((".jpg", ".png", ".tif")):
        images.write_photo(path / f"{number}{suffix}", photo(20 + number, 33))
    return path


def photo(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected(model: Path, pixels: np.ndarray) -> np.ndarray:
    """The whole photo at once, straight through the network."""
    with torch.inference_mode():
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
        y = load_model(model)(x)[0].permute(1, 2, 0).numpy()
    return np.clip(y, 0, 1) * 255


@pytest.mark.parametrize("size", [(20, 33), (1, 1), (1, 17), (31, 2)])
def test_pixels_are_the_networks(model, tmp_path, size):
    source = tmp_path / "in.png"
    pixels = photo(*size)
    images.write_photo(source, pixels)
    config = EnhanceConfig(strip_megapixels=0.001, **CPU)
    summary = enhance_photos(model, [source], tmp_path / "out", config)
    written = images.read_photo(tmp_path / "out" / "in.png")
    assert summary.written == (tmp_path / "out" / "in.png",)
    assert np.abs(written - expected(model, pixels)).max() <= 0.51


def test_a_folder_keeps_names_formats_and_metadata(model, folder, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "iPhone"
    Image.fromarray(photo(20, 33)).save(folder / "turned.jpg", exif=exif, icc_profile=SRGB_ICC)
    out = tmp_path / "out"
    summary = enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    assert [path.name for path in summary.written] == ["0.jpg", "1.png", "2.tif", "turned.jpg"]
    with Image.open(out / "turned.jpg") as turned:
        assert turned.size == (20, 33)
        assert turned.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert turned.getexif()[ExifTags.Base.Model] == "iPhone"
        assert turned.info["icc_profile"] == SRGB_ICC


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_photo_in_display_p3_becomes_srgb_and_says_so(model, tmp_path, suffix, caplog):
    """What a viewer shows that knows of profiles is what the network made, in the right colours."""
    caplog.set_level(logging.INFO, logger="dpedkit")
    source = tmp_path / f"in{suffix}"
    Image.fromarray(picture()).save(source, icc_profile=icc_profile("Display P3"))
    enhance_photos(model, source, tmp_path / "out", EnhanceConfig(**CPU))
    assert f"in{suffix}: converted from Display P3 to sRGB" in caplog.text
    with Image.open(tmp_path / "out" / source.name) as written:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(written.info["icc_profile"]))
        shown = ImageCms.profileToProfile(written, embedded, ImageCms.createProfile("sRGB"))
    assert "sRGB" in ImageCms.getProfileDescription(embedded)
    wanted = expected(model, to_srgb(picture(), "Display P3").round().astype(np.uint8))
    # Of a JPEG both the photo and the enhanced one have lost something.
    assert np.abs(np.asarray(shown) - wanted).mean() < (4 if suffix == ".jpg" else 2)
    unconverted = expected(model, picture())
    assert np.abs(np.asarray(shown) - unconverted).mean() > 5


def test_the_colour_map_alone_of_a_network_that_has_one(model, tmp_path):
    network = build_generator("colour-residual", channels=4, blocks=1)
    nn.init.normal_(network.layers[-1].conv.weight)
    network.set_colour_map(ColourMap(ColourMap.identity().coefficients * 0.5))
    save_model(tmp_path / "colours.safetensors", network, {})
    pixels = photo(20, 33)
    images.write_photo(tmp_path / "in.png", pixels)
    config = EnhanceConfig(colours_only=True, **CPU)
    enhance_photos(tmp_path / "colours.safetensors", tmp_path / "in.png", tmp_path / "a", config)
    assert np.abs(images.read_photo(tmp_path / "a" / "in.png") - pixels / 2).max() <= 0.51
    with pytest.raises(UsageError, match="srcnn network, which has no colour map to apply alone"):
        enhance_photos(model, tmp_path / "in.png", tmp_path / "b", config)


def test_other_formats(model, tmp_path):
    source = tmp_path / "in.webp"
    Image.fromarray(photo(9, 9)).save(source)
    enhance_photos(model, [source], tmp_path / "a", EnhanceConfig(**CPU))
    enhance_photos(model, [source], tmp_path / "b", EnhanceConfig(format="jpg", **CPU))
    assert (tmp_path / "a" / "in.png").exists() and (tmp_path / "b" / "in.jpg").exists()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_other_channels(model, tmp_path, mode):
    source = tmp_path / "in.tif"
    if mode == "I;16":
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(source)
    else:
        Image.fromarray(photo(20, 30)).convert(mode).save(source)
    enhance_photos(model, [source], tmp_path / "out", EnhanceConfig(**CPU))
    with Image.open(tmp_path / "out" / "in.tif") as image:
        assert image.mode == "RGB" and image.size == (30, 20)


def test_bad_photos_do_not_stop_a_folder(model, folder, tmp_path):
    whole = (folder / "0.jpg").read_bytes()
    (folder / "0.jpg").write_bytes(whole[: len(whole) // 2])
    summary = enhance_photos(model, [folder], tmp_path / "out", EnhanceConfig(**CPU))
    assert [path.name for path in summary.written] == ["1.png", "2.tif"]
    assert summary.failed[0][0].endswith("0.jpg") and "cut short" in summary.failed[0][1]
    assert not (tmp_path / "out" / "0.jpg").exists()


def test_too_many_bad_photos(model, folder, tmp_path):
    for name in ("0.jpg", "1.png"):
        (folder / name).write_text("no photo")
    with pytest.raises(TooManyRejectedError, match="2 of 3"):
        enhance_photos(model, [folder], tmp_path / "out", EnhanceConfig(**CPU))
    assert (tmp_path / "out" / "2.tif").exists()


def test_the_only_photo_is_bad(model, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    with pytest.raises(PhotoError, match="not a photo"):
        enhance_photos(model, [bad], tmp_path / "out", EnhanceConfig(**CPU))
    with pytest.raises(PhotoError, match="no such file"):
        enhance_photos(model, [tmp_path / "gone.jpg"], tmp_path / "out", EnhanceConfig(**CPU))


def test_a_second_run_does_nothing(model, folder, tmp_path):
    out = tmp_path / "out"
    enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    assert again.skipped == 3 and len(again.written) == 3
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir()}


def test_results_whose_photos_are_gone_are_kept_and_named(model, folder, tmp_path):
    out = tmp_path / "out"
    first = enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    assert first.left_over == () and "gone" not in first.as_text()
    (folder / "0.jpg").unlink()
    one = enhance_photos(model, [folder / "1.png"], out, EnhanceConfig(**CPU))
    assert one.left_over == (out / "0.jpg",), "2.tif was not asked for, but is still there"
    assert one.left_over[0].is_file()
    assert one.as_text().endswith("the originals of 1 more are gone: 0.jpg")
    assert one.to_dict()["left_over"] == [str(out / "0.jpg")]


def test_a_stopped_run_is_continued(model, folder, tmp_path, monkeypatch):
    out, clean = tmp_path / "out", tmp_path / "clean"
    write = images.write_photo

    def write_two(path, *args, **options):
        if path.name == "2.tif":
            raise KeyboardInterrupt
        write(path, *args, **options)

    monkeypatch.setattr(images, "write_photo", write_two)
    with pytest.raises(KeyboardInterrupt):
        enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    monkeypatch.setattr(images, "write_photo", write)
    assert enhance_photos(model, [folder], out, EnhanceConfig(**CPU)).skipped == 2
    enhance_photos(model, [folder], clean, EnhanceConfig(**CPU))
    for path in clean.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_what_another_run_made_is_not_replaced_unasked(model, folder, tmp_path):
    out = tmp_path / "out"
    enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    before = (out / "0.jpg").read_bytes()
    other = EnhanceConfig(jpeg_quality=50, **CPU)
    with pytest.raises(DpedkitError, match="--overwrite"):
        enhance_photos(model, [folder], out, other)
    assert (out / "0.jpg").read_bytes() == before
    assert enhance_photos(model, [folder], out, other, overwrite=True).skipped == 0
    assert (out / "0.jpg").read_bytes() != before


def test_a_changed_photo_is_enhanced_again(model, folder, tmp_path):
    out = tmp_path / "out"
    enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    images.write_photo(folder / "1.png", photo(10, 10))
    summary = enhance_photos(model, [folder], out, EnhanceConfig(**CPU), overwrite=True)
    assert summary.skipped == 2
    assert images.photo_size(out / "1.png") == (10, 10)


def test_the_photos_themselves_are_safe(model, folder):
    before = (folder / "0.jpg").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is the folder of the photos"):
            enhance_photos(model, [folder], folder, EnhanceConfig(**CPU), overwrite=overwrite)
        with pytest.raises(UsageError, match="overwritten"):
            enhance_photos(
                model, [folder / "0.jpg"], folder, EnhanceConfig(**CPU), overwrite=overwrite
            )
    assert (folder / "0.jpg").read_bytes() == before


def test_two_photos_for_one_file(model, folder, tmp_path):
    images.write_photo(tmp_path / "0.jpg", photo(5, 5))
    with pytest.raises(UsageError, match="both be written"):
        enhance_photos(model, [folder, tmp_path / "0.jpg"], tmp_path / "out", EnhanceConfig(**CPU))


def test_model_by_the_folder_of_its_run(model, folder, tmp_path):
    summary = enhance_photos(model.parent, [folder], tmp_path / "out", EnhanceConfig(**CPU))
    assert len(summary.written) == 3
    json.dumps(summary.to_dict())
    assert "3 enhanced photos" in summary.as_text()


def test_not_a_model(folder, tmp_path):
    (tmp_path / "m.safetensors").write_text("nothing of the kind")
    for wrong in (tmp_path / "gone.safetensors", tmp_path / "m.safetensors", folder):
        with pytest.raises(DpedkitError):
            enhance_photos(wrong, [folder], tmp_path / "out", EnhanceConfig(**CPU))
    assert not (tmp_path / "out").exists()


def test_side_by_side(model, folder, tmp_path):
    config = EnhanceConfig(side_by_side=True, **CPU)
    summary = enhance_photos(model, [folder], tmp_path / "out", config)
    assert [path.name for path in summary.side_by_side] == [f"{n}-before-after.jpg" for n in "012"]
    width, height = images.photo_size(summary.side_by_side[0])
    assert (width, height) == (2 * 33 + 6, 20)


def test_panels_are_reduced_and_labelled():
    before, after = np.zeros((300, 600, 3), np.uint8), np.full((300, 600, 3), 200, np.uint8)
    picture = before_after(before, after, side=400)
    assert picture.shape == (200, 2 * 400 + 6, 3)
    assert (picture[:100, :400] == 0).all() and (picture[:100, -400:] == 200).all()
    assert picture[150:, :400].max() > 200, "the label is white"


def test_a_photo_that_cannot_be_written_does_not_cost_the_others(
    model, folder, tmp_path, monkeypatch
):
    write = images.write_photo

    def fail_for_one(path, *arguments, **options):
        if path.name == "1.png":
            raise PhotoError(f"{path} could not be written as PNG: no reason.")
        write(path, *arguments, **options)

    monkeypatch.setattr(images, "write_photo", fail_for_one)
    summary = enhance_photos(model, [folder], tmp_path / "out", EnhanceConfig(**CPU))
    assert [path.name for path in summary.written] == ["0.jpg", "2.tif"]
    assert [Path(photo).name for photo, _ in summary.failed] == ["1.png"]


def test_a_full_disk_stops_the_folder(model, folder, tmp_path, monkeypatch):
    def full(path, *arguments, **options):
        raise DpedkitError("The disk is full.")

    monkeypatch.setattr(images, "write_photo", full)
    with pytest.raises(DpedkitError, match="disk is full"):
        enhance_photos(model, [folder], tmp_path / "out", EnhanceConfig(**CPU))


def test_unfinished_files_of_a_killed_run_go_and_those_of_others_stay(model, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.jpg.4711.part").write_bytes(b"half a photo")
    (out / "film.mkv.4711.part").write_bytes(b"not ours")
    enhance_photos(model, [folder], out, EnhanceConfig(**CPU))
    assert [path.name for path in out.glob("*.part")] == ["film.mkv.4711.part"]


LOCKED = """
import sys
from pathlib import Path
from dpedkit.core import lock
with lock.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_run_at_a_time_in_a_folder(model, folder, tmp_path):
    output = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(output)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(FolderInUseError, match=f"process {other.pid}"):
            enhance_photos(model, [folder], output, EnhanceConfig(**CPU))
        assert [path.name for path in output.iterdir()] == [".dpedkit.lock"]
        other.stdin.close()
    enhance_photos(model, [folder], output, EnhanceConfig(**CPU))
    assert ".dpedkit.lock" not in [path.name for path in output.iterdir()]
