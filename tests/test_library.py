"""dpedkit as a library: the public names, and the example of the README."""

import importlib
import re
from pathlib import Path

import pytest

import dpedkit
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

README = Path(__file__).parents[1] / "README.md"
PACKAGES = (
    "dpedkit",
    *(
        f"dpedkit.{name}"
        for name in ("enhancement", "evaluation", "models", "pairing", "patches", "shards")
    ),
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_stays_the_same(package):
    module = importlib.import_module(package)
    names = [name for name in module.__all__ if not name.startswith("__")]
    first = {name: getattr(module, name) for name in names}
    for name in names:
        assert getattr(module, name) is first[name]
        assert not hasattr(first[name], "__path__"), f"{package}.{name} is a module"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense


def test_the_example_of_the_readme(tmp_path):
    """The library example, word for word, on a simulated pair."""
    from dpedkit.images import write_photo

    shot = simulate_pair(SimulateConfig(phone_megapixels=0.4, dslr_megapixels=0.8), 0)
    paths = {"phone": tmp_path / "a.jpg", "dslr": tmp_path / "b.jpg"}
    write_photo(paths["phone"], shot.phone)
    write_photo(paths["dslr"], shot.dslr)
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code is not None
    names: dict = dict(paths)
    exec(code.group(1), names)
    assert names["alignment"].accepted
    assert len(names["patches"]) > 0
    assert dpedkit.__version__
