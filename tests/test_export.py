"""An exported network computes what the trained one computes."""

import builtins
import json
import logging
import re
import sys
import warnings
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from fake_shards import write_shards
from test_photomap import random_map, random_photo

from dpedkit import stages
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.enhancement.network import Enhancer
from dpedkit.enhancement.storage import Placement
from dpedkit.export import ExportConfig, export_cube, export_onnx, litert_file
from dpedkit.export.cube import look_up
from dpedkit.export.quiet import quiet
from dpedkit.export.samples import read_samples
from dpedkit.export.verification import network_output, refuse_difference
from dpedkit.images import write_photo
from dpedkit.metrics import psnr
from dpedkit.models import build_generator, load_model, save_model
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap.guides import PatchGuides
from dpedkit.photomap.map import terms
from dpedkit.shards.index import PAIRS_FILE
from dpedkit.shards.reader import open_split
from dpedkit.shards.thumbnails import Thumbnail

PAGE = Path(__file__).parents[1] / "docs" / "enhancement.md"


def saved(folder: Path, name: str, **options: object) -> Path:
    """A model file whose network changes photos: fresh weights hardly do."""
    torch.manual_seed(0)
    network = build_generator(name, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) / max(parameter[0].numel(), 25) ** 0.5 / 2)
    if isinstance(network, PhotoAware):
        network.photo_map = random_map()
    save_model(folder / "model.safetensors", network, {"training": {"steps": 7}})
    return folder / "model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path, "srcnn")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("name", "options", "reach"),
    [
        ("srcnn", {}, 4 + 2 + 2),
        ("resnet-8-32", {"norm": "instance"}, 4 + 2 * 2 + 2 + 4),
        ("resnet-12-64", {"norm": "batch"}, 4 + 4 * 2 + 2 + 4),
        ("colour-residual", {"channels": 8, "blocks": 1}, 2 * (1 + 2 + 1)),
        ("photo-aware", {"channels": 8, "blocks": 1}, 2 * (1 + 2 + 1)),
    ],
)
def test_any_size_through_onnxruntime(tmp_path, name, options, reach, precision):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = saved(tmp_path, name, **options)
    summary = export_onnx(model, tmp_path / "m.onnx", ExportConfig(precision=precision))
    assert summary.largest_difference < (1e-5 if precision == "fp32" else 1e-2)
    session = onnxruntime.InferenceSession(str(summary.file))
    photo, *others = session.get_inputs()
    assert photo.shape == ["batch", 3, "height", "width"]
    assert photo.type == {"fp32": "tensor(float)", "fp16": "tensor(float16)"}[precision]
    wanted = ["thumbnail", "place"] if name == "photo-aware" else []
    assert [value.name for value in others] == wanted
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["architecture"] == name
    assert metadata["reach"] == str(reach)
    assert metadata["tiles_begin_at_multiples_of"] == ("2" if "channels" in options else "1")
    assert json.loads(metadata["dpedkit"])["training"] == {"steps": 7}
    assert metadata["tiles"].startswith("no" if options.get("norm") == "instance" else "exact")
    with pytest.raises(DpedkitError, match="--overwrite"):
        export_onnx(model, summary.file, ExportConfig(precision=precision))


