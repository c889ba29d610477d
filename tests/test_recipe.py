"""Recipes: only what changed is run again."""

import json
import shutil
from pathlib import Path

import pytest
from fake_shards import make_patches, write_shards
from small_recipe import SMALL_RECIPE

from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.recipe import (
    STATE_FILE,
    find_recipe,
    list_recipes,
    plan_recipe,
    read_recipe,
    read_settings,
    run_recipe,
)
from dpedkit.training.config import TrainConfig


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "chain.toml"
    path.write_text(SMALL_RECIPE)
    return path


def change(recipe, before, after):
    text = recipe.read_text()
    assert before in text
    recipe.write_text(text.replace(before, after))


def test_only_changed_stages_and_those_after_them_run(recipe):
    def ran():
        return run_recipe(str(recipe), jobs=1).ran

    assert ran() == ["simulate", "align", "patches"]
    again = run_recipe(str(recipe), jobs=1)
    assert again.ran == []
    assert "Nothing to do" in again.as_text()
    change(recipe, "min_corr = 0.5", "min_corr = 0.6")
    assert ran() == ["patches"]
    change(recipe, "[align]", "[align]\nmin_verified = 30")
    assert ran() == ["align", "patches"]
    assert ran() == []
    # A photo that was replaced is aligned again.
    photo = recipe.parent / "raw" / "iphone" / "0001.jpg"
    photo.write_bytes(photo.read_bytes())
    assert ran()[0] == "align"


def test_a_damaged_description_of_a_finished_stage_is_named(recipe):
    run_recipe(str(recipe), jobs=1)
    description = recipe.parent / "raw" / "simulate.json"
    whole = description.read_bytes()
    description.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(DpedkitError, match=r"simulate\.json is damaged"):
        run_recipe(str(recipe), jobs=1)
    description.write_bytes(whole)
    assert run_recipe(str(recipe), jobs=1).ran == ["simulate"]  # which finds it complete
    assert run_recipe(str(recipe), jobs=1).ran == []


def test_a_licence_named_later_gets_into_the_card_and_nothing_is_cut_again(recipe):
    run_recipe(str(recipe), jobs=1)
    shards = recipe.parent / "shards"
    before = {path: path.stat().st_mtime_ns for path in shards.glob("*.h5")}
    for licence in ("cc-by-4.0", "cc0-1.0"):
        text = recipe.read_text().split("licence")[0]
        recipe.write_text(f'{text}licence = "{licence}"\n')
        assert run_recipe(str(recipe), jobs=1).ran == ["patches"]
        assert f'license: "{licence}"' in (shards / "README.md").read_text()
        assert run_recipe(str(recipe), jobs=1).ran == []
    assert before == {path: path.stat().st_mtime_ns for path in shards.glob("*.h5")}


def test_files_that_settings_name_are_input_too(tmp_path):
    path, start = tmp_path / "r.toml", tmp_path / "start.safetensors"
    keys = set()
    for settings in ("", f"init = '{start}'", f"vgg = '{start}'"):
        path.write_text(f"[train]\n{settings}\n")
        for content in (b"1", b"22"):
            start.write_bytes(content)
            (step,) = read_recipe(str(path), tmp_path).steps
            keys.add(step.key())
    assert len(keys) == 1 + 2 + 2


