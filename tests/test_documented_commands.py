"""Every command in the README, the documentation and the help runs as it stands there.

Each page's blocks run in order in a folder that holds what the page takes for granted, made by
simulation under the names that the page uses. Long work is shortened by options added at the end.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import CHROMIUM
from PIL import Image
from test_cli import all_commands
from test_import_model import authors_variables, write_checkpoint
from test_import_patches import write_dped, write_patches

from dpedkit.cli import execute
from dpedkit.models.build import build_generator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# Signatures are no commands, and examples have a test below.
GENERATED = ("api.md", "cli.md", "failures.md")
WRITTEN = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in GENERATED]
PAGES = ["README.md", *(f"docs/{path.name}" for path in WRITTEN)]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What is not there yet when a page begins.
NOT_YET = {
    "README.md": ["aligned", "shards", "runs"],
    "docs/integrations.md": ["runs"],
    "docs/paper.md": ["aligned", "shards", "runs"],
    "docs/photos.md": ["aligned", "shards", "runs"],
    "docs/training.md": ["runs/mine"],
    "docs/tutorial.md": ["aligned", "shards", "runs"],
}
SCENES = 6
PHOTOS = ["--phone-megapixels", "0.35", "--dslr-megapixels", "0.9"]
TRAINING = "--steps 2 --batch 4 --evaluate-every 1 --evaluate-patches 4 --content msssim-l1"

RECIPE = "--set train.steps=2 --set train.evaluate_every=1 --set train.evaluate_patches=4"

# Functions of the shell that stand before the commands of the same name.
SHORTENED = f"""
set -eu
dpedkit() {{
    case "$*" in
        *"--cluster tcp://10.0.0.1:8786") dpedkit "${{@:1:$#-2}}" ;;
        "patches --test-pairs 4 "*) command dpedkit patches --test-pairs 2 --val-pairs 1 ;;
        "card "*--check*) command dpedkit "$@" || test $? = 1 ;;  # if something is missing
        "train "*--cache-features*) command dpedkit train shards/ {TRAINING} ;;
        "train "*--recipe*) command dpedkit "$@" {TRAINING} ;;
        "train "*) command dpedkit "$@" {TRAINING} --generator photo-aware ;;
        "run my.toml"*) command dpedkit "$@" {RECIPE} ;;
        "sweep "*--cross*) command dpedkit "$@" {RECIPE} --seeds 1 --cross-validate 2 ;;
        "sweep "*) command dpedkit "$@" {RECIPE} --seeds 1 ;;
        "evaluate "*--photos*) command dpedkit "$@" --no-perceptual ;;
        simulate*) command dpedkit "$@" --pairs 2 {" ".join(PHOTOS)} ;;
        *) command dpedkit "$@" ;;
    esac
}}
python() {{
    case "$1" in
        benchmarks/enhance.py) command python "$@" --megapixels 0.1 --full 0.2 ;;
        benchmarks/photo_map.py) command python "$1" shards --folds 6 ;;
        benchmarks/export.py) command python "$@" --megapixels 0.1 --rounds 1 ;;
        benchmarks/report.py) command python "$@" --pairs 20 ;;
        *) command python "$@" ;;
    esac
}}
torchrun() {{  # --nproc-per-node 4 -m dpedkit train ...
    shift 2
    command torchrun --nproc-per-node 2 "$@" {TRAINING} --generator photo-aware
}}
"""
# What is run elsewhere, or not at all, and why.
NOT_RUN = {
    "./dev": "runs these very tests, or the demo, whose two minutes are its acceptance run",
    "dpedkit run demo": "the same demo",
    "dpedkit run city100": "wants City100's photos, and minutes; test_recipe.py reads the recipes",
    "dpedkit sweep city100": "wants City100's photos; sweeps of other recipes run",
    "dpedkit sweep cpu --set train.shards=shards-dped": "wants photos of DPED",
    "dpedkit sweep finetune --set train.content=vgg19": "wants the weights of VGG-19",
    "tensorboard ": "would not end; test_trackers.py reads what it shows",
    "hf ": "wants the Hugging Face Hub; test_hub.py runs the uploads with a server of its own",
    "dask ": "would not end; test_cluster.py runs the commands on a cluster",
    "torchrun --nnodes 2": "would wait for the second machine",
    "dpedkit export runs/001 model.tflite": "wants the extra litert; see test_export.py",
}
if not any(map(shutil.which, CHROMIUM)):
    NOT_RUN["python benchmarks/report.py"] = "wants Chromium"


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All that pages and examples take for granted, under the names that they use."""
    here = tmp_path_factory.mktemp("documented") / "here"
    here.mkdir()
    assert (
        execute(["simulate", "-o", str(here / "raw"), "--pairs", str(SCENES), *PHOTOS, "-q"]) == 0
    )
    give_times(here / "raw" / "iphone", "Apple", "iPhone 15 Pro", timedelta(0))
    give_times(here / "raw" / "canon", "Canon", "Canon EOS 70D", timedelta(hours=1))
    for name in ("raw/sony", "raw/blackberry", "raw/a", "phone", "photos"):
        shutil.copytree(here / "raw" / "iphone", here / name)
    for name in ("raw/b", "dslr"):
        shutil.copytree(here / "raw" / "canon", here / name)
    for name in ("photo.jpg", "PHOTO"):
        shutil.copyfile(here / "raw" / "iphone" / "0001.jpg", here / name)
    run_script(
        here,
        """
        dpedkit align raw/iphone raw/canon -q
        dpedkit patches -q
        dpedkit train shards/ -q
        dpedkit train shards/ --name mine -q
        """,
    )
    shutil.copytree(here / "aligned", here / "pairs")
    shutil.copyfile(here / "runs" / "001" / "model.safetensors", here / "model.safetensors")
    (here / "my-model").mkdir()  # as it is downloaded
    shutil.copyfile(here / "model.safetensors", here / "my-model" / "model.safetensors")
    for number, name in enumerate(("monday", "tuesday")):
        config = ["--seed", "0", "--min-corr", f"0.{91 + number}"]
        folder = str(here / name)
        assert execute(["patches", str(here / "aligned"), "-o", folder, *config, "-q"]) == 0
    write_dped(here / "dped" / "iphone", {"training_data": 6, "test_data/patches": 3})
    for name in ("iphone", "canon"):
        patches = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3)).astype(np.uint8)
        write_patches(here / "patches" / name, patches)
    torch.manual_seed(0)
    checkpoint = authors_variables(build_generator("resnet-8-32", norm="instance").eval())
    (here / "models_orig").mkdir()
    write_checkpoint(here / "models_orig" / "iphone_orig", checkpoint)
    (here / "decisions.csv").write_text("name,decision,note\n0002,rejected,a bird\n")
    (here / "my.toml").write_text(
        "[align]\n[patches]\noutput = 'patches-of-my-recipe'\n[train]\nextends = 'cpu'\n"
    )
    names = [path.stem for path in sorted((here / "aligned" / "dslr").iterdir())]
    (here / "splits.csv").write_text("".join(f"{name},train\n" for name in names))
    (here / "path" / "to").mkdir(parents=True)
    (here / "path" / "to" / "dpedkit").symlink_to(ROOT)
    (here / "benchmarks").symlink_to(ROOT / "benchmarks")
    (here / ".config" / "fish" / "completions").mkdir(parents=True)
    return here.rename(here.with_name("everything"))


