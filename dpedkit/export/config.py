"""The settings of `dpedkit export`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option


@dataclass(frozen=True)
class ExportConfig(Config):
    """How a network is written."""

    precision: str = option(
        "fp32",
        "Number format of the layers in an ONNX file. fp16 halves the size of their weights. int8 "
        "stores all layers but the first and the last in a quarter of it, makes large networks "
        "faster on CPUs, and needs --calibrate. The loss is printed. Colour maps stay in float32.",
        choices=("fp32", "fp16", "int8"),
        synonyms={"float32": "fp32", "float16": "fp16"},
    )
    calibrate: str | None = option(
        None,
        "Shards, or a folder of photos by the phone that the network is for. int8 takes the ranges "
        "of values in each layer from some of them, and its loss is measured on the others. With "
        "fp16, they are only used to measure the loss.",
        metavar="FOLDER",
    )
    opset: int = option(18, "ONNX operator set.", minimum=18, maximum=23)
    side: int = option(
        512,
        "For a .tflite file: width and height of its input images.",
        minimum=16,
        maximum=4096,
        metavar="PX",
    )
    photo: str | None = option(
        None,
        "For a .cube file of a photo-aware network: the photo whose colour map is written; by "
        "default, it is the map of all photos.",
        metavar="FILE",
    )
    points: int = option(
        33, "Points along each side of the table in a .cube file.", minimum=2, maximum=256
    )
