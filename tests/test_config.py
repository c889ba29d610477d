from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dpedkit.cli.options import config_options
from dpedkit.core.config import Config, option, options_of, read_toml
from dpedkit.core.errors import UsageError
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.evaluation.config import EvaluateConfig, PhotoEvaluateConfig
from dpedkit.export import ExportConfig


@dataclass(frozen=True)
class Example(Config):
    share: float = option(0.5, "A share.", minimum=0, maximum=1)
    count: int = option(3, "A count.", minimum=1)
    way: str = option("near", "A way.", choices=("near", "far"))
    limit: int | None = option(None, "A limit.")
    jobs: int = option(1, "Workers.", affects_output=False)


def test_defaults_stand_in_the_class_alone():
    assert Example.from_mapping({}, "x") == Example()


def test_keys_may_be_spelled_as_on_the_command_line():
    @dataclass(frozen=True)
    class Long(Config):
        min_corr: float = option(0.9, "NCC.")

    assert Long.from_mapping({"min-corr": 0.8}, "x").min_corr == 0.8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shares": 0.1}, "did you mean 'share'?"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"share": float("nan")}, "between 0 and 1"),
        ({"count": 0}, "at least 1"),
        ({"count": "many"}, "must be a whole number"),
        ({"count": True}, "must be a whole number"),
        ({"count": 2.5}, "must be a whole number"),
        ({"way": "middle"}, "near, far"),
    ],
)
def test_wrong_settings_are_named_with_their_cure(values, words):
    with pytest.raises(UsageError, match=r"r\.toml") as caught:
        Example.from_mapping(values, "r.toml")
    assert words in str(caught.value)


def test_fingerprint_follows_what_changes_the_result():
    assert Example().fingerprint() == Example(jobs=8).fingerprint()
    assert Example().fingerprint() != Example(share=0.6).fingerprint()
    assert Example(share=1).fingerprint() == Example(share=1.0).fingerprint()


@dataclass(frozen=True)
class WithSynonyms(Config):
    way: str = option("near", "A way.", choices=("near", "far"), synonyms={"distant": "far"})


def test_a_synonym_is_the_choice_that_it_stands_for():
    assert WithSynonyms(way="distant") == WithSynonyms(way="far")
    assert WithSynonyms.from_mapping({"way": "distant"}, "x").fingerprint() == (
        WithSynonyms(way="far").fingerprint()
    )
    with pytest.raises(UsageError, match="near, far"):
        WithSynonyms(way="afar")


def test_the_command_line_takes_synonyms():
    @click.command()
    @config_options(WithSynonyms)
    def command(config):
        click.echo(config.way)

    run = CliRunner().invoke
    assert run(command, ["--way", "distant"]).output == "far\n"
    assert "[near|far]" in run(command, ["--help"]).output
    assert run(command, ["--way", "afar"]).exit_code == 2


@pytest.mark.parametrize("config", [EnhanceConfig, ExportConfig])
def test_precisions_have_the_names_that_pytorch_gives_them_too(config):
    assert config(precision="float16") == config(precision="fp16")
    assert config(precision="float32") == config()


def test_files_are_the_settings_that_name_one():
    @dataclass(frozen=True)
    class Fed(Example):
        weights: str | None = option(None, "A file.", is_file=True)

    assert Fed(weights="a/b.pth").files() == {"weights": Path("a/b.pth")}
    assert Fed().files() == Example().files() == {}


def test_differences_name_both_values():
    assert Example().differences(Example(share=0.25, jobs=9).to_dict()) == [
        "share: was 0.25, now 0.5"
    ]


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe"])
def test_damaged_toml_is_one_sentence(tmp_path, content):
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not valid TOML"):
        read_toml(path)


def test_missing_toml(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="is a folder"):
        read_toml(tmp_path)


def test_settings_that_two_classes_have_are_one_option():
    @dataclass(frozen=True)
    class Other(Config):
        share: float = option(0.5, "A share.", minimum=0, maximum=1)
        way: str = option("near", "A way.", choices=("near", "far"))
        colour: str = option("red", "A colour.")

    @click.command()
    @config_options(Example, other=Other)
    def command(config, other):
        click.echo(f"{config.share} {config.way} {config.jobs} {other.share} {other.colour}")

    names = [parameter.name for parameter in command.params]
    assert names == ["share", "count", "way", "limit", "jobs", "colour"]
    result = CliRunner().invoke(command, ["--share", "0.2", "--jobs", "4", "--colour", "blue"])
    assert result.output == "0.2 near 4 0.2 blue\n"


def test_what_patches_and_whole_photos_are_measured_by_is_declared_alike():
    patches, photos = (
        {field.name: (field.default, field.metadata) for field in options_of(config)}
        for config in (EvaluateConfig, PhotoEvaluateConfig)
    )
    assert {name for name in patches if name in photos} == {"split", "device"}
    assert all(patches[name] == photos[name] for name in ("split", "device"))