@pytest.fixture
def here(everything):
    """A copy of everything, always in the folder where it was made: records hold whole paths."""
    folder = everything.with_name("here")
    shutil.copytree(everything, folder, symlinks=True)
    yield folder
    shutil.rmtree(folder)


def give_times(folder, make, model, ahead):
    """Write camera and time of each photo, as if the scenes were minutes apart."""
    taken = datetime(2017, 5, 1, 10) + ahead
    for number, path in enumerate(sorted(folder.glob("*.jpg"))):
        taken += timedelta(seconds=61 + 37 * number * number)
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = make, model
        exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
        with Image.open(path) as photo:
            photo.save(path, quality=95, subsampling=0, exif=exif)


def run_script(folder, script):
    """Run a script as a person's shell would; return what it wrote to stdout."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", SHORTENED + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def blocks_of(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def script_of(kind, text):
    """The commands of a block, and the first line that they are said to print, if any."""
    if "$ " not in text:
        return (text, None) if kind == "sh" else ("", None)
    lines = text.splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    printed = [line for line in lines if not line.startswith("$ ")]
    return "\n".join(commands), (printed[0] if len(commands) == 1 and printed else None)


def without_excluded(script):
    lines = script.replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if not line.startswith(tuple(NOT_RUN)))


def form(line):
    """A line with every number replaced, since other photos give other numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", line)