def test_a_stopped_stage_is_continued(recipe, monkeypatch):
    from dpedkit import stages

    def stop(*args, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "patches", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(str(recipe), jobs=1)
    assert not json.loads((recipe.parent / STATE_FILE).read_text())["patches"]["done"]
    assert run_recipe(str(recipe), jobs=1).ran == ["patches"]


def test_output_of_others_is_not_replaced(recipe):
    assert execute(["simulate", "--pairs", "2", "-q"]) == 0
    for _ in range(2):
        with pytest.raises(DpedkitError, match="--overwrite"):
            run_recipe(str(recipe), jobs=1)
        assert len(list((recipe.parent / "raw" / "iphone").iterdir())) == 2
    assert "simulate" in run_recipe(str(recipe), jobs=1, overwrite=True).ran
    assert len(list((recipe.parent / "raw" / "iphone").iterdir())) == 3


def test_a_finished_run_is_kept_when_its_settings_change(tmp_path, monkeypatch):
    """What took hours is not replaced because somebody changed a line of the recipe."""
    write_shards(tmp_path / "shards", {"train": make_patches(6, 32, 0)})
    monkeypatch.chdir(tmp_path)
    runs = {}
    for steps in (1, 2, 3):
        (tmp_path / "mine.toml").write_text(
            f"[train]\nsteps = {steps}\ngenerator = 'srcnn'\nnorm = 'none'\nbatch = 2\n"
            "content = 'msssim-l1'\ntexture_weight = 0\ndevice = 'cpu'\n"
        )
        assert run_recipe("mine.toml", jobs=1).ran == ["train"]
        runs[steps] = (tmp_path / "runs" / "mine" / "model.safetensors").read_bytes()
        assert run_recipe("mine.toml", jobs=1).ran == []
    for name, steps in (("mine.1", 1), ("mine.2", 2), ("mine", 3)):
        assert (tmp_path / "runs" / name / "model.safetensors").read_bytes() == runs[steps]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "mine", "mine.1", "mine.2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[alien]\n", "no stage 'alien'"),
        ("[algin]\n", "did you mean 'align'"),
        ("foldr = 'x'\n[align]\n", "did you mean 'folder'"),
        ("align = 3\n", "write [align]"),
        ("[align]\nworking_mp = 'big'\n", "must be a number"),
        ("[align]\nmatchers = 'sift'\n", "did you mean 'matcher'"),
        ("[patches]\nmin_corr = 3\n", "between -1 and 1"),
        ("description = 'nothing'\n", "has no stage"),
        ("[align\n", "not valid TOML"),
        ("folder = 3\n[align]\n", "folder is 3"),
        ("[align]\noutput = 3\n", "[align] output is 3"),
    ],
)
def test_a_faulty_recipe_is_told_before_anything_runs(tmp_path, text, words):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"r\.toml") as caught:
        run_recipe(str(path), tmp_path / "work")
    assert words in str(caught.value)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", list_recipes().descriptions)
def test_every_shipped_recipe_is_sound(name, tmp_path):
    recipe = read_recipe(name, tmp_path)
    assert recipe.name == name
    assert {step.name for step in recipe.steps} >= {"train"}


def test_unknown_recipe_names_the_shipped_ones():
    with pytest.raises(UsageError, match="demo"):
        find_recipe("demos")


def write(folder, **recipes):
    for name, text in recipes.items():
        (folder / f"{name}.toml").write_text(text)


def train_config(path, *changes):
    steps = {step.name: step for step in read_recipe(str(path), changes=changes).steps}
    return steps["train"].config


def test_a_recipe_takes_over_what_it_extends_key_by_key(tmp_path):
    write(
        tmp_path,
        grandparent="folder = 'work'\n[patches]\nmin-corr = 0.8\nsize = 64\n[train]\nsteps = 5\n",
        parent="extends = 'grandparent.toml'\n[patches]\nmin_corr = 0.7\n[train]\nbatch = 3\n",
        child="extends = 'parent.toml'\n[train]\nsteps = 9\n",
    )
    recipe = read_recipe(str(tmp_path / "child.toml"))
    patches, train = recipe.steps
    assert (patches.config.min_corr, patches.config.size) == (0.7, 64)
    assert (train.config.steps, train.config.batch) == (9, 3)
    assert train.output == tmp_path / "work" / "runs" / "child"


