"""The convolutions of an ONNX file in 8-bit integers (static quantisation of onnxruntime)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.export.quiet import quiet
from dpedkit.export.samples import Sample

_CONVOLUTION = "Conv"


def quantise(file: Path, output: Path, samples: Sequence[Sample]) -> None:
    """Write a copy of an ONNX file whose convolutions compute with 8-bit integers.

    Each feature map has one scale and one zero point, which cover 99.998% of its values on the
    samples; the weights have a scale for each output channel. The first and the last convolution
    stay in float32: 8 bits would be coarser there than the levels of a photo, and these two are a
    small part of the work.

    Parameters
    ----------
    file : Path
        In float32.
    output : Path
    samples : sequence of Sample
        What to calibrate with.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name, quiet:
        prepared = Path(name) / "prepared.onnx"  # batch norm as part of the convolutions
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        convolutions = [node.name for node in nodes if node.op_type == _CONVOLUTION]
        quantize_static(
            str(prepared),
            str(output),
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[_CONVOLUTION],
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            # One sample at a time: the maps of all samples would be gigabytes.
            extra_options={"CalibPercentile": 99.999, "CalibStridedMinMax": 1},
        )


class _Reader:
    """The samples, as onnxruntime asks for them: a range of them, then one after the other."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.waiting: Iterator[Sample] = iter(())

    def __len__(self) -> int:
        return len(self.samples)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.waiting = iter(self.samples[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        sample = next(self.waiting, None)
        return None if sample is None else sample.inputs(np.float32)
