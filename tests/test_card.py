"""The cards of shards and of networks: what they say, what they lack, and what files keep."""

import json
from functools import partial

import pytest
from fake_shards import make_patches, write_shards

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.hub import licence_lines
from dpedkit.core.manifest import read_json, write_jsonl
from dpedkit.core.publication import common_statements, standard_form
from dpedkit.models import build_generator, load_model, read_card, save_model
from dpedkit.models.files import model_hash
from dpedkit.models.model_card import model_card
from dpedkit.patches.config import PatchConfig
from dpedkit.publishing.card import check_card
from dpedkit.publishing.config import CardConfig
from dpedkit.publishing.subjects import subject_of
from dpedkit.shards.card import write_card
from dpedkit.shards.index import PAIRS_FILE
from dpedkit.shards.origin import photos_of
from dpedkit.training.config import TrainConfig

STATED = {
    "licence": "CC-BY-4.0",
    "authors": "A. Smith; B. Lee",
    "citation": "@misc{smith, title={Pairs}}",
    "doi": "10.5281/zenodo.12",
}


def line(name, phone, dslr, cameras=("Apple iPhone X", "Nikon D5500")):
    """A line of `pairs.jsonl`: a pair of which patches were kept."""
    return {
        "name": name,
        "split": "train",
        "phone": f"iphone/{phone}.jpg",
        "phone_id": f"phone {phone}",
        "dslr": f"nikon/{dslr}.jpg",
        "dslr_id": f"dslr {dslr}",
        "cameras": list(cameras),
        "kept": 4,
    }


