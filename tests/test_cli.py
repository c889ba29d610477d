"""The command line: help, documentation, errors and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from api_reference import api_reference
from cli_reference import reference
from recipe_reference import recipe_reference

from dpedkit.cli import COMMANDS, cli, execute

ROOT = Path(__file__).parents[1]


def all_commands():
    context = click.Context(cli, info_name="dpedkit")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", command.commands[sub]) for sub in command.commands)


@pytest.mark.parametrize(("name", "command"), list(all_commands()), ids=lambda value: str(value))
def test_every_command_and_option_is_explained(name, command):
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"
            assert parameter.help.rstrip().endswith((".", ")")), f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", [name for name, _ in all_commands()])
def test_help_ends_in_an_example(name, capsys):
    assert execute([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"  dpedkit {name}" in text.split("Examples:")[1]


def test_reference_is_up_to_date():
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run ./dev docs"


def test_api_reference_is_up_to_date():
    assert (ROOT / "docs" / "api.md").read_text() == api_reference(), "run ./dev docs"


def test_recipe_reference_is_up_to_date():
    assert (ROOT / "docs" / "recipes.md").read_text() == recipe_reference(), "run ./dev docs"


def test_api_reference_tells_parameters_settings_and_errors():
    text = api_reference()
    align = text.split("### `dpedkit.align_pair`")[1].split("\n### ")[0]
    assert "config: AlignConfig | None = None" in align
    assert "- `phone`, `dslr` : (H, W, 3) uint8 array  \n  RGB, upright" in align
    settings = text.split("### `dpedkit.PatchConfig`")[1].split("\n### ")[0]
    assert "| `min_corr` | `0.9` |" in settings


def test_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"dpedkit {name}" not in readme] == []


def test_version(capsys):
    from dpedkit import __version__

    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == f"dpedkit {__version__}\n"


def test_help_loads_neither_torch_nor_opencv():
    code = (
        "import sys; from dpedkit.cli import execute; execute(['--help']);"
        "heavy = {'torch', 'cv2', 'h5py', 'scipy', 'numpy', 'PIL', 'rich'} & set(sys.modules);"
        "print(heavy, file=sys.stderr); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


NO_SUCH_LIBRARY = "cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            f"raise ImportError('libGL.so.1: {NO_SUCH_LIBRARY}', name='cv2')",
            "OpenCV cannot be loaded (libGL.so.1 is missing, as on most servers). Install the "
            "headless build:\n  pip uninstall -y opencv-contrib-python "
            "opencv-contrib-python-headless opencv-python && "
            "pip install opencv-contrib-python-headless\n",
        ),
        (
            "raise ImportError('numpy is too new for it', name='cv2')",
            "OpenCV cannot be loaded (numpy is too new for it). Install the headless build",
        ),
        (
            "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')",
            "OpenCV is missing; install it with: pip install opencv-contrib-python\n",
        ),
    ],
)
def test_opencv_that_cannot_be_loaded_is_a_sentence_with_the_cure(fault, words, tmp_path):
    (tmp_path / "cv2.py").write_text(fault)
    done = subprocess.run(
        [sys.executable, "-m", "dpedkit", "simulate", "-o", tmp_path / "raw", "--pairs", "1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words}")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["polish"], 2, "no command 'polish'"),
        (["align", "a"], 2, "Missing argument 'DSLR_FOLDER'"),
        (["align", "a", "b", "--matcher", "eye"], 2, "'eye' is not one of"),
        (["patches", "--min-corr", "high"], 2, "'high' is not a valid number"),
        (["patches", "--min-corr", "2"], 2, "2.0 is not in the range"),
        (["align", "a", "b", "-j", "1.5"], 2, "'1.5' is not a valid whole number"),
        (["patches", "-q", "-v"], 2, "cannot be used together"),
        (["align", "nowhere", "b"], 1, "nowhere: there is no such folder"),
        (["pairs", "nowhere", "b"], 1, "nowhere: there is no such folder"),
        (["patches", "nowhere"], 1, "nowhere"),
        (["train", "nowhere"], 1, "nowhere"),
        (["evaluate", "none.safetensors", "nowhere"], 1, "none.safetensors"),
        (["enhance", "none.safetensors", "photo.jpg"], 1, "none.safetensors"),
        (["run", "no-such-recipe"], 2, "no recipe 'no-such-recipe'"),
        (["run"], 2, "Name a recipe"),
        (["report", "nowhere"], 1, "nowhere"),
        (["report", __file__], 1, "is a file; give the folder"),
        (["patches", __file__], 1, "is a file; give the folder"),
        (["import-patches", __file__], 1, "is a file; give the folder"),
        (
            ["report", "nowhere", "--photos", "x"],
            2,
            "only be used with `dpedkit report colour-loss`",
        ),
        (["import-patches", "nowhere"], 1, "nowhere: there is no such folder"),
        (["import-model", "nowhere", "-o", "x.safetensors"], 1, "nowhere.index"),
        (["shards", "verify", "nowhere"], 1, "nowhere"),
        (["train", "nowhere", "--recipe", "no-such-recipe"], 2, "no recipe"),
    ],
)
def test_mistakes_get_one_sentence_and_their_exit_code(
    arguments, code, words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert execute(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) <= 3
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_errors_as_json(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert execute(["align", "nowhere", "b", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 1
    assert "nowhere" in answer["error"]


def test_doctor(capsys):
    assert execute(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["versions"]["torch"] != "missing"
    assert findings["photo_formats"]["JPEG"]
    assert execute(["doctor"]) == 0
    assert "Places searched for VGG-19 weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evalute"], "There is no command 'evalute'. Did you mean 'evaluate'?"),
        (["frobnicate"], "There is no command 'frobnicate'. Commands: simulate, pairs, align"),
        (["train", "shards", "--lr", "1"], "Did you mean '--learning-rate'?"),
        (["align", "--workers", "2"], "Did you mean '--jobs'?"),
        (["doctor", "--workers", "2"], "No such option '--workers'."),
    ],
)
def test_what_was_meant_is_named(arguments, sentence, capsys):
    assert execute(arguments) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert "--jobs" not in message or arguments[0] == "align"
