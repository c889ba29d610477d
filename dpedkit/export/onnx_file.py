"""Write a trained network as ONNX, for phones, browsers and other runtimes, and verify it.

The file says in its metadata what it needs to be run without dpedkit: the range and order of the
colours, how far a pixel looks, and what the network was trained with.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.core.atomic import complete_or_absent, make_folder, refuse_existing, remove_unfinished
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.export.config import ExportConfig
from dpedkit.export.quiet import quiet
from dpedkit.export.samples import Samples, random_samples, read_samples
from dpedkit.export.verification import (
    Loss,
    OnnxFile,
    largest_difference,
    measure_loss,
    refuse_difference,
)

if TYPE_CHECKING:
    from dpedkit.models.generator import Generator

INSTALL_LINE = "pip install 'dpedkit[onnx]'"
INPUTS = {
    "photo": ("batch", 3, "height", "width"),
    "thumbnail": ("thumbnail_height", "thumbnail_width", 3),
    "place": ("batch", 4),
}
OUTPUT = "enhanced"
_TOLERANCE = {"fp32": 1e-4, "fp16": 0.05, "int8": math.inf}
_LEAST_PSNR = 30  # dB from float32; below it, the file would lose more than the network gains


@dataclass(frozen=True)
class ExportSummary:
    """What `export_onnx` wrote.

    Attributes
    ----------
    file : Path
    size : int
        Bytes.
    precision : str
    largest_difference : float
        Between onnxruntime and torch, on noise of several sizes with levels in [0, 1]. It says
        little with int8, whose layers are calibrated for photos.
    loss : Loss or None
        What a precision below float32 loses.
    """

    file: Path
    size: int
    precision: str
    largest_difference: float
    loss: Loss | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {**asdict(self), "file": str(self.file)}

    def as_text(self) -> str:
        """One line for people."""
        difference = f"largest difference {self.largest_difference:.1e}"
        found = difference if self.loss is None else self.loss.as_text()
        return (
            f"{self.file} ({self.size / 1e6:.2f} MB, {self.precision}), verified with onnxruntime: "
            f"{found}"
        )


def export_onnx(
    model_path: Path, output: Path, config: ExportConfig, *, overwrite: bool = False
) -> ExportSummary:
    """Write a network as ONNX with free batch, height and width, and verify the file.

    Input `photo` and output `enhanced` are (N, 3, H, W) float32 (float16 with fp16), RGB in
    [0, 1]. A photo-aware network also takes the whole photo's `thumbnail`, (h, w, 3) uint8, and
    the `place` of each image in it, (N, 4) float32: left, top, right and bottom edge as parts of
    the photo's width and height.

    With int8, the convolutions compute with 8-bit integers, see `quantisation.quantise`; their
    scales come from half of the images of `config.calibrate`, and the loss is measured on the
    other half. The loss of fp16 is measured on those too, or without them on noise.

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
        If `output` does not end in .onnx, a setting is not for ONNX files or this precision, or
        int8 has nothing to calibrate with.
    DpedkitError
        If the extra is not installed, the model or the images to calibrate with cannot be read,
        the file exists, or the output of onnxruntime differs too much from torch's.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(
            f"{output}: only .onnx, .tflite and .cube files can be written. Give a name that ends "
            "in .onnx, then convert that file with the other format's own tool."
        )
    _check_settings(config, output.suffix)
    _require_extra()
    refuse_existing(output, overwrite=overwrite)
    from dpedkit.models.files import load_model

    model = load_model(model_path)
    samples = read_samples(Path(config.calibrate), model) if config.calibrate else None
    make_folder(output.parent)
    remove_unfinished([output])
    with complete_or_absent(output) as part:
        write_graph(model, part, config, samples)
        difference, loss = _verify(model, part, config, samples, output)
    return ExportSummary(output, output.stat().st_size, config.precision, difference, loss)


def _check_settings(config: ExportConfig, suffix: str) -> None:
    config.refuse_unused(("precision", "opset", "calibrate"), f"in a {suffix} file")
    if config.precision == "fp32":
        config.refuse_unused(("opset",), "in float32, which loses nothing")
    if config.precision == "int8" and not config.calibrate:
        raise UsageError(
            "--precision int8 has to be calibrated: give --calibrate with a folder of shards, or "
            "of photos by the phone that the network is for."
        )


