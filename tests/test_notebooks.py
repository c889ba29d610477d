"""The notebooks run from beginning to end, and are kept without their outputs."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PRINTED = {
    "align-a-pair": ("NCC 0.", "windows kept"),
    "train-with-your-own-loss": ("loss ", "network: PSNR "),
}


def names():
    return [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names())
def test_a_notebook_is_small_and_holds_no_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] for cell in code)
    assert all(cell["execution_count"] is None for cell in code)
    assert path.stat().st_size < 20_000


def test_every_notebook_is_linked_from_the_documentation():
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in page


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter's packages are not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=names())
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    for package in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        pytest.importorskip(package, reason="needs the extra 'notebooks'")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    printed = "".join(one.get("text", "") for one in outputs)
    for words in PRINTED[path.stem]:
        assert words in printed
    assert any("image/png" in one.get("data", {}) for one in outputs)
    if path.stem == "train-with-your-own-loss":
        assert outputs[-1]["data"]["text/plain"] == "True"  # the file gives the same network
