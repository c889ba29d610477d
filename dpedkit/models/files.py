"""Model files: weights in safetensors, and a card in its metadata that says what they are.

The card is JSON::

    {"format": 1, "architecture": "resnet-12-64", "options": {"norm": "batch"},
     "tool_version": "0.1.0", "training": {...}, "data": {...}, "publication": {...},
     "colour_polynomial": {...}, "sha256": "..."}

The SHA-256 is that of the rest of the card and of the weights, so that any damage is noticed.

Reading a model file never executes anything in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dpedkit._version import __version__
from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError
from dpedkit.core.regular import would_wait
from dpedkit.core.wording import first_line
from dpedkit.models.authors import is_checkpoint, load_checkpoint
from dpedkit.models.build import build_generator
from dpedkit.models.generator import Generator

MODEL_FORMAT = 1
BEST_NAME, LAST_NAME = "model.safetensors", "last.safetensors"
# Keys of the card: the baseline from the same patches, where these come from, what their photos are
# like, and what is stated of the network (licence, authors, citation, DOI).
COLOUR_POLYNOMIAL, DATA, STATISTICS = "colour_polynomial", "data", "photo_statistics"
PUBLICATION = "publication"
_CARD_KEY, _CHECKSUM = "dpedkit", "sha256"


def save_model(path: str | Path, model: Generator, card: Mapping[str, Any]) -> None:
    """Write a generator's weights with everything needed to build it again, atomically.

    Parameters
    ----------
    path : str or Path
        Ends in `.safetensors` by convention.
    model : Generator
        From `build_generator`.
    card : mapping
        What to remember besides the architecture and its options, JSON-ready; for example
        `{"training": {...}}`.
    """
    from safetensors.torch import save

    path = Path(path)
    content = {
        "format": MODEL_FORMAT,
        "architecture": model.architecture,
        "options": model.options,
        "tool_version": __version__,
        **card,
    }
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    # A single key: safetensors writes several in an order that changes from run to run.
    text = json.dumps({**content, _CHECKSUM: _checksum(content, weights)})
    with complete_or_absent(path) as part:
        part.write_bytes(save(weights, metadata={_CARD_KEY: text}))


def restate(path: Path, entries: Mapping[str, Any]) -> None:
    """Write other entries into the card of a model file; the weights stay as they are.

    Parameters
    ----------
    path : Path
    entries : mapping
        Replace those of the same key; JSON-ready.

    Raises
    ------
    DpedkitError
        As `load_model`.
    """
    model = load_model(path)
    if all(model.card.get(key) == value for key, value in entries.items()):
        return
    own = {"architecture", "options", "format", _CHECKSUM}  # what `save_model` adds itself
    kept = {key: value for key, value in model.card.items() if key not in own}
    save_model(path, model, {**kept, **entries})


def _checksum(card: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hexadecimal digits, of a card and of the name and bytes of each weight."""
    content = {key: value for key, value in card.items() if key != _CHECKSUM}
    digest = hashlib.sha256(json.dumps(content).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_model(path: str | Path) -> Generator:
    """The generator in a model file, ready to enhance.

    Parameters
    ----------
    path : str or Path
        The file; or the folder of a run, for its best network; or the prefix of a TensorFlow
        checkpoint of the authors.

    Returns
    -------
    Generator
        On the CPU, in evaluation mode; takes and returns (N, 3, H, W) float32 in [0, 1]. Its
        attribute `card` is the dictionary described above. A photo-aware network also takes the
        planes of `dpedkit.photomap`; without them it uses one colour map for all photos.

    Raises
    ------
    DpedkitError
        If the file is missing, not a model, damaged, of a later version, or holds weights that are
        not finite.
    """
    path = find_model(path)
    # A network's first weights are drawn by chance, and not used: the caller's random numbers stay.
    with torch.random.fork_rng(devices=[]):
        return load_checkpoint(path) if is_checkpoint(path) else _load_file(path)


def _load_file(path: Path) -> Generator:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = read_card(path)
    try:
        _check_shapes(path, card)
        model = build_generator(card["architecture"], **card["options"])
        weights = load_file(path)
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError, DpedkitError) as error:
        raise DpedkitError(
            f"{path} is damaged or was written by a later version of dpedkit ({first_line(error)})."
        ) from None
    refuse_not_finite(path, model)
    expected = card.get(_CHECKSUM)  # earlier versions wrote none
    if expected is not None and expected != _checksum(card, weights):
        raise DpedkitError(
            f"{path} is damaged: it is not as it was written. Copy it again, or use another "
            "checkpoint or run."
        )
    model.card = card
    return model.eval()


def refuse_not_finite(path: Path, model: Generator) -> None:
    """Raise DpedkitError if a weight is NaN or infinite: every enhanced photo would be black."""
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise DpedkitError(
                f"{path} is damaged or its training failed: {name} holds values that are not "
                "finite. Copy it again, or use another checkpoint or run."
            )


def _check_shapes(path: Path, card: Mapping[str, Any]) -> None:
    """Compare the network of the card with the tensors of the file, before either takes memory.

    Raises
    ------
    DpedkitError, TypeError, KeyError
        If they differ, or the card is invalid.
    """
    from safetensors import safe_open

    with torch.device("meta"):
        wanted = build_generator(card["architecture"], **card["options"]).state_dict()
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if found.keys() != wanted.keys():
            name = min(found.keys() ^ wanted.keys())
            raise DpedkitError(f"its card and its weights disagree about '{name}'")
        for name, tensor in wanted.items():
            shape = tuple(found[name].get_shape())
            if shape != tuple(tensor.shape):
                raise DpedkitError(
                    f"'{name}' has the shape {shape}, but its card asks for {tuple(tensor.shape)}"
                )


def find_model(path: str | Path) -> Path:
    """The model that is meant: the file itself, or that of the best network of a run's folder.

    The prefix of a TensorFlow checkpoint is returned as it is.

    Raises
    ------
    DpedkitError
        If there is none.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / BEST_NAME).is_file():
            raise DpedkitError(
                f"{path} holds no {BEST_NAME}; give a model file, or the folder of a run."
            )
        return path / BEST_NAME
    if not path.exists() and not is_checkpoint(path):
        raise DpedkitError(f"{path}: there is no such model file.")
    if would_wait(path):
        raise DpedkitError(f"{path} is not a regular file.")
    return path


def model_hash(path: Path) -> str:
    """SHA-256 of a model file, or of all files of a TensorFlow checkpoint."""
    files = [path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a model file, without its weights.

    Raises
    ------
    DpedkitError
        As `load_model`.
    """
    from safetensors import SafetensorError, safe_open

    path = find_model(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        raise DpedkitError(
            f"{path} is not a model file; `dpedkit train` writes them as {BEST_NAME}."
        ) from None
    try:
        card = json.loads(metadata[_CARD_KEY])
        known = card["format"] <= MODEL_FORMAT
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DpedkitError(
            f"{path} holds weights, but does not say which network they belong to; dpedkit did "
            "not write it."
        ) from None
    if not known:
        raise DpedkitError(
            f"{path} was written by a later version of dpedkit; upgrade dpedkit to use it."
        )
    return card