def _verify(
    model: Generator, file: Path, config: ExportConfig, samples: Samples | None, output: Path
) -> tuple[float, Loss | None]:
    """Largest difference and loss of a file.

    Raises
    ------
    DpedkitError
        If one of them is too large.
    """
    onnx_file = OnnxFile(file)
    noise = random_samples(model)
    difference = largest_difference(model, onnx_file, noise)
    refuse_difference(output, "onnxruntime", difference, _TOLERANCE[config.precision])
    if config.precision == "fp32":
        return difference, None
    measured, source = (samples.measured, samples.source) if samples else (noise, "random images")
    loss = measure_loss(model, onnx_file, measured, source)
    if not loss.psnr >= _LEAST_PSNR:
        raise DpedkitError(
            f"{output} was not written: in {config.precision}, the network is only "
            f"{loss.psnr:.1f} dB from float32, but must be at least {_LEAST_PSNR} dB. Use "
            "--precision fp16, or calibrate with more photos."
        )
    return difference, loss


def _require_extra() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DpedkitError(f"Exporting needs the package {error.name}: {INSTALL_LINE}") from None


def write_graph(
    model: Generator, file: Path, config: ExportConfig, samples: Samples | None = None
) -> None:
    """Write a network as ONNX, without verifying it; int8 needs samples to calibrate with."""
    import onnx

    from dpedkit.export.quantisation import quantise

    proto = _traced(model, config)
    if config.precision == "int8":
        assert samples is not None
        with tempfile.TemporaryDirectory() as name:
            whole, quantised = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
            onnx.save(proto, whole)
            quantise(whole, quantised, samples.calibration)
            proto = onnx.load(quantised)
    _strip(proto.graph)
    for key, value in _metadata(model).items():
        proto.metadata_props.add(key=key, value=value)
    file.write_bytes(proto.SerializeToString())


def _traced(model: Generator, config: ExportConfig) -> Any:
    """The graph of a network as an onnx.ModelProto, in float16 or float32."""
    import torch

    from dpedkit.export.graph import exported

    dtype = torch.float16 if config.precision == "fp16" else torch.float32
    network = exported(model, dtype)
    images, *others = random_samples(model)[1].inputs().values()
    examples = (torch.from_numpy(images).to(dtype), *map(torch.from_numpy, others))
    free = torch.export.Dim.DYNAMIC
    names = list(INPUTS)[: len(examples)]
    shapes = tuple(
        {axis: free for axis, name in enumerate(INPUTS[name]) if isinstance(name, str)}
        for name in names
    )
    with quiet, torch.inference_mode():
        program = torch.onnx.export(
            network,
            examples,
            dynamo=True,
            input_names=names,
            output_names=[OUTPUT],
            dynamic_shapes=shapes,
            opset_version=config.opset,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _name_axes(proto.graph)
    return proto


def _name_axes(graph: Any) -> None:
    """Give the free axes of what goes in and comes out their names instead of `s0`, `s1`, ..."""
    del graph.value_info[:]  # sizes in between, in terms of the old names; nothing needs them
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, INPUTS.get(value.name, INPUTS["photo"]), strict=True):
            if isinstance(name, str):
                axis.dim_param = name


def _strip(graph: Any) -> None:
    """Leave out what the exporter notes of each node, such as lines of source: half of a file."""
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del graph.metadata_props[:]


def _metadata(model: Generator) -> dict[str, str]:
    """What a program has to know that runs the file, and where the network comes from."""
    from dpedkit.models.provenance import provenance

    whole = "instance" in model.options.values()
    return {
        "architecture": model.architecture,
        "colours": "RGB, sRGB, from 0 to 1; clip the output to that",
        "reach": str(model.reach),
        "tiles": "no: instance norm needs the whole photo"
        if whole
        else "exact where they overlap by the reach",
        "tiles_begin_at_multiples_of": str(model.step),
        **provenance(model.card),
    }
