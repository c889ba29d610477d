"""Write a trained network as ONNX, for phones, browsers and other runtimes, and verify it.

The file says in its metadata what it needs to be run without dpedkit: the range and order of the
colours, how far a pixel looks, and what the network was trained with.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.atomic import complete_or_absent, make_folder, remove_unfinished
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.export.config import ExportConfig

if TYPE_CHECKING:
    from dpedkit.models.generator import Generator

INSTALL_LINE = "pip install 'dpedkit[onnx]'"
INPUTS = {
    "photo": ("batch", 3, "height", "width"),
    "thumbnail": ("thumbnail_height", "thumbnail_width", 3),
    "place": ("batch", 4),
}
OUTPUT = "enhanced"
_CHECKED_SIZES = ((1, 64, 96), (2, 101, 67))  # batch, height, width: also odd ones
_TOLERANCE = {"fp32": 1e-4, "fp16": 0.05}


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
    [0, 1]. A photo-aware network also takes the whole photo's `thumbnail`, (h, w, 3) uint8, and
    the `place` of each image in it, (N, 4) float32: left, top, right and bottom edge as parts of
    the photo's width and height.

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
        If `output` does not end in .onnx, or a setting is not for ONNX files.
    DpedkitError
        If the extra is not installed, the model cannot be read, the file exists, or onnxruntime
        computes something else than torch.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(
            f"{output}: only ONNX and .cube can be written. Give a name that ends in .onnx, then "
            "convert that file with the other format's own tool."
        )
    config.refuse_unused(("precision", "opset"), f"in a {output.suffix} file")
    _require_extra()
    if output.exists() and not overwrite:
        raise DpedkitError(f"{output} already exists; use --overwrite to replace it.")
    from dpedkit.models.files import load_model

    model = load_model(model_path)
    make_folder(output.parent)
    remove_unfinished([output])
    with complete_or_absent(output) as part:
        _write(model, part, config)
        difference = _largest_difference(model, part, config)
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


def _write(model: Generator, file: Path, config: ExportConfig) -> None:
    import copy

    import torch

    from dpedkit.export.graph import exported

    network = exported(copy.deepcopy(model), _dtype(config))
    examples = tuple(torch.from_numpy(value) for value in _example(model, 2, 64, 96, config))
    free = torch.export.Dim.DYNAMIC
    names = list(INPUTS)[: len(examples)]
    shapes = tuple(
        {axis: free for axis, name in enumerate(INPUTS[name]) if isinstance(name, str)}
        for name in names
    )
    with _quiet_exporter(), torch.inference_mode():
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
    for key, value in _metadata(model).items():
        proto.metadata_props.add(key=key, value=value)
    file.write_bytes(proto.SerializeToString())


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what the exporter says of its own deprecations and of packages that it could use."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _name_axes(graph: Any) -> None:
    """Give the free axes of what goes in and comes out their names instead of `s0`, `s1`, ..."""
    del graph.value_info[:]  # sizes in between, in terms of the old names; nothing needs them
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, INPUTS.get(value.name, INPUTS["photo"]), strict=True):
            if isinstance(name, str):
                axis.dim_param = name


def _metadata(model: Generator) -> dict[str, str]:
    """What a program has to know that runs the file, and where the network comes from."""
    from dpedkit.models.provenance import provenance

    reaches = [int(layer.reach) for layer in model.layers]  # type: ignore[arg-type]
    whole = "instance" in model.options.values()
    return {
        "architecture": model.architecture,
        "colours": "RGB, sRGB, from 0 to 1; clip the output to that",
        "reach": str(model.step * sum(reaches)),
        "tiles": "no: instance norm needs the whole photo"
        if whole
        else "exact where they overlap by the reach",
        "tiles_begin_at_multiples_of": str(model.step),
        **provenance(model.card),
    }


def _dtype(config: ExportConfig) -> Any:
    import torch

    return torch.float16 if config.precision == "fp16" else torch.float32


def _example(
    model: Generator, batch: int, height: int, width: int, config: ExportConfig
) -> tuple[NDArray[Any], ...]:
    """Random inputs."""
    from dpedkit.models.photo_aware import PhotoAware

    rng = np.random.default_rng(0)
    photo = rng.random((batch, 3, height, width), np.float32)
    given = photo.astype(np.float16) if config.precision == "fp16" else photo
    if not isinstance(model, PhotoAware):
        return (given,)
    thumbnail = rng.integers(0, 256, (height + 30, width // 2, 3), np.uint8)
    edges = np.sort(rng.random((batch, 2, 2), np.float32), axis=1)  # of x and y
    return given, thumbnail, edges.reshape(batch, 4)


def _largest_difference(model: Generator, file: Path, config: ExportConfig) -> float:
    """Between onnxruntime on the file and torch in float32, over images of several sizes."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    largest = 0.0
    for size in _CHECKED_SIZES:
        given = _example(model, *size, config)
        wanted = _wanted(model, *given)
        inputs = dict(zip(INPUTS, given, strict=False))
        try:
            (found,) = session.run([OUTPUT], inputs)
        except Exception:  # onnxruntime's errors share no other base class
            raise DpedkitError(
                "This network cannot be exported for images of any size: onnxruntime fails on "
                f"{size[2]}x{size[1]} px."
            ) from None
        largest = max(largest, float(np.abs(found.astype(np.float32) - wanted).max()))
    return largest


def _wanted(
    model: Generator,
    photo: NDArray[Any],
    thumbnail: NDArray[np.uint8] | None = None,
    place: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What the network itself makes of these inputs."""
    import torch

    from dpedkit.models.photo_aware import PhotoAware

    images = torch.from_numpy(photo.astype(np.float32))
    if isinstance(model, PhotoAware) and thumbnail is not None and place is not None:
        guide = model.guide(thumbnail)
        height, width = photo.shape[2:]
        planes = []
        for left, top, right, bottom in place.astype(np.float64):
            x = left + (right - left) * (np.arange(width) + 0.5) / width
            y = top + (bottom - top) * (np.arange(height) + 0.5) / height
            planes.append(torch.from_numpy(guide.planes(x, y)))
        images = torch.cat([images, torch.stack(planes)], dim=1)
    with torch.inference_mode():
        enhanced: NDArray[np.float32] = model(images).numpy()
    return enhanced
