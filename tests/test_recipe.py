"""Recipes: only what changed is run again."""

import json

import pytest
from fake_shards import make_patches, write_shards

from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.recipe import STATE_FILE, find_recipe, list_recipes, read_recipe, run_recipe

CHAIN = """
[simulate]
pairs = 3
phone_megapixels = 0.25
dslr_megapixels = 0.6
[align]
[patches]
min_corr = 0.5
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "chain.toml"
    path.write_text(CHAIN)
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
