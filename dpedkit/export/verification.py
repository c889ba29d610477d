"""What an ONNX file computes, compared with the network that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.export.samples import Sample

if TYPE_CHECKING:
    from dpedkit.models.generator import Generator

_HIGHEST_PSNR = 120.0  # dB; that of equal images has no limit


@dataclass(frozen=True)
class Loss:
    """What a file of reduced precision loses. Outputs are clipped, PSNR is the mean over images.

    Attributes
    ----------
    psnr : float
        Of the file's output against that of the network in float32, dB.
    worst : float
        The lowest PSNR of an image, dB.
    network, file : float or None
        PSNR against the DSLR patches of the network and of the file, dB; None without such patches.
    source : str
        What was measured.
    """

    psnr: float
    worst: float
    network: float | None
    file: float | None
    source: str

    @property
    def change(self) -> float | None:
        """Of the PSNR against the DSLR patches, dB."""
        return None if self.network is None or self.file is None else self.file - self.network

    def as_text(self) -> str:
        """A line for people."""
        text = f"{self.psnr:.1f} dB from float32 (worst {self.worst:.1f}) on {self.source}"
        if self.change is None:
            return text
        return (
            f"{text}; against the DSLR {self.file:.2f} dB instead of {self.network:.2f} dB "
            f"({self.change:+.3f})"
        )


class OnnxFile:
    """An ONNX file, loaded into onnxruntime on the CPU.

    Parameters
    ----------
    path : Path
    threads : int
        0: as many as there are cores.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # fatal errors; others are raised
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        half = self._session.get_inputs()[0].type == "tensor(float16)"
        self.dtype: type[np.floating[Any]] = np.float16 if half else np.float32

    def __call__(self, sample: Sample) -> NDArray[np.float32]:
        """The enhanced photo: (N, 3, H, W).

        Raises
        ------
        DpedkitError
            If onnxruntime fails.
        """
        try:
            (found,) = self._session.run(None, sample.inputs(self.dtype))
        except Exception:  # onnxruntime's errors share no other base class
            height, width = sample.photo.shape[2:]
            raise DpedkitError(
                "This network cannot be exported for images of any size: onnxruntime fails on "
                f"{width}x{height} px."
            ) from None
        enhanced: NDArray[np.float32] = found.astype(np.float32)
        return enhanced


def largest_difference(model: Generator, file: OnnxFile, samples: Sequence[Sample]) -> float:
    """Between the file and the network in float32, over some images; NaN if a value is."""
    differences = [np.abs(file(sample) - network_output(model, sample)).max() for sample in samples]
    return float(np.max(differences))


def refuse_difference(output: Path, runtime: str, difference: float, tolerance: float) -> None:
    """Refuse a file whose output in a runtime differs too much from torch's."""
    if not difference <= tolerance:  # NaN is not
        raise DpedkitError(
            f"{output} was not written: the output of {runtime} differs from torch's by "
            f"{difference:.1e}, more than the tolerance of {tolerance:.0e}."
        )


def measure_loss(model: Generator, file: OnnxFile, samples: Sequence[Sample], source: str) -> Loss:
    """What the file loses on these images."""
    from_network, of_network, of_file = [], [], []
    for sample in samples:
        wanted = network_output(model, sample).clip(0, 1)
        found = file(sample).clip(0, 1)
        from_network.append(_psnr(found, wanted))
        if sample.dslr is not None:
            of_network.append(_psnr(wanted, sample.dslr))
            of_file.append(_psnr(found, sample.dslr))
    each = np.concatenate(from_network)
    return Loss(float(each.mean()), float(each.min()), _mean(of_network), _mean(of_file), source)


def network_output(model: Generator, sample: Sample) -> NDArray[np.float32]:
    """What the network itself makes of an image: (N, 3, H, W)."""
    import torch

    from dpedkit.models.photo_aware import PhotoAware

    images = torch.from_numpy(sample.photo)
    if isinstance(model, PhotoAware) and sample.thumbnail is not None and sample.place is not None:
        guide = model.guide(sample.thumbnail)
        height, width = sample.photo.shape[2:]
        planes = []
        for left, top, right, bottom in sample.place.astype(np.float64):
            x = left + (right - left) * (np.arange(width) + 0.5) / width
            y = top + (bottom - top) * (np.arange(height) + 0.5) / height
            planes.append(torch.from_numpy(guide.planes(x, y)))
        images = torch.cat([images, torch.stack(planes)], dim=1)
    with torch.inference_mode():
        enhanced: NDArray[np.float32] = model(images).numpy()
    return enhanced


def _psnr(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each image, dB: (N,)."""
    import torch

    from dpedkit.metrics import psnr

    each = psnr(torch.from_numpy(found), torch.from_numpy(wanted))
    limited: NDArray[np.float64] = each.clamp(max=_HIGHEST_PSNR).numpy()
    return limited


def _mean(values: Sequence[NDArray[np.float64]]) -> float | None:
    return float(np.concatenate(values).mean()) if values else None
