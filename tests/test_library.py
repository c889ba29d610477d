"""dpedkit as a library: the public names, and the example of the README."""

import ast
import builtins
import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from api_reference import api_reference
from fake_shards import make_patches, write_shards

import dpedkit
from dpedkit import images, pairing, report, shards
from dpedkit.align.config import AlignConfig, AlignFoldersConfig
from dpedkit.align.folder import align_folders
from dpedkit.models import save_model
from dpedkit.patches import cut_patches
from dpedkit.resample import crop_phone, resample_dslr
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

README = Path(__file__).parents[1] / "README.md"
PACKAGES = (
    "dpedkit",
    *(
        f"dpedkit.{name}"
        for name in ("enhancement", "evaluation", "models", "pairing", "patches", "shards")
    ),
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_stays_the_same(package):
    module = importlib.import_module(package)
    names = [name for name in module.__all__ if not name.startswith("__")]
    first = {name: getattr(module, name) for name in names}
    for name in names:
        assert getattr(module, name) is first[name]
        assert not hasattr(first[name], "__path__"), f"{package}.{name} is a module"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense


def test_the_example_of_the_readme(tmp_path):
    """The library example, word for word, on a simulated pair."""
    from dpedkit.images import write_photo

    shot = simulate_pair(SimulateConfig(phone_megapixels=0.4, dslr_megapixels=0.8), 0)
    paths = {"phone": tmp_path / "a.jpg", "dslr": tmp_path / "b.jpg"}
    write_photo(paths["phone"], shot.phone)
    write_photo(paths["dslr"], shot.dslr)
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code is not None
    names: dict = dict(paths)
    exec(code.group(1), names)
    assert names["alignment"].accepted
    assert len(names["patches"]) > 0
    assert dpedkit.__version__


def test_a_type_checker_sees_the_names_that_are_there():
    tree = ast.parse(Path(dpedkit.__file__).read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            for line in node.body:
                seen |= {name.name: line.module for name in line.names}
    assert {name: home.replace("dpedkit", "", 1) for name, home in seen.items()} == dpedkit._HOME
    errors = {name for name in dpedkit.__all__ if name.endswith("Error")}
    assert {*seen, *errors, "__version__"} == set(dpedkit.__all__) == set(dir(dpedkit))


def test_importing_the_package_loads_neither_opencv_nor_torch():
    code = (
        "import dpedkit, sys; dpedkit.PhotoError; print({'cv2', 'torch', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_functions_stay_functions_whatever_is_imported():
    code = (
        "import dpedkit, dpedkit.evaluation.driver, dpedkit.enhancement.driver\n"
        "import dpedkit.training.loop\n"
        "assert all(map(callable, (dpedkit.train, dpedkit.evaluate, dpedkit.enhance)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Names in signatures that are not dpedkit's, and two of its names for plain types, which the head
# of the page explains.
KNOWN = {
    *("Any", "Callable", "Iterable", "Mapping", "NDArray", "None", "Path", "Self", "Sequence"),
    *("Tensor", "True", "False", "B", "Points", "Rectangle", "Pair", "Shuffle", "Group", "Module"),
    *("Convolutions", "Pixels"),
}


def test_every_type_that_a_documented_signature_names_is_documented():
    page = api_reference()
    documented = {path.split(".")[-1] for path in re.findall(r"^### `(.*)`$", page, re.MULTILINE)}
    calls = re.findall(r"```python\n(.*?)```|^- `\.(.*?)`", page, re.MULTILINE | re.DOTALL)
    named = set()
    for call, method in calls:
        text = re.sub(r"'[^']*'", "", call + method)
        named |= set(re.findall(r"\b[A-Z]\w*", text))
    assert "PairMap" in named
    assert named - documented - KNOWN - set(dir(builtins)) == set()


PHOTO = np.zeros((150, 200, 3), np.uint8)
WRONG = {
    "float": (PHOTO / np.float32(255), TypeError, "float32"),
    "16 bits": (PHOTO.astype(np.uint16), TypeError, "uint16"),
    "grey": (PHOTO[:, :, 0], ValueError, r"shape \(150, 200\)"),
    "alpha": (np.zeros((150, 200, 4), np.uint8), ValueError, r"shape \(150, 200, 4\)"),
    "channels first": (PHOTO.transpose(2, 0, 1), ValueError, r"shape \(3, 150, 200\)"),
    "a batch": (PHOTO[None], ValueError, r"shape \(1, 150, 200, 3\)"),
    "no pixels": (PHOTO[:0], ValueError, r"shape \(0, 200, 3\)"),
    "a path": ("photo.jpg", TypeError, "of type str"),
    "a tensor": (torch.zeros(150, 200, 3, dtype=torch.uint8), TypeError, "of type Tensor"),
    "nothing": (None, TypeError, "of type NoneType"),
}
MAP = dpedkit.PairMap(np.eye(3), (200, 150), (200, 150))
TAKING_PHOTOS = {
    "align_pair, phone": lambda photo, folder: dpedkit.align_pair(photo, PHOTO),
    "align_pair, dslr": lambda photo, folder: dpedkit.align_pair(PHOTO, photo),
    "match_windows, phone": lambda photo, folder: dpedkit.match_windows(photo, PHOTO),
    "match_windows, dslr": lambda photo, folder: dpedkit.match_windows(PHOTO, photo),
    "crop_phone": lambda photo, folder: crop_phone(photo, (0, 0, 10, 10)),
    "resample_dslr": lambda photo, folder: resample_dslr(photo, MAP, (0, 0, 10, 10)),
    "write_photo, png": lambda photo, folder: images.write_photo(folder / "a.png", photo),
    "write_photo, jpg": lambda photo, folder: images.write_photo(folder / "a.jpg", photo),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", TAKING_PHOTOS)
def test_an_array_that_is_no_photo_is_refused(call, wrong, tmp_path):
    photo, error, said = WRONG[wrong]
    with pytest.raises(error, match=said + r".*\(H, W, 3\) uint8"):
        TAKING_PHOTOS[call](photo, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_arrays_that_do_not_fit_are_refused():
    for crop in ((0, 0, 201, 10), (-1, 0, 10, 10)):
        with pytest.raises(ValueError, match=r"crop .* beyond a photo of shape \(150, 200, 3\)"):
            crop_phone(PHOTO, crop)
    with pytest.raises(ValueError, match=r"\(150, 100, 3\), but the map is for \(150, 200, 3\)"):
        resample_dslr(PHOTO[:, :100], MAP, (0, 0, 10, 10))
    with pytest.raises(ValueError, match="differ in shape"):
        dpedkit.match_windows(PHOTO, PHOTO[:100])
    with pytest.raises(TypeError, match=r"known is a bool array .* \(H, W\) uint8"):
        dpedkit.match_windows(PHOTO, PHOTO, known=np.ones((150, 200), bool))
    for points in (np.zeros(2), np.zeros((4, 3))):
        for transform in (MAP, MAP.inverse):
            with pytest.raises(ValueError, match=r"\(N, 2\)"):
                transform(points)


def test_settings_of_a_pair_do_for_folders():
    whole = AlignFoldersConfig.of(AlignConfig(field="off"))
    assert whole == AlignFoldersConfig(field="off")
    assert AlignFoldersConfig.of(None) == AlignFoldersConfig()
    own = replace(whole, pair_by="order")
    assert AlignFoldersConfig.of(own) is own
    assert not hasattr(AlignConfig(), "max_megapixels")


def test_paths_are_str_or_path(tmp_path, monkeypatch):
    """Everything public that takes a path, with both; what is made is the same."""
    shot = simulate_pair(SimulateConfig(phone_megapixels=0.3, dslr_megapixels=0.5), 0)
    model = dpedkit.build_generator("resnet-8-32")
    results = []
    for kind in (str, Path):
        monkeypatch.chdir(tmp_path)
        Path(kind.__name__).mkdir()
        monkeypatch.chdir(kind.__name__)
        for side in ("phone", "dslr"):
            Path(side).mkdir()
            images.write_photo(kind(f"{side}/1.png"), getattr(shot, side))
        images.read_photo_and_metadata(kind("phone/1.png"))
        assert len(images.list_photos(kind("phone"))) == 1
        assert len(pairing.pair_photos(kind("phone"), kind("dslr")).pairs) == 1
        align_folders(kind("phone"), kind("dslr"), kind("aligned"), jobs=1)
        report.write_report(kind("aligned"))
        config = dpedkit.PatchConfig(min_corr=0.5, test_pairs=0, val_pairs=0)
        cut_patches(kind("aligned"), kind("cut"), config, jobs=1)
        write_shards(
            Path("shards"), {"train": make_patches(4, 32, 0), "test": make_patches(4, 32, 1)}
        )
        assert shards.verify(kind("shards")).patches == 8
        assert shards.describe(kind("shards")).patch_size == 32
        shards.filter_shards(kind("cut"), kind("filtered"), shards.FilterConfig(min_corr=0.6))
        shards.merge_shards([kind("cut")], kind("merged"))
        shards.export_patches(kind("cut"), kind("exported"))
        assert len(dpedkit.open_split(kind("merged"), "train"))
        assert len(dpedkit.DpedShards(kind("merged"), "train"))
        save_model(kind("m.safetensors"), model, {})
        dpedkit.load_model(kind("m.safetensors"))
        evaluation = dpedkit.evaluate(kind("m.safetensors"), kind("shards"))
        images.write_photo(kind("small.png"), shot.phone[:40, :40])
        enhanced = dpedkit.enhance(kind("m.safetensors"), kind("small.png"), kind("out"))
        assert dpedkit.enhance(kind("m.safetensors"), [kind("small.png")], kind("out")).skipped == 1
        results.append(
            (
                dpedkit.read_photo(kind("phone/1.png")).tolist(),
                sorted(str(path) for path in Path().rglob("*")),
                evaluation.to_dict(),
                str(enhanced.written),
            )
        )
    assert results[0] == results[1]
