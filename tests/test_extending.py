"""The page on own losses and networks, word for word."""

import re
from pathlib import Path

import pytest
import torch
from fake_shards import make_patches, write_shards

from dpedkit.models import GENERATORS, load_model

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """All names of the page, after its blocks have run one after the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where no VGG weights are
    monkeypatch.setitem(GENERATORS, "slim", GENERATORS["srcnn"])  # to be put back afterwards
    write_shards(
        tmp_path / "shards", {"train": make_patches(12, 20, 0), "val": make_patches(6, 20, 1)}
    )
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_every_block_of_the_page_runs(page):
    image = torch.rand(2, 3, 8, 8)
    assert page["edges"](image, image + 0.5).item() == pytest.approx(0, abs=1e-6)
    assert page["edges"](image, image.flip(3)).item() > 0.1
    assert page["enhanced"].shape == (6, 3, 20, 20)
    assert all(score.isfinite().all() for score in page["scores"])
    photo = torch.rand(1, 3, 40, 30)
    with torch.no_grad():
        found = load_model("slim.safetensors")(photo)
        torch.testing.assert_close(found, page["slim"].eval()(photo))
