"""The package as people get it: a wheel, installed where the repository is not."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from dpedkit import __version__

ROOT = Path(__file__).parents[1]
OF_THE_PACKAGE = ("dpedkit", "pipelines", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    for name in OF_THE_PACKAGE:  # a copy: building leaves files beside the sources
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy(source, folder)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "out", "."]
    pip(*build, folder=folder)
    (made,) = (folder / "out").glob("*.whl")
    assert made.name == f"dpedkit-{__version__}-py3-none-any.whl"
    return made


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment with nothing in it but the wheel; it sees the packages that the wheel
    depends on where the tests have them, but not the package that is tested here."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel, folder=home)
    # Folders in a .pth file are searched, but .pth files within them, as of editable installs,
    # are not obeyed.
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    there = Path(sysconfig.get_path("purelib"))
    (Path(paths["purelib"]) / "dependencies.pth").write_text(f"{there}\n")
    return home


def pip(*arguments, folder):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def clean():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run(environment, folder, program, *arguments):
    done = subprocess.run(
        [environment / "bin" / program, *map(str, arguments)],
        cwd=folder,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_it_is_the_wheel_that_runs(environment, tmp_path):
    code = (
        "import dpedkit, pathlib; home = pathlib.Path(dpedkit.__file__).parent;"
        "print(home, dpedkit.__version__, (home / 'py.typed').is_file())"
    )
    where, version, typed = run(environment, tmp_path, "python", "-c", code).split()
    assert Path(where).is_relative_to(environment)
    assert (version, typed) == (__version__, "True")
    assert run(environment, tmp_path, "dpedkit", "--version") == f"dpedkit {__version__}\n"


def test_the_wheel_holds_what_the_package_needs_and_no_more(environment):
    (home,) = environment.glob("lib/*/site-packages/dpedkit")
    installed = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    package = ROOT / "dpedkit"
    wanted = {
        str(Path(folder, name).relative_to(package))
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
    }
    ours, theirs = (
        {name for name in names if "__pycache__" not in name} for names in (wanted, installed)
    )
    assert theirs == ours
    assert "pipelines/demo.toml" in theirs


def test_the_demo_runs_outside_the_repository(environment, tmp_path):
    """All its stages, with fewer and smaller photos and steps."""
    assert "demo" in run(environment, tmp_path, "dpedkit", "run", "--list")
    (shipped,) = environment.glob("lib/*/site-packages/dpedkit/pipelines/demo.toml")
    recipe = shipped.read_text()
    changes = {
        "pairs = 12": "pairs = 4\nphone_megapixels = 0.3\ndslr_megapixels = 0.5",
        "test_pairs = 2": "test_pairs = 1",
        "min_corr = 0.9": "min_corr = 0.5",
        "steps = 500": "steps = 4",
        "evaluate_every = 100": "evaluate_every = 2",
        "iphone/0008.jpg": "iphone/0001.jpg",
    }
    for before, after in changes.items():
        assert before in recipe
        recipe = recipe.replace(before, after)
    (tmp_path / "small.toml").write_text(recipe)
    said = run(environment, tmp_path, "dpedkit", "run", "small.toml", "-j", "1")
    assert re.findall(r"^== (\w+)", said, re.MULTILINE) == [
        "simulate", "align", "patches", "train", "evaluate", "enhance", "reports",
    ]  # fmt: skip
    for made in ("aligned/report/index.html", "shards/index.json", "enhanced/0001.jpg"):
        assert (tmp_path / "demo" / made).is_file()