@pytest.fixture
def shards(tmp_path):
    folder = write_shards(
        tmp_path / "shards", {"train": make_patches(12, 32, 0), "val": make_patches(6, 32, 1)}
    )
    write_jsonl(folder / PAIRS_FILE, [line(f"{n}", n, n // 3) for n in range(12)])
    return folder


@pytest.fixture
def run(shards, tmp_path):
    """A run of a few steps, measured."""
    config = TrainConfig(
        generator="colour-residual",
        content="msssim-l1",
        steps=2,
        batch=4,
        evaluate_every=1,
        licence="mit",
    )
    folder = stages.train(shards, config, name="mine", runs=tmp_path / "runs").folder
    stages.evaluate(folder, shards)
    return folder


def card(path, *arguments):
    return execute(["card", str(path), *map(str, arguments), "-q"])


class TestStatements:
    @pytest.mark.parametrize(
        ("given", "standard"),
        [
            ("cc-by-4.0", "CC-BY-4.0"),
            ("mit or apache-2.0", "MIT OR Apache-2.0"),
            ("LicenseRef-DPED", "LicenseRef-DPED"),
            ("Unknown", "unknown"),
        ],
    )
    def test_licences_are_written_as_spdx_writes_them(self, given, standard):
        for config in (PatchConfig(licence=given), TrainConfig(licence=given)):
            assert config.licence == standard

    def test_another_licence_is_refused_with_the_nearest(self):
        with pytest.raises(UsageError, match=r"licence is 'cc-by-4'.*did you mean CC-BY-4\.0"):
            PatchConfig(licence="cc-by-4")
        with pytest.raises(UsageError, match="LicenseRef-NAME"):
            CardConfig(licence="our own terms")

    @pytest.mark.parametrize(
        "given", ["https://doi.org/10.5281/zenodo.12", "doi:10.5281/zenodo.12"]
    )
    def test_a_doi_is_stored_bare(self, given):
        assert standard_form({"doi": given}) == {"doi": "10.5281/zenodo.12"}

    def test_what_is_no_doi_is_refused(self):
        with pytest.raises(UsageError, match="must be a DOI"):
            TrainConfig(doi="zenodo.12")

    def test_merged_data_has_all_authors_and_only_a_common_licence(self):
        one, two = STATED, {**STATED, "licence": "MIT", "authors": "B. Lee; C. Roe"}
        both = common_statements([one, two])
        assert both["licence"] == "unknown" and both["doi"] == STATED["doi"]
        assert both["authors"] == "A. Smith; B. Lee; C. Roe"
        assert common_statements([one, {}])["licence"] == "unknown"
        assert common_statements([one, one]) == STATED

    @pytest.mark.parametrize(
        ("licence", "lines"),
        [
            ("CC-BY-NC-4.0", ['license: "cc-by-nc-4.0"']),
            ("GPL-3.0-or-later", ['license: "gpl-3.0"']),
            ("unknown", ['license: "unknown"']),
            (
                "CERN-OHL-S-2.0",
                [
                    'license: "other"',
                    'license_name: "cern-ohl-s-2.0"',
                    'license_link: "https://spdx.org/licenses/CERN-OHL-S-2.0.html"',
                ],
            ),
            ("LicenseRef-DPED use", ['license: "other"', 'license_name: "dped-use"']),
        ],
    )
    def test_the_hub_gets_a_licence_in_its_own_spelling(self, licence, lines):
        assert list(licence_lines(licence)) == lines


class TestPhotos:
    def test_a_photo_in_several_pairs_counts_once(self):
        pairs = [line(f"{n}", n % 13, n % 5) for n in range(38)]
        photos = photos_of([*pairs, {**line("x", 99, 99), "kept": 0}])
        assert photos["phone"].cameras == {"Apple iPhone X": 13}
        assert photos["dslr"].cameras == {"Nikon D5500": 5}
        assert photos["phone"].folders == ["iphone"] and photos["dslr"].folders == ["nikon"]

    def test_imported_patches_tell_nothing_of_photos(self):
        pair = line("a", 1, 1)
        del pair["cameras"]
        assert photos_of([pair])["phone"].count == 0

    def test_lines_of_earlier_versions_hold_whole_paths_and_no_identity(self):
        old = [line(f"{n}", n, 7) | {"dslr": "/home/me/canon/7.jpg"} for n in range(3)]
        for pair in old:
            del pair["phone_id"], pair["dslr_id"]
        photos = photos_of(old)
        assert (photos["phone"].count, photos["dslr"].count) == (3, 1)
        assert photos["dslr"].folders == ["canon"]


class TestShards:
    def test_the_card_says_what_is_stated(self, shards):
        stages.card(shards, CardConfig(**STATED))
        text = (shards / "README.md").read_text()
        assert 'license: "cc-by-4.0"' in text and "Photos: CC-BY-4.0." in text
        assert "- A. Smith\n- B. Lee" in text
        assert "```bibtex\n@misc{smith" in text and "https://doi.org/10.5281/zenodo.12" in text
        assert "- phone: Apple iPhone X (12 photos)" in text
        assert "- DSLR: Nikon D5500 (4 photos)" in text
        assert read_json(shards / "index.json")["patch_config"]["authors"] == STATED["authors"]

    def test_the_check_fails_until_everything_is_there(self, shards, capsys):
        write_card(shards)
        for name in ("licence", "authors", "citation"):
            assert card(shards, "--check") == 1
            assert f"! {name}: not stated" in capsys.readouterr().out
            assert card(shards, f"--{name}", STATED[name]) == 0
            assert f"! {name}" not in capsys.readouterr().out
        assert card(shards, "--check", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["problems"] == [] and "DOI: not stated" in found["hints"][0]

    def test_the_check_finds_a_licence_of_earlier_versions_and_an_old_card(self, shards):
        stages.card(shards, CardConfig(**STATED))
        index = read_json(shards / "index.json")
        index["patch_config"]["licence"] = "my own"
        (shards / "index.json").write_text(json.dumps(index))
        problems = check_card(subject_of(shards)).problems
        assert "'my own' is not an SPDX identifier" in problems[0]
        assert "is not what dpedkit would write now" in problems[1]
        (shards / "README.md").unlink()
        assert "is not there" in check_card(subject_of(shards)).problems[1]

    def test_the_check_changes_nothing(self, shards, capsys):
        before = {path: path.read_bytes() for path in shards.iterdir() if path.is_file()}
        assert card(shards, "--check") == 1
        assert card(shards, "--check", "--licence", "MIT") == 2
        assert "--check only says what is missing" in capsys.readouterr().err
        after = {path: path.read_bytes() for path in shards.iterdir() if path.is_file()}
        assert after == before

    def test_a_file_of_somebody_else_is_not_replaced(self, shards):
        (shards / "README.md").write_text("my notes")
        with pytest.raises(DpedkitError, match="not a card that dpedkit wrote"):
            stages.card(shards, CardConfig())
        assert stages.card(shards, CardConfig(), output=shards / "CARD.md").written
        assert (shards / "README.md").read_text() == "my notes"
        stages.card(shards, CardConfig(), overwrite=True)
        assert "Made by dpedkit" in (shards / "README.md").read_text()

    def test_data_is_for_networks(self, shards):
        with pytest.raises(UsageError, match="--data is for a network"):
            stages.card(shards, CardConfig(), data=shards)

    def test_another_folder_has_no_card(self, tmp_path):
        with pytest.raises(DpedkitError, match="neither shards nor a run"):
            stages.card(tmp_path, CardConfig())


class TestRun:
    def test_the_photos_are_known_to_the_network(self, run):
        data = read_card(run)["data"]
        assert data["photos"]["phone"] == {
            "count": 12,
            "folders": ["iphone"],
            "cameras": {"Apple iPhone X": 12},
        }
        assert data["splits"]["train"]["patches"] == 12
        assert data["patch_config"]["min_corr"] == 0.9
        assert read_card(run)["publication"] == {"licence": "MIT"}

    def test_what_is_stated_later_is_in_both_files_and_survives_more_steps(self, run, shards):
        evaluated = (run / "evaluations").glob("*.json")
        stages.card(run, CardConfig(authors="A. Smith", doi=STATED["doi"]))
        expected = {"licence": "MIT", "authors": "A. Smith", "doi": STATED["doi"]}
        for name in ("model.safetensors", "last.safetensors"):
            assert load_model(run / name).card["publication"] == expected
        (found,) = evaluated
        assert read_json(found)["model_hash"] == model_hash(run / "model.safetensors")
        config = TrainConfig(
            generator="colour-residual", content="msssim-l1", steps=3, batch=4, evaluate_every=1
        )
        stages.train(shards, config, name="mine", runs=run.parent, resume=True, extend=True)
        assert read_card(run / "last.safetensors")["publication"] == expected
        assert read_card(run / "last.safetensors")["training"]["step"] == 3

    def test_a_licence_given_to_a_finished_run_trains_nothing(self, run, shards):
        steps = TrainConfig(
            generator="colour-residual", content="msssim-l1", steps=2, batch=4, evaluate_every=1,
            licence="Apache-2.0",
        )  # fmt: skip
        weights = load_model(run).state_dict()
        stages.train(shards, steps, name="mine", runs=run.parent, resume=True)
        model = load_model(run)
        assert model.card["publication"] == {"licence": "Apache-2.0"}
        assert all((weights[name] == value).all() for name, value in model.state_dict().items())

    def test_the_card_and_its_check(self, run, shards, capsys):
        assert card(run, "--authors", "A. Smith", "--citation", "Smith (2024).") == 0
        text = (run / "README.md").read_text()
        assert "# Apple iPhone X photos with the look of the Nikon D5500" in text
        assert 'license: "mit"' in text and "6 patch pairs of the val split" in text
        assert "- phone: Apple iPhone X (12 photos)" in text
        capsys.readouterr()
        assert card(run, "--check") == 1
        assert "licence of the photos: not stated" in capsys.readouterr().out
        stages.card(shards, CardConfig(licence="CC-BY-NC-4.0"))
        assert card(run, "--data", shards) == 0
        assert card(run, "--check", "--json") == 0
        assert (
            "forbids commercial use"
            in json.loads(capsys.readouterr().out.splitlines()[-1])["hints"][-1]
        )

    def test_data_must_be_what_it_was_trained_on(self, run, tmp_path):
        other = write_shards(tmp_path / "other", {"train": make_patches(5, 32, 7)})
        with pytest.raises(DpedkitError, match="was not trained on the patches"):
            stages.card(run, CardConfig(), data=other)


def test_a_model_file_of_an_earlier_version(tmp_path, capsys):
    path = tmp_path / "old.safetensors"
    save_model(path, build_generator("srcnn"), {"tool_version": "0.0.9"})
    assert card(path, "--licence", "MIT", "--authors", "A", "--citation", "A (2024).") == 0
    assert "training data: not recorded" in capsys.readouterr().out
    assert read_card(path)["tool_version"] == "0.0.9"
    assert "Not recorded." in (tmp_path / "README.md").read_text()
    assert card(path, "--check") == 0


def test_the_card_says_when_a_network_chooses_colours_for_each_photo():
    words = "one colour map for all photos"
    assert words in model_card({"architecture": "photo-aware"}, "model.safetensors")
    assert words not in model_card({"architecture": "srcnn"}, "model.safetensors")


def test_the_card_says_how_far_its_scores_tell_of_other_scenes():
    scores = {"network": {"psnr": 20.0, "ssim": 0.8, "ms_ssim": 0.9}}
    known = {"mean": 21.5, "low": 20.25, "high": 23.0, "scenes": 2}
    split = {"split": "test", "patches": 9, "scores": scores}
    by_scene = {"scenes": [{}, {}], "means": {"network": {"psnr": known}}}
    card_of = partial(model_card, {"architecture": "srcnn"}, "model.safetensors")
    text = card_of([{"trained_here": True, "splits": [{**split, "by_scene": by_scene}]}])
    assert "test split (9 patch pairs), which training never saw" in text
    assert "| network | 21.50 [20.25, 23.00] |" in text
    assert "2 scenes, too few to tell how it does on others" in text
    text = card_of([{"trained_here": False, "splits": [split]}])
    assert "not known whether training saw them" in text and "never saw" not in text
    assert "not known which of these patches show the same scene" in text
    training = {"psnr": 20.0, "ms_ssim": 0.9, "validated_on": "train"}
    text = model_card({"architecture": "srcnn", "training": training}, "model.safetensors")
    assert "says nothing about scenes it has not seen" in text


def test_onnx_keeps_where_a_network_comes_from(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    stages.card(run, CardConfig(authors="A. Smith"))
    assert execute(["export", str(run), str(tmp_path / "m.onnx"), "-q"]) == 0
    kept = {one.key: one.value for one in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert (kept["licence"], kept["authors"]) == ("MIT", "A. Smith")
    assert json.loads(kept["dpedkit"])["data"]["photos"]["dslr"]["cameras"] == {"Nikon D5500": 4}
