"""Networks for other programs: ONNX, LiteRT, and the colour map of a photo as a look-up table."""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "CubeSummary": ".cube",
    "ExportConfig": ".config",
    "ExportSummary": ".onnx_file",
    "LiteRTSummary": ".litert_file",
    "export_cube": ".cube",
    "export_litert": ".litert_file",
    "export_onnx": ".onnx_file",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
