"""Every benchmark still finds what it uses: most take too long to be run by the tests."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("stage", ["align", "patches", "loading", "metrics", "training", "enhance"])
def test_a_stage_of_the_comparison_loads_where_no_peer_is_installed(stage, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    loaded = importlib.import_module(f"comparison.{stage}")
    assert loaded.TITLE and loaded.NOTE and loaded.compare


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
