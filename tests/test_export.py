"""An exported network computes what the trained one computes."""

import builtins
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_photomap import random_map, random_photo

from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.enhancement.network import Enhancer
from dpedkit.enhancement.storage import Placement
from dpedkit.export import ExportConfig, export_cube, export_onnx
from dpedkit.export.cube import look_up
from dpedkit.images import write_photo
from dpedkit.models import build_generator, load_model, save_model
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap.map import terms

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
    with pytest.raises(UsageError, match=r"m\.tflite: only ONNX and"):
        export_onnx(tmp_path / "gone.safetensors", tmp_path / "m.tflite", ExportConfig())
