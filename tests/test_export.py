"""An exported network computes what the trained one computes."""

import builtins
from pathlib import Path

import pytest
import torch

from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.export import ExportConfig, export_onnx
from dpedkit.models import build_generator, save_model


def saved(folder: Path, name: str, **options: object) -> Path:
    """A model file whose network changes photos: fresh weights hardly do."""
    torch.manual_seed(0)
    network = build_generator(name, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) / max(parameter[0].numel(), 25) ** 0.5 / 2)
    save_model(folder / "model.safetensors", network, {})
    return folder / "model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path, "srcnn")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("srcnn", {}),
        ("resnet-8-32", {"norm": "instance"}),
        ("resnet-12-64", {"norm": "batch"}),
        ("colour-residual", {"channels": 8, "blocks": 1}),
    ],
)
def test_any_size_through_onnxruntime(tmp_path, name, options, precision):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = saved(tmp_path, name, **options)
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


def test_what_cannot_be_written_is_refused_by_its_name(tmp_path):
    with pytest.raises(UsageError, match=r"m\.tflite: only ONNX"):
        export_onnx(tmp_path / "gone.safetensors", tmp_path / "m.tflite", ExportConfig())