def test_a_table_takes_over_settings_but_no_paths(tmp_path):
    write(
        tmp_path,
        base="[patches]\nsize = 64\n[train]\nshards = 'others'\nsteps = 5\nbatch = 3\n",
        mine="[train]\nextends = 'base.toml'\nbatch = 4\n",
        cpu="[train]\nextends = 'cpu'\nsteps = 7\n",
    )
    (step,) = read_recipe(str(tmp_path / "mine.toml")).steps
    assert (step.config.steps, step.config.batch) == (5, 4)
    assert step.paths["shards"] == tmp_path / "shards"
    # A built-in recipe of the name that this file has.
    config = train_config(tmp_path / "cpu.toml")
    assert (config.generator, config.steps) == ("photo-aware", 7)
    settings = read_settings(str(tmp_path / "mine.toml"), "train", TrainConfig)
    assert settings == {"steps": 5, "batch": 4}


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ({"r": "extends = 'r.toml'\n[train]\n"}, "r.toml extends itself"),
        (
            {"r": "extends = 'b.toml'\n", "b": "[train]\nextends = 'r.toml'\n"},
            "b.toml -> ",
        ),
        ({"r": "extends = 'nothing'\n[train]\n"}, "There is no recipe 'nothing'"),
        (
            {"r": "extends = 'no.toml'\n[train]\n"},
            "r.toml: extends is 'no.toml', but there is no file",
        ),
        ({"r": "extends = 3\n[train]\n"}, "extends is 3"),
        ({"r": "[align]\nextends = 'few-patches'\n"}, "that recipe has no [align]"),
        (
            {"r": "extends = 'b.toml'\n[train]\nsteps = 3\n", "b": "[train]\nsteps = 'x'\n"},
            "b.toml [train]: steps is 'x'",
        ),
    ],
)
def test_faulty_extensions_are_refused(tmp_path, recipes, words):
    write(tmp_path, **recipes)
    with pytest.raises(UsageError) as caught:
        read_recipe(str(tmp_path / "r.toml"))
    assert words in str(caught.value)
    assert "r.toml" in str(caught.value) or "b.toml" in str(caught.value)


def test_an_unknown_key_is_answered_with_the_paths_too(tmp_path):
    write(tmp_path, r="[align]\nzzz = 3\n", near="[align]\nphones = 'x'\n")
    with pytest.raises(UsageError, match=r"known: phone, dslr, output, extends, pair_by, "):
        read_recipe(str(tmp_path / "r.toml"))
    with pytest.raises(UsageError, match="did you mean 'phone'"):
        read_recipe(str(tmp_path / "near.toml"))


def test_settings_on_the_command_line_take_precedence(tmp_path):
    write(tmp_path, r="[train]\nsteps = 5\n")
    path = tmp_path / "r.toml"
    config = train_config(
        path, "train.steps=7", "train.norm=batch", 'train.generator="srcnn"', "train.batch = 2",
        "train.evaluate-every=3", "train.augment=true", "train.learning_rate=1e-3",
    )  # fmt: skip
    assert (config.steps, config.norm, config.generator, config.batch) == (7, "batch", "srcnn", 2)
    assert (config.evaluate_every, config.augment, config.learning_rate) == (3, True, 1e-3)
    (step,) = read_recipe(str(path), changes=["train.shards=elsewhere"]).steps
    assert step.paths["shards"] == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.step=3", "did you mean 'steps'"),
        ("train.zzz=3", "known: shards, output, generator"),
        ("align.matcher=orb", "no stage 'align'; it has train."),
        ("steps=3", "write a stage, a setting and its value"),
        ("train.steps", "write a stage, a setting and its value"),
        ("train.steps=3OO", "steps is '3OO', but must be a whole number"),
        ("train.steps=[3]", "steps is [3]"),
    ],
)
def test_faulty_settings_on_the_command_line_are_told(tmp_path, change, words):
    write(tmp_path, r="[train]\n")
    with pytest.raises(UsageError) as caught:
        read_recipe(str(tmp_path / "r.toml"), changes=[change])
    assert words in str(caught.value)


def test_paths_begin_where_the_file_is(tmp_path, monkeypatch, capsys):
    write_shards(tmp_path / "there" / "shards", {"train": make_patches(6, 32, 0)})
    write(
        tmp_path / "there",
        r="[train]\nsteps = 1\ngenerator = 'colour-residual'\nbatch = 2\ntexture_weight = 0\n"
        "content = 'msssim-l1'\ndevice = 'cpu'\ninit = 'start.safetensors'\n",
    )
    monkeypatch.chdir(tmp_path)
    (step,) = read_recipe("there/r.toml").steps
    assert step.config.init == str(tmp_path / "there" / "start.safetensors")
    assert read_settings("there/r.toml", "train", TrainConfig)["init"] == step.config.init
    (step,) = read_recipe("there/r.toml", Path("elsewhere")).steps
    assert step.output == tmp_path / "elsewhere" / "runs" / "r"
    assert read_recipe("demo").folder == tmp_path / "demo"
    change(tmp_path / "there" / "r.toml", "init = 'start.safetensors'\n", "")
    assert execute(["run", "there/r.toml"]) == 0
    assert f"working in {tmp_path / 'there'}" in capsys.readouterr().err
    assert (tmp_path / "there" / "runs" / "r" / "model.safetensors").is_file()


