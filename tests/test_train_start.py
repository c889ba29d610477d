"""What a run may start from, and which one may be continued."""

from dataclasses import replace

import pytest
from fake_shards import make_patches, write_shards

from dpedkit.core import workfolder
from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError, OutputExistsError, UsageError
from dpedkit.models import build_generator, read_card, save_model
from dpedkit.stages import train
from dpedkit.training.config import TrainConfig

ONE_STEP = TrainConfig(
    generator="resnet-8-32", steps=1, batch=2, content="msssim-l1", texture_weight=0
)


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards", {"train": make_patches(4, 20, 0)})


def test_a_start_of_another_norm_is_refused(shards, tmp_path):
    start = tmp_path / "start.safetensors"
    save_model(start, build_generator("resnet-8-32", norm="instance"), {})
    config = replace(ONE_STEP, init=str(start))
    with pytest.raises(
        DpedkitError, match=r"has instance norm, but .* batch norm; add --norm instance"
    ):
        train(shards, config, name="a", runs=tmp_path)
    run = train(shards, replace(config, norm="instance"), name="a", runs=tmp_path)
    assert read_toml(run.folder / "config.toml")["train"]["norm"] == "instance"
    assert read_card(run.last)["options"] == {"norm": "instance"}


def test_a_network_has_the_size_that_is_asked_for(shards, tmp_path):
    config = replace(ONE_STEP, generator="colour-residual", blocks=1, channels=4)
    run = train(shards, config, name="a", runs=tmp_path)
    assert read_card(run.last)["options"] == {"channels": 4, "blocks": 1}
    blank = replace(config, blocks=None, channels=None)
    first = train(shards, blank, name="b", runs=tmp_path)
    assert read_card(first.last)["options"] == {"channels": 32, "blocks": 3}
    again = replace(blank, init=str(run.last))
    assert read_card(train(shards, again, name="c", runs=tmp_path).last)["options"]["blocks"] == 1
    with pytest.raises(DpedkitError, match=r"has 4 channels, .* asks for 8; leave out --channels"):
        train(shards, replace(again, channels=8), name="d", runs=tmp_path)


def test_the_size_of_the_networks_of_the_paper_is_fixed():
    with pytest.raises(UsageError, match="the size of resnet-8-32 is fixed; only colour-residual"):
        replace(ONE_STEP, blocks=6)


def test_another_version_does_not_continue_a_run(shards, tmp_path, monkeypatch):
    train(shards, ONE_STEP, name="a", runs=tmp_path)
    monkeypatch.setattr(workfolder, "__version__", "9.8.7")
    with pytest.raises(OutputExistsError, match=r"started by dpedkit .* is dpedkit 9\.8\.7"):
        train(shards, ONE_STEP, name="a", runs=tmp_path, resume=True)
