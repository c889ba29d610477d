"""Networks for other programs: as ONNX, and the colour map of a photo as a 3D look-up table."""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "CubeSummary": ".cube",
    "ExportConfig": ".config",
    "ExportSummary": ".onnx_file",
    "export_cube": ".cube",
    "export_onnx": ".onnx_file",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
