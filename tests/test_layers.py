"""Data flows one way: the foundation knows no stage, and no stage knows another."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dpedkit"

# Modules of one layer may import lower layers and themselves, never each other or upwards.
FOUNDATION = {"_version", "core", "images", "surfaces", "geometry"}
SCIENCE = {
    "models", "losses", "metrics", "photometrics", "intervals", "colourmap", "photomap",
    "photostatistics", "shards", "aligned", "pairing", "resample",
}  # fmt: skip
STAGES = {
    "simulate", "align", "patches", "training", "evaluation", "enhancement", "export",
    "import_model", "import_patches", "report", "doctor", "publishing", "diagnosis",
}  # fmt: skip
TOP = {"stages", "recipe", "sweep", "cli", "__main__", "__init__"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dpedkit"):
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == "dpedkit" else [module]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("dpedkit.")]
        rooms |= {name.split(".")[1] for name in names if "." in name}
    return rooms


def layer(name: str) -> int:
    for number, layer_rooms in enumerate((FOUNDATION, SCIENCE, STAGES, TOP)):
        if name in layer_rooms:
            return number
    raise AssertionError(f"dpedkit/{name} belongs to no layer: name it in this test")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_only_lower_layers(path):
    own = room(path)
    for other in imported_rooms(path) - {own}:
        assert layer(other) <= layer(own), f"{path} imports {other} from a layer above"
        if own in STAGES:
            assert other not in STAGES, f"stage {own} imports stage {other} ({path})"


def users_of(library: str) -> set[str]:
    users = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            if any(module.split(".")[0] == library for module in modules):
                inside = path.relative_to(PACKAGE).with_suffix("").parts
                users.add("/".join(inside) if inside[0] == "core" else inside[0])
    return users


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("joblib", {"core/parallel", "core/cluster"}),
        ("distributed", {"core/cluster"}),
        ("h5py", {"shards"}),
    ],
)
def test_one_room_owns_each_library(library, rooms):
    assert users_of(library) == rooms


def test_one_module_spreads_work():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "cluster.current(" in path.read_text(encoding="utf-8")
    }
    assert users == {"core/parallel.py"}


def test_reading_a_network_loads_nothing_about_shards():
    """A program that enhances photos needs neither HDF5 nor the reader of the patches."""
    code = (
        "import sys, dpedkit; dpedkit.load_model; "
        "from dpedkit.models import build_generator; build_generator('colour-residual'); "
        "print([name for name in ('h5py', 'dpedkit.shards.reader') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_network_does_not_load_the_compiler_of_torch(tmp_path):
    """It takes longer than everything else before the first photo."""
    code = (
        "import sys, dpedkit, pathlib; from dpedkit.models import build_generator, save_model; "
        f"path = pathlib.Path({str(tmp_path / 'm.safetensors')!r}); "
        "save_model(path, build_generator('photo-aware'), {}); dpedkit.load_model(path); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