@pytest.mark.slow
def test_int8_states_what_it_loses_on_other_images(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = saved(tmp_path, "resnet-8-32", norm="batch")
    phone = np.stack([random_photo(40, 40, seed) for seed in range(12)])
    dslr = np.clip(phone.astype(int) + 20, 0, 255).astype(np.uint8)
    pair = np.arange(6)
    splits = {"train": (phone[:6], dslr[:6], pair), "val": (phone[6:], dslr[6:], pair + 6)}
    shards = write_shards(tmp_path / "shards", splits)
    whole = export_onnx(model, tmp_path / "whole.onnx", ExportConfig())
    config = ExportConfig(precision="int8", calibrate=str(shards))
    summary = export_onnx(model, tmp_path / "m.onnx", config)
    assert summary.size < whole.size / 2
    session = onnxruntime.InferenceSession(str(summary.file))
    assert session.get_modelmeta().custom_metadata_map["architecture"] == "resnet-8-32"
    (photo,) = session.get_inputs()
    assert photo.shape == ["batch", 3, "height", "width"]
    images = phone[6:].transpose(0, 3, 1, 2).astype(np.float32) / 255
    with torch.inference_mode():
        wanted = load_model(model)(torch.from_numpy(images)).clamp(0, 1)
    found = torch.from_numpy(session.run(None, {"photo": images})[0]).clamp(0, 1)
    target = torch.from_numpy(dslr[6:].transpose(0, 3, 1, 2) / np.float32(255))
    assert 30 < psnr(found, wanted).mean() < 90  # it is not float32 either
    assert summary.loss.psnr == pytest.approx(psnr(found, wanted).mean().item(), abs=0.5)
    assert summary.loss.network == pytest.approx(psnr(wanted, target).mean().item(), abs=1e-3)
    assert summary.loss.file == pytest.approx(psnr(found, target).mean().item(), abs=0.05)
    assert "6 patches of" in summary.as_text() and "(val); against the DSLR" in summary.as_text()


@pytest.mark.slow
def test_int8_that_loses_too_much_is_not_written(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    pytest.importorskip("onnxruntime")
    network = load_model(saved(tmp_path, "srcnn"))
    with torch.no_grad():
        for layer in network.layers:
            layer.conv.weight.mul_(10)  # its output varies all the more
    save_model(tmp_path / "strong.safetensors", network, {})
    (tmp_path / "photos").mkdir()
    write_photo(tmp_path / "photos" / "1.png", np.full((50, 50, 3), 20, np.uint8))  # calibrates
    write_photo(tmp_path / "photos" / "2.png", random_photo(50, 50))
    config = ExportConfig(precision="int8", calibrate=str(tmp_path / "photos"))
    with pytest.raises(DpedkitError, match=r"m\.onnx was not written: in int8, .* dB from float32"):
        export_onnx(tmp_path / "strong.safetensors", tmp_path / "m.onnx", config)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("difference", [0.2, float("nan")])
def test_a_file_that_computes_something_else_is_refused(difference):
    refuse_difference(Path("m.onnx"), "onnxruntime", 0.1, 0.1)
    with pytest.raises(DpedkitError, match=r"m\.onnx was not written.* onnxruntime differs"):
        refuse_difference(Path("m.onnx"), "onnxruntime", difference, 0.1)


def test_other_packages_are_silent_only_while_they_work(capsys, recwarn):
    log = logging.getLogger("torch.onnx")
    level = log.getEffectiveLevel()
    with quiet, quiet:
        print("progress")
        warnings.warn("deprecated", stacklevel=1)
        assert log.getEffectiveLevel() == logging.getLogger("other").getEffectiveLevel() == 40
    assert capsys.readouterr().out == "" and not recwarn
    assert log.getEffectiveLevel() == level
    print("done")
    assert capsys.readouterr().out == "done\n"


def test_patches_of_shards_lie_where_they_were_cut(tmp_path):
    shards = shards_with_places(tmp_path / "shards")
    network = build_generator("photo-aware", channels=4, blocks=1)
    network.photo_map = random_map()
    samples = read_samples(shards, network)
    assert len(samples.calibration) == 3 and len(samples.measured) == 2
    assert samples.source.endswith("shards (test)")
    # The second patch: corner 140, 210, side 20, in what was cut at 100, 40 from 800 x 600 px
    wanted = [[240 / 800, 250 / 600, 260 / 800, 270 / 600]]
    np.testing.assert_allclose(samples.calibration[1].place, wanted, rtol=1e-6)
    for split, chosen in (("train", samples.calibration), ("test", samples.measured)):
        reader = open_split(shards, split)
        planes = PatchGuides(reader, network.guide)(range(len(reader)))
        for sample, own in zip(chosen, planes, strict=True):
            images = np.concatenate([sample.photo, own[None]], axis=1)
            with torch.inference_mode():
                wanted = network(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(network_output(network, sample), wanted, atol=1e-5)


def test_windows_of_photos_are_of_every_other_photo(tmp_path):
    network = build_generator("photo-aware", channels=4, blocks=1)
    photos = [random_photo(150, 200, seed) for seed in range(3)]
    for number, photo in enumerate(photos):
        write_photo(tmp_path / f"{number}.png", photo)
    samples = read_samples(tmp_path, network)
    assert samples.source == f"43 windows of the photos in {tmp_path}"
    assert len(samples.calibration) == 86
    for sample in samples.measured:
        left, top, right, bottom = (sample.place[0] * [200, 150, 200, 150]).round().astype(int)
        wanted = photos[1][top:bottom, left:right].transpose(2, 0, 1) / np.float32(255)
        np.testing.assert_array_equal(sample.photo[0], wanted)
        np.testing.assert_array_equal(sample.thumbnail, photos[1])


def test_patches_of_one_split_are_divided_by_photo(tmp_path):
    phone = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (0, 1, 2, 3, 4)])
    folder = write_shards(tmp_path / "s", {"val": (phone, phone, np.array([0, 0, 1, 2, 2]))})
    samples = read_samples(folder, build_generator("srcnn"))
    levels = [
        [round(float(one.photo.max()) * 255) for one in part]
        for part in (samples.calibration, samples.measured)
    ]
    assert levels == [[0, 1, 3, 4], [2]]
    lone = write_shards(tmp_path / "lone", {"val": (phone[:1], phone[:1], np.array([0]))})
    with pytest.raises(DpedkitError, match="too few patch pairs"):
        read_samples(lone, build_generator("srcnn"))


def test_a_network_that_looks_at_photos_is_calibrated_with_thumbnails(tmp_path):
    phone = np.zeros((4, 8, 8, 3), np.uint8)
    folder = write_shards(tmp_path / "s", {"val": (phone, phone, np.arange(4))})
    with pytest.raises(DpedkitError, match="no thumbnail of the phone photo"):
        read_samples(folder, build_generator("photo-aware"))


def test_what_the_precision_does_not_use_is_refused(model, tmp_path):
    with pytest.raises(UsageError, match="int8 has to be calibrated: give --calibrate"):
        export_onnx(model, tmp_path / "m.onnx", ExportConfig(precision="int8"))
    with pytest.raises(UsageError, match="--calibrate changes nothing in float32"):
        export_onnx(model, tmp_path / "m.onnx", ExportConfig(calibrate="shards"))


def shards_with_places(folder: Path) -> Path:
    """Shards whose patches lie at known places of photos with thumbnails."""
    phone = np.stack([random_photo(20, 20, seed) for seed in range(5)])
    pair = np.array([0, 0, 1, 2, 2])
    thumbnails = {
        number: Thumbnail.of(random_photo(60, 80, 9 + number), (800, 600), (100, 40, 640, 480))
        for number in range(3)
    }
    splits = {
        "train": (phone[:3], phone[:3], pair[:3]),
        "test": (phone[3:], phone[3:], pair[3:]),
    }
    write_shards(folder, splits, thumbnails)
    lines = read_jsonl(folder / PAIRS_FILE)
    write_jsonl(folder / PAIRS_FILE, [{**line, "crop": [100, 40, 640, 480]} for line in lines])
    for file, corners in (("train-00000.h5", 3), ("test-00000.h5", 2)):
        with h5py.File(folder / file, "r+") as shard:
            shard["xy"][:] = np.arange(2 * corners).reshape(corners, 2) * 70
    return folder


def page_block(words: str) -> str:
    """The Python block of the page that holds these words."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if words in block]
    return block


@pytest.mark.slow
def test_the_lines_of_the_page_give_the_enhanced_photo(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    pytest.importorskip("onnxruntime")
    model = saved(tmp_path, "photo-aware", channels=8, blocks=1)
    export_onnx(model, tmp_path / "model.onnx", ExportConfig())
    monkeypatch.chdir(tmp_path)
    photo = cv2.resize(random_photo(40, 60), (645, 491), interpolation=cv2.INTER_CUBIC)
    write_photo("photo.png", photo)
    names: dict[str, object] = {}
    block = page_block("InferenceSession").replace("photo.jpg", "photo.png")
    exec(block, names)
    wanted = Enhancer(load_model(model), Placement())(photo).astype(int)
    assert np.abs(names["enhanced"] - wanted).max() <= 1
    exec(page_block("in tiles of").replace("1024", "160"), names)
    assert np.abs(names["tiled"] - wanted).max() <= 1


def test_a_cube_file_holds_the_map_of_a_photo(tmp_path):
    torch.manual_seed(0)
    network = build_generator("photo-aware", channels=8, blocks=1)
    network.photo_map = random_map()
    network.coefficients[20:] = 0  # the same in every place, so that the table is exact
    save_model(tmp_path / "m.safetensors", network, {})
    photo = random_photo(50, 70)
    write_photo(tmp_path / "photo.png", photo)
    config = ExportConfig(photo=str(tmp_path / "photo.png"), points=65)
    summary = export_cube(tmp_path / "m.safetensors", tmp_path / "m.cube", config)
    assert summary.psnr > 45
    title, size, *domain, first = (tmp_path / "m.cube").read_text().split("\n")[:5]
    assert (title, size) == ('TITLE "dpedkit: photo.png"', "LUT_3D_SIZE 65")
    assert domain == ["DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
    values = np.loadtxt(tmp_path / "m.cube", skiprows=4)
    table = values.reshape(65, 65, 65, 3).transpose(2, 1, 0, 3)  # blue varies slowest
    mapped = Enhancer(network, Placement(), colours_only=True)(photo)
    assert np.abs(look_up(table, photo / 255) * 255 - mapped).mean() < 1
    assert [float(value) for value in first.split()] == pytest.approx(table[0, 0, 0].tolist())


def test_a_cube_file_averages_over_the_place(tmp_path):
    network = build_generator("photo-aware", channels=8, blocks=1)
    network.photo_map = random_map()
    save_model(tmp_path / "m.safetensors", network, {})
    photo = random_photo(50, 70)
    write_photo(tmp_path / "photo.png", photo)
    config = ExportConfig(photo=str(tmp_path / "photo.png"), points=5)
    export_cube(tmp_path / "m.safetensors", tmp_path / "m.cube", config)
    table = np.loadtxt(tmp_path / "m.cube", skiprows=4).reshape(5, 5, 5, 3).transpose(2, 1, 0, 3)
    guide = network.guide(photo)
    luma = np.array([0.299, 0.587, 0.114])
    around, x, y = guide.rows(0, 50, 70, 50)[:3].reshape(3, -1)
    line = np.polyfit((photo / 255 @ luma).ravel(), around, 1)
    coefficients = network.photo_map.coefficients_of(guide.scores)
    for corner in [(1, 2, 3), (4, 1, 0), (2, 2, 2)]:
        colour = np.array(corner) / 4
        place = np.stack([np.full(len(x), np.polyval(line, colour @ luma)), x, y], axis=1)
        wanted = (terms(np.tile(colour, (len(x), 1)), place) @ coefficients).mean(axis=0)
        np.testing.assert_allclose(table[corner], wanted.clip(0, 1), atol=1e-4)


def test_a_cube_file_of_all_photos(tmp_path):
    network = build_generator("colour-residual", channels=4, blocks=1)
    save_model(tmp_path / "m.safetensors", network, {})
    summary = export_cube(tmp_path / "m.safetensors", tmp_path / "m.cube", ExportConfig(points=3))
    assert summary.psnr is None
    values = np.loadtxt(tmp_path / "m.cube", skiprows=4)
    np.testing.assert_allclose(values[:4], [[0, 0, 0], [0.5, 0, 0], [1, 0, 0], [0, 0.5, 0]])
    with pytest.raises(DpedkitError, match="--overwrite"):
        export_cube(tmp_path / "m.safetensors", tmp_path / "m.cube", ExportConfig())
    with pytest.raises(UsageError, match="the same colour map for every photo"):
        config = ExportConfig(photo="a.jpg")
        export_cube(tmp_path / "m.safetensors", tmp_path / "b.cube", config)


def test_a_network_without_a_colour_map_has_no_cube_file(model, tmp_path):
    with pytest.raises(UsageError, match="srcnn network, which has no colour map to write"):
        export_cube(model, tmp_path / "m.cube", ExportConfig())


def test_settings_of_the_other_format_are_refused(model, tmp_path):
    with pytest.raises(UsageError, match=r"--precision changes nothing in a \.cube file"):
        export_cube(model, tmp_path / "m.cube", ExportConfig(precision="fp16"))
    with pytest.raises(UsageError, match=r"--photo changes nothing in a \.onnx file"):
        export_onnx(model, tmp_path / "m.onnx", ExportConfig(photo="a.jpg"))


def test_the_missing_extra_is_named(model, tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_onnx(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(DpedkitError, match=r"pip install 'dpedkit\[onnx\]'"):
        export_onnx(model, tmp_path / "m.onnx", ExportConfig())
    assert not (tmp_path / "m.onnx").exists()


def test_what_cannot_be_written_is_refused_by_its_name(tmp_path):
    with pytest.raises(UsageError, match=r"m\.mlpackage: only \.onnx, \.tflite and"):
        export_onnx(tmp_path / "gone.safetensors", tmp_path / "m.mlpackage", ExportConfig())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "reach"),
    [
        ("srcnn", {}, 4 + 2 + 2),
        ("resnet-8-32", {"norm": "instance"}, 4 + 2 * 2 + 2 + 4),
        ("colour-residual", {"channels": 8, "blocks": 1}, 2 * (1 + 2 + 1)),
    ],
)
def test_one_size_through_litert(tmp_path, name, options, reach):
    pytest.importorskip("litert_torch", reason="the extra [litert] is not installed")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    model = saved(tmp_path, name, **options)
    summary = stages.export(model, tmp_path / "m.tflite", ExportConfig(side=48))
    assert summary.reach == reach
    run = interpreters.Interpreter(str(summary.file)).get_signature_runner()
    photo = torch.rand(1, 3, 48, 48)
    (found,) = run(photo=photo.numpy()).values()
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.from_numpy(found), load_model(model)(photo), atol=1e-4, rtol=0
        )
    with pytest.raises(DpedkitError, match="--overwrite"):
        stages.export(model, tmp_path / "m.tflite", ExportConfig(side=48))


def test_what_litert_cannot_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(litert_file, "_require_extra", lambda: None)
    model = saved(tmp_path, "photo-aware", channels=4, blocks=1)
    with pytest.raises(UsageError, match="LiteRT cannot sort"):
        stages.export(model, tmp_path / "m.tflite", ExportConfig())
    model = saved(tmp_path, "colour-residual", channels=4, blocks=1)
    with pytest.raises(UsageError, match="side is 99, but must be a multiple of 2"):
        stages.export(model, tmp_path / "m.tflite", ExportConfig(side=99))
    with pytest.raises(UsageError, match=r"--precision changes nothing in a \.tflite file"):
        stages.export(model, tmp_path / "m.tflite", ExportConfig(precision="fp16"))


def test_the_missing_extra_of_litert_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(DpedkitError, match=r"pip install 'dpedkit\[litert\]'"):
        stages.export(model, tmp_path / "m.tflite", ExportConfig())
