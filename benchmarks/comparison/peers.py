"""The packages that dpedkit is compared with: installed on demand, and absent with a reason.

    python peers.py VENV     install them all (extra `bench` of pyproject.toml)

VENV is a virtual environment of its own that also sees the packages of the Python that runs this,
so that PyTorch is not installed a second time and `./dev test` never meets the peers.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_REASONS = "peers.json"  # in the virtual environment: why a package could not be installed
_OPERATORS = ("nms", "qnms")
_OPERATOR = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class AbsentError(Exception):
    """A peer that is not here; the message says why."""


def load(name: str) -> ModuleType:
    """Import a module of a peer.

    Raises
    ------
    AbsentError
        If it is not installed, with what pip said, or if it cannot be imported.
    """
    package = name.split(".")[0]
    try:
        if package in ("piq", "torchmetrics"):
            _make_torchvision_importable()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or package
        raise AbsentError(_reasons().get(missing, f"{missing} is not installed.")) from error
    except Exception as error:  # whatever a package does wrong when it is imported
        raise AbsentError(f"{package} cannot be imported here: {_one_line(error)}") from error


@contextmanager
def calling() -> Iterator[None]:
    """What a peer raises while it is measured becomes an `AbsentError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peers deprecate is theirs to mend
            yield
    except Exception as error:
        raise AbsentError(f"it failed: {type(error).__name__}: {_one_line(error)}") from error


def _make_torchvision_importable() -> None:
    """Import torchvision, which piq needs and torchmetrics takes if it is there.

    PyPI's build is for CUDA: beside a PyTorch for CPUs its compiled operators do not load, and the
    import ends at the first of them that it looks up. No metric uses any, so that they are
    declared, and the import tried again. Calling one would still be an error.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "FRAGMENT")
        _declared.append(library)
        for operator in _OPERATORS:
            library.define(_OPERATOR.format(operator))
        importlib.import_module("torchvision")


_declared: list[Any] = []  # operators last as long as their library


def _reasons() -> dict[str, str]:
    path = Path(sys.prefix) / _REASONS
    reasons: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return reasons


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def wanted() -> list[str]:
    """The requirements of the extra `bench`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements: list[str] = project["optional-dependencies"]["bench"]
    return requirements


def names() -> list[str]:
    """The packages of the extra `bench`."""
    return [re.split(r"[^\w-]", requirement)[0] for requirement in wanted()]


def install(venv: Path) -> None:
    """Make the virtual environment and install one peer after the other into it.

    One that cannot be installed is left out; what pip said is kept for its row.
    """
    python = venv / "bin" / "python"
    # Anew, because what is there may be of another Python.
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", venv], check=True)
    ours = [path for path in sys.path if path.endswith("-packages")]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / version / "site-packages"
    # addsitedir also reads the .pth files there, by which an editable dpedkit is found.
    lines = [f"import site; site.addsitedir({path!r})" for path in ours]
    (packages / "packages-of-dpedkit.pth").write_text("\n".join(lines) + "\n", "utf-8")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    options = ("--quiet", "--retries", "1", "--constraint", ROOT / "constraints.txt")
    reasons = {}
    for requirement, name in zip(wanted(), names(), strict=True):
        command = [*pip, "install", *options, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            said = (errors or done.stderr.splitlines() or ["pip failed without a word"])[-1]
            reasons[name] = f"pip could not install it: {said.removeprefix('ERROR: ')}"
            print(f"{name}: {reasons[name]}", file=sys.stderr)
    (venv / _REASONS).write_text(json.dumps(reasons, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    install(Path(sys.argv[1]))
