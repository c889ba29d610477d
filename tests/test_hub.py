"""Publishing on the Hugging Face Hub, with its own client and a server on this computer."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fake_shards import make_patches, make_thumbnails, write_shards
from hub_server import local_hub

from dpedkit import stages
from dpedkit.models import read_card
from dpedkit.publishing.config import CardConfig
from dpedkit.training.config import TrainConfig

pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")

PAGE = Path(__file__).parents[1] / "docs" / "integrations.md"
STATED = CardConfig("CC-BY-NC-SA-4.0", "A. Smith; B. Lee", '@misc{s, title = "A: \\"b\\" {c}"}')


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with `shards` and `runs/001`, both with their cards."""
    here = tmp_path_factory.mktemp("hub")
    splits = {name: make_patches(8, 32, seed) for seed, name in enumerate(("train", "val", "test"))}
    shards = write_shards(here / "shards", splits, make_thumbnails(8, 0))
    config = TrainConfig(
        generator="colour-residual", content="msssim-l1", steps=1, batch=4, licence="LicenseRef-Own"
    )
    run = stages.train(shards, config, runs=here / "runs").folder
    stages.evaluate(run, shards)
    for path in (shards, run):
        stages.card(path, STATED if path == shards else CardConfig())
    return here


def header_of(text):
    import yaml

    return yaml.safe_load(text.split("---")[1])


def test_the_commands_of_the_page_upload_what_is_needed_and_nothing_else(here):
    lines = re.findall(r"^hf upload .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 2
    with local_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_mine",
            "HF_HOME": str(here / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        for line in lines:
            program = [str(Path(sys.executable).with_name("hf")), *shlex.split(line)[1:]]
            done = subprocess.run(
                program, cwd=here, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
    model, data = hub.files["models/me/my-model"], hub.files["datasets/me/my-pairs"]
    assert set(model) == {"README.md", "model.safetensors"}
    assert model["model.safetensors"] == (here / "runs/001/model.safetensors").read_bytes()
    shards = {f"{split}-00000.h5" for split in ("train", "val", "test")}
    assert set(data) == {"README.md", "index.json", "pairs.jsonl", *shards}
    assert "Bearer hf_mine" in hub.tokens
    assert {one["type"] for one in hub.created} == {"model", "dataset"}
    assert len(hub.headers_to_validate) >= 2  # which the client asks for because there is a card


def test_the_headers_are_what_the_client_understands(here):
    from huggingface_hub import DatasetCard, ModelCard

    model = ModelCard.load(here / "runs/001/README.md")
    assert model.data.license == "other" and model.data.license_name == "own"
    assert model.data.pipeline_tag == "image-to-image"
    results = {result.metric_type: result.metric_value for result in model.data.eval_results}
    assert results.keys() == {"psnr", "ssim", "ms-ssim"} and 5 < results["psnr"] < 60
    data = DatasetCard.load(here / "shards/README.md")
    assert data.data.license == "cc-by-nc-sa-4.0"
    assert [one["config_name"] for one in data.data.configs] == ["default", "thumbnails"]


def test_the_headers_are_yaml(here):
    model = header_of((here / "runs/001/README.md").read_text())
    assert model["tags"] == ["dpedkit", "photo-enhancement", "colour-residual"]
    assert header_of((here / "shards/README.md").read_text())["size_categories"] == ["n<1K"]


def test_a_model_knows_the_terms_of_its_photos_if_these_came_first(here):
    again = stages.card(here / "runs/001", CardConfig(), data=here / "shards")
    assert not any("licence of the photos" in problem for problem in again.problems)
    assert read_card(here / "runs/001")["data"]["citation"].startswith("@misc{s")
