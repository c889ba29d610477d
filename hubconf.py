"""Networks for `torch.hub`: `torch.hub.load("OWNER/dpedkit", "enhancer", "model.safetensors")`."""

from __future__ import annotations

from typing import Any

dependencies = ["torch", "numpy", "safetensors"]


def enhancer(path: str) -> Any:
    """The network in a model file, a run's folder, or a TensorFlow checkpoint of the authors.

    Returns
    -------
    torch.nn.Module
        In evaluation mode; takes and returns (N, 3, H, W) float32 in [0, 1]. See
        `dpedkit.load_model`.
    """
    from dpedkit import load_model

    return load_model(path)


def generator(architecture: str = "resnet-12-64", **options: Any) -> Any:
    """An untrained network by name, for your own training loop."""
    from dpedkit.models import build_generator

    return build_generator(architecture, **options)
