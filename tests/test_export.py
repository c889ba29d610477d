"""An exported network computes what the trained one computes."""

import builtins
from pathlib import Path

import pytest

from dpedkit.errors import DpedkitError
from dpedkit.export import ExportConfig, export_onnx
from dpedkit.models import build_generator, save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, build_generator("srcnn"), {})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_any_size_through_onnxruntime(model, tmp_path, precision):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    summary = export_onnx(model, tmp_path / "m.onnx", ExportConfig(precision=precision))
    assert summary.largest_difference < (1e-5 if precision == "fp32" else 1e-2)
    session = onnxruntime.InferenceSession(str(summary.file))
    assert [name if isinstance(name, str) else 3 for name in session.get_inputs()[0].shape][1] == 3
    with pytest.raises(DpedkitError, match="--overwrite"):
        export_onnx(model, summary.file, ExportConfig(precision=precision))


def test_the_missing_extra_is_named(model, tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_onnx(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(DpedkitError, match=r"pip install 'dpedkit\[onnx\]'"):
        export_onnx(model, tmp_path / "m.onnx", ExportConfig())
    assert not (tmp_path / "m.onnx").exists()