def test_a_dry_run_says_what_would_run_and_why_and_writes_nothing(recipe):
    def files():
        found = sorted(path for path in recipe.parent.rglob("*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in found}

    def reasons(*changes):
        before = files()
        plan = plan_recipe(str(recipe), changes=changes)
        assert files() == before
        return plan.reasons

    assert reasons() == dict.fromkeys(("simulate", "align", "patches"), "it never ran here")
    run_recipe(str(recipe), jobs=1)
    assert reasons() == dict.fromkeys(("simulate", "align", "patches"))
    assert reasons("align.min_verified=30") == {
        "simulate": None,
        "align": "min_verified: was 40, now 30",
        "patches": "[align] would run first",
    }
    assert reasons("patches.licence=cc0-1.0")["patches"] == "licence: was 'unknown', now 'CC0-1.0'"
    moved = reasons("patches.output=others")["patches"]
    assert moved == f"output: was '{recipe.parent}/shards', now '{recipe.parent}/others'"
    many = [f"patches.{name}=0.5" for name in ("min_corr", "max_angle", "max_shift")]
    many += ["patches.size=64", "patches.seed=3", "patches.max_clipped=0.1"]
    assert reasons(*many)["patches"].endswith("; 1 other setting")
    (recipe.parent / "raw" / "iphone" / "extra.jpg").write_bytes(b"x")
    photos = recipe.parent / "raw" / "iphone"
    assert reasons()["align"] == f"the files of {photos} changed: there were 3, now 4"
    (photos / "extra.jpg").unlink()
    (photos / "0001.jpg").touch()
    assert reasons()["align"] == f"the files of {photos} changed"
    shutil.rmtree(recipe.parent / "shards")
    assert reasons()["patches"] == f"{recipe.parent}/shards is missing"


def test_what_earlier_versions_recorded_is_still_known(recipe):
    run_recipe(str(recipe), jobs=1)
    state_file = recipe.parent / STATE_FILE
    state = json.loads(state_file.read_text())
    for known in state.values():
        del known["made_from"]
    state_file.write_text(json.dumps(state))
    assert run_recipe(str(recipe), jobs=1).ran == []
    reasons = plan_recipe(str(recipe), changes=["patches.size=64"]).reasons
    assert reasons["patches"] == "its settings or input files changed"


@pytest.mark.parametrize(
    "damage", ["x", 3, [], {}, {"settings": 3, "paths": [], "files": {"a": 1}}]
)
def test_an_edited_record_of_earlier_runs_ends_in_no_traceback(recipe, damage):
    run_recipe(str(recipe), jobs=1)
    state_file = recipe.parent / STATE_FILE
    state = json.loads(state_file.read_text())
    state["align"] = damage
    state["patches"] = {**state["patches"], "made_from": damage, "records": damage}
    state_file.write_text(json.dumps(state))
    reasons = plan_recipe(str(recipe), changes=["patches.size=64"]).reasons
    assert "size: was" in reasons["patches"] or reasons["patches"].startswith("its settings")


def test_recipes_are_listed_and_shown(recipe, capsys):
    assert execute(["run", "--list"]) == 0
    assert "simulate -> align -> patches" in capsys.readouterr().out
    assert execute(["run", "--show", "cpu"]) == 0
    saved = recipe.with_name("saved.toml")
    saved.write_text(capsys.readouterr().out)
    assert train_config(saved) == train_config("cpu")
    assert execute(["run", "--show-settings", "cpu", "--set", "train.steps=3"]) == 0
    text = capsys.readouterr().out
    assert "# vgg is not set" in text
    saved.write_text(text)
    assert train_config(saved) == train_config("cpu", "train.steps=3")
    assert execute(["run", str(recipe), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["would_run"] == ["simulate", "align", "patches"]
    assert not (recipe.parent / STATE_FILE).exists()