def has_commands(page):
    return any(kind == "python" or script_of(kind, text)[0] for kind, text in blocks_of(page))


@pytest.mark.parametrize("page", [page for page in PAGES if has_commands(page)])
def test_the_commands_of_a_page_run_one_after_the_other(page, here, monkeypatch):
    for made in NOT_YET.get(page, []):
        shutil.rmtree(here / made)
    monkeypatch.chdir(here)
    names = {
        "phone": Path("raw/iphone/0001.jpg"),
        "dslr": Path("raw/canon/0001.jpg"),
        "photos": torch.rand(1, 3, 64, 64),
    }
    left_out = []
    for kind, text in blocks_of(page):
        if kind == "python":
            missing = [name for name in imports_of(text) if not installed(name)]
            if missing or (left_out and "load_dataset" in text):
                left_out += missing
                continue
            exec(compile(text, page, "exec"), names)
        else:
            script, printed = script_of(kind, text)
            output = run_script(here, without_excluded(script)) if script else ""
            if printed is not None:
                assert form(output.splitlines()[0]) == form(printed)
    if left_out:
        pytest.skip(f"all has run but what needs {', '.join(left_out)}, which is not installed")


def imports_of(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def installed(name):
    from importlib.util import find_spec

    return find_spec(name) is not None


# What must not be there yet when an example runs, besides what `-o` names.
MADE_BY = {
    "simulate": ["raw"],
    "align": ["aligned"],
    "patches": ["shards"],
    "import-patches": ["shards"],
    "run": ["aligned"],
}
EXAMPLES = sorted(
    {line for _, command in all_commands() for line, _ in command.examples if "COMMAND" not in line}
)


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not line.startswith(tuple(NOT_RUN))])
def test_the_examples_of_the_help_run(line, here):
    words = shlex.split(line)
    made = MADE_BY.get(words[1], [])
    if "-o" in words:
        made = [words[words.index("-o") + 1]]
    for name in made:
        if (here / name).is_dir():
            shutil.rmtree(here / name)
    before = states_below(here)
    output = run_script(here, line)
    changed = {path for path, state in states_below(here).items() if before.get(path) != state}
    place = written_by(words)
    if place is None:
        assert output.strip()
        changed = {path for path in changed if "evaluations" not in path.parts}
        # The page of a run that is evaluated, and which shards were found sound.
        assert {path.name for path in changed} <= {"index.html", "sound-shards.json"}
    else:
        assert any(path.is_relative_to(here / place) for path in changed), f"nothing in {place}"


def states_below(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files}


def written_by(words):
    """The file or the folder that a command says it writes; None for one that only tells."""
    for option in ("-o", "--report"):
        if option in words:
            return words[words.index(option) + 1]
    match words[1:]:
        case ["report", "colour-loss", *_]:
            return "colour-loss.svg"
        case ["report", folder, *_]:
            return f"{folder.rstrip('/')}/report/index.html"
        case ["card", folder, *_] if "--check" not in words:
            return folder
        case ["export", _, file, *_]:
            return file
        case [*_, "train", "shards/"] | ["train", *_]:
            return "runs"
        case ["run", "my.toml"]:
            return "patches-of-my-recipe"
        case ["run", "my.toml", "--set", _]:
            return "runs"
        case ["sweep", *_]:
            return "sweeps"
        case [command, *_] if command in MADE_BY and command != "run":
            return MADE_BY[command][0]
    return None


def test_what_is_not_run_is_there():
    commands = ast.parse((ROOT / "dev").read_text())
    known = {node.name for node in commands.body if isinstance(node, ast.FunctionDef)}
    for page in PAGES:
        for command in re.findall(r"^\./dev (\w+)", (ROOT / page).read_text(), re.MULTILINE):
            assert command in known
