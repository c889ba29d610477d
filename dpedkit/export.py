"""Write a trained network as ONNX, for phones, browsers and other runtimes, and verify it."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import complete_or_absent, make_folder, remove_unfinished
from dpedkit.core.config import Config, option
from dpedkit.core.errors import DpedkitError, UsageError

INSTALL_LINE = "pip install 'dpedkit[onnx]'"
INPUT_NAME, OUTPUT_NAME = "photo", "enhanced"
_CHECKED_SIZES = ((1, 64, 96), (2, 101, 67))  # batch, height, width: also odd ones
_TOLERANCE = {"fp32": 1e-4, "fp16": 0.05}


@dataclass(frozen=True)
class ExportConfig(Config):
    """How a network is written."""

    precision: str = option(
        "fp32",
        "Number format of the weights and of the computation; fp16 halves the file.",
        choices=("fp32", "fp16"),
        synonyms={"float32": "fp32", "float16": "fp16"},
    )
    opset: int = option(18, "ONNX operator set.", minimum=18, maximum=23)


@dataclass(frozen=True)
class ExportSummary:
    """What `export_onnx` wrote.

    Attributes
    ----------
    file : Path
    size : int
        Bytes.
    largest_difference : float
        Between onnxruntime and torch, on images of several sizes with levels in [0, 1].
    """

    file: Path
    size: int
    precision: str
    largest_difference: float

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "file": str(self.file),
            "size": self.size,
            "precision": self.precision,
            "largest_difference": self.largest_difference,
        }

    def as_text(self) -> str:
        """One line for people."""
        return (
            f"{self.file} ({self.size / 1e6:.1f} MB, {self.precision}), verified with onnxruntime: "
            f"largest difference {self.largest_difference:.1e}"
        )


def export_onnx(
    model_path: Path, output: Path, config: ExportConfig, *, overwrite: bool = False
) -> ExportSummary:
    """Write a network as ONNX with free batch, height and width, and verify the file.

    Input `photo` and output `enhanced` are (N, 3, H, W) float32 (float16 with fp16), RGB in
    [0, 1].

    Parameters
    ----------
    model_path : Path
        A model file.
    output : Path
        The ONNX file; it is written only if it passes the verification.
    config : ExportConfig
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        If `output` does not end in .onnx.
    DpedkitError
        If the extra is not installed, the model cannot be read, the file exists, or onnxruntime
        computes something else than torch.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(
            f"{output}: only ONNX can be written. Give a name that ends in .onnx, then convert "
            "that file with the other format's own tool."
        )
    _require_extra()
    if output.exists() and not overwrite:
        raise DpedkitError(f"{output} already exists; use --overwrite to replace it.")
    from dpedkit.models.files import load_model
    from dpedkit.models.photo_aware import PhotoAware

    model = load_model(model_path)
    if isinstance(model, PhotoAware):
        raise DpedkitError(
            f"{model_path} is a photo-aware network, which needs more than the pixels of a photo; "
            "only networks that see the photo alone, such as colour-residual, can be exported."
        )
    make_folder(output.parent)
    remove_unfinished([output])
    with complete_or_absent(output) as part:
        _write(model, part, config)
        difference = _largest_difference(model, part, config.precision)
        if not difference <= _TOLERANCE[config.precision]:
            raise DpedkitError(
                f"{output} was not written: the output of onnxruntime differs from torch's by "
                f"{difference:.1e}, more than the tolerance of {_TOLERANCE[config.precision]:.0e}."
            )
    return ExportSummary(output, output.stat().st_size, config.precision, difference)


def _require_extra() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DpedkitError(f"Exporting needs the package {error.name}: {INSTALL_LINE}") from None


def _write(model: Any, file: Path, config: ExportConfig) -> None:
    import copy

    import torch

    from dpedkit.models.provenance import provenance

    dtype = torch.float16 if config.precision == "fp16" else torch.float32
    network = copy.deepcopy(model).to(dtype)
    example = torch.rand(2, 3, 64, 96, dtype=dtype)
    free = torch.export.Dim.DYNAMIC
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter speaks of its own deprecations and of packages that it could use.
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            opset_version=config.opset,
            verbose=False,
        )
    log.setLevel(level)
    assert program is not None
    proto = program.model_proto
    for key, value in provenance(model.card).items():
        proto.metadata_props.add(key=key, value=value)
    file.write_bytes(proto.SerializeToString())


def _largest_difference(model: Any, file: Path, precision: str) -> float:
    """Between onnxruntime on the file and torch in float32, over images of several sizes."""
    import numpy as np
    import onnxruntime
    import torch

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    largest = 0.0
    for batch, height, width in _CHECKED_SIZES:
        photo = rng.random((batch, 3, height, width), np.float32)
        with torch.inference_mode():
            wanted = model(torch.from_numpy(photo)).numpy()
        given = photo.astype(np.float16) if precision == "fp16" else photo
        try:
            (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: given})
        except Exception:  # onnxruntime's errors share no other base class
            raise DpedkitError(
                "This network cannot be exported for images of any size: onnxruntime fails on "
                f"{width}x{height} px."
            ) from None
        largest = max(largest, float(np.abs(found.astype(np.float32) - wanted).max()))
    return largest
