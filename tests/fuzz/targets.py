"""What is fed with mutants: how a sound file of each kind is made, and who reads it."""

from __future__ import annotations

import io
import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dpedkit.core import console
from dpedkit.core.errors import DpedkitError
from tests.fuzz.mutants import mutate_bytes, mutate_json

LIMIT_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes
    ----------
    make : callable
        Writes a sound one, and what is needed beside it, into a folder and returns its path; takes
        a number, for sound files of several sorts.
    read : callable
        Reads the file as the commands do.
    is_text : bool
        Whether it is mutated as JSON rather than as bytes.
    may_pass : bool
        Whether damage can be a change that is as good as what was there, in a list for example.
    """

    make: Callable[[Path, int], Path]
    read: Callable[[Path], object]
    is_text: bool = False
    may_pass: bool = False


def _picture(seed: int) -> np.ndarray:
    import cv2

    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (480, 320))
    picture = cv2.add(picture, random.integers(0, 25, picture.shape, dtype=np.uint8))
    return cv2.GaussianBlur(picture, None, 2) if seed % 2 else picture


_JPEGS = (
    {}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 95, "subsampling": 0},
    {"restart_marker_blocks": 7, "optimize": True},
)  # fmt: skip


# A format without compression has no way to tell zeros from black: BMP is not among them.
_OTHERS = {".tif": {"compression": "tiff_deflate"}}


def _photo(folder: Path, number: int) -> Path:
    from PIL import Image

    image = Image.fromarray(_picture(number % 12))
    suffix = (".jpg", ".jpg", ".jpg", ".png", ".tif", ".webp")[number % 6]
    path = folder / f"photo{suffix}"
    image.save(
        path, **(_JPEGS[number % len(_JPEGS)] if suffix == ".jpg" else _OTHERS.get(suffix, {}))
    )
    return path


def _read_photo(path: Path) -> object:
    from dpedkit.images import read_capture, read_photo

    read_capture(path)
    return read_photo(path)


def _shards(folder: Path, number: int) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from fake_shards import make_patches, make_thumbnails, write_shards

    from dpedkit.core.manifest import write_jsonl

    thumbnails = make_thumbnails(3, number) if number % 3 else {}
    phone, dslr, _ = make_patches(12, 32, number)
    patches = {"train": (phone, dslr, np.arange(12) // 4)}
    shards = write_shards(folder / "shards", patches, thumbnails, compress=number % 2 == 0)
    pairs = [
        {"name": f"{n}", "dslr": f"{n}", "split": "train", "tried": 1, "kept": 1, "dropped": {},
         "thumbnail": n in thumbnails}
        for n in range(12)
    ]  # fmt: skip
    write_jsonl(shards / "pairs.jsonl", pairs)
    return shards


def _filter(path: Path) -> object:
    import shutil

    from dpedkit.shards import FilterConfig, filter_shards

    output = path.parent.parent / "filtered"
    shutil.rmtree(output, ignore_errors=True)
    return filter_shards(path.parent, output, FilterConfig(min_corr=0.9))


def _read_unverified(path: Path) -> object:
    """All that a shard holds, whatever its SHA-256, as with `--no-verify`."""
    from dpedkit.shards import open_split, verify

    verify(path.parent)
    reader = open_split(path.parent, "train")
    reader.gather(range(len(reader)))
    if reader.has_thumbnails:
        reader.thumbnails(reader.pair)
    return [reader.column(name) for name in ("ncc", "xy", "shift")]


def _model(folder: Path, number: int) -> Path:
    from dpedkit.models import build_generator, save_model

    path = folder / "model.safetensors"
    save_model(path, build_generator(("srcnn", "colour-residual")[number % 2]), {})
    return path


def _load_model(path: Path) -> object:
    from dpedkit.models import load_model

    return load_model(path)


def _checkpoint(folder: Path, number: int) -> Path:
    import torch

    from dpedkit.training.checkpoint import save_checkpoint

    state = {"learner": {"weights": torch.full((40, 40), float(number))}, "pretrained": 0}
    (folder / "checkpoints").mkdir(exist_ok=True)
    save_checkpoint(folder / "checkpoints", 1, state, keep=1, best=None)
    return folder / "checkpoints" / "step-00000001.pt"


def _load_checkpoint(path: Path) -> object:
    from dpedkit.training.checkpoint import load_checkpoint

    state = load_checkpoint(path.parent)
    assert state is not None
    weights = state["learner"]["weights"]
    # What nobody reads, such as the times in the archive, may be damaged; the state may not.
    assert state["step"] == 1
    assert (weights == weights[0, 0]).all()
    return state


def _recipe(folder: Path, number: int) -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        "description = 'x'\n[align]\nworking_mp = 0.5\n[patches]\nmin_corr = 0.9\n[train]\n"
        "steps = 10\nlearning_rate = 1e-3\ngenerator = 'srcnn'\naugment = true\n"
    )
    return path


def _read_recipe(path: Path) -> object:
    from dpedkit.recipe import read_recipe

    return read_recipe(str(path), path.parent)


def _csv(folder: Path, number: int) -> Path:
    from PIL import Image

    for side in ("phone", "dslr"):
        (folder / side).mkdir(exist_ok=True)
        for n in range(3):
            Image.new("RGB", (8, 8)).save(folder / side / f"{n}.png")
    path = folder / "pairs.csv"
    path.write_text("phone,dslr\n" + "".join(f"{n}.png,{n}.png\n" for n in range(3)))
    return path


def _read_csv(path: Path) -> object:
    from dpedkit.align.decisions import read_decisions
    from dpedkit.pairing.lists import pair_by_csv

    with suppress(DpedkitError):
        read_decisions(path, ["0"])
    return pair_by_csv(path.parent / "phone", path.parent / "dslr", path)


TARGETS = {
    "photo": Target(_photo, _read_photo),
    "shard": Target(lambda f, n: _shards(f, n) / "train-00000.h5", _filter),
    "layout": Target(
        lambda f, n: _shards(f, n) / "train-00000.h5", _read_unverified, may_pass=True
    ),
    "index": Target(lambda f, n: _shards(f, n) / "index.json", _filter, True, True),
    "pairs": Target(lambda f, n: _shards(f, n) / "pairs.jsonl", _filter, True, True),
    "model": Target(_model, _load_model),
    "checkpoint": Target(_checkpoint, _load_checkpoint, may_pass=True),
    "recipe": Target(_recipe, _read_recipe, may_pass=True),
    "csv": Target(_csv, _read_csv, may_pass=True),
}


def _mutant(target: Target, sound: bytes, number: int) -> tuple[bytes, bool]:
    """A mutant, and whether reading it must fail."""
    if not target.is_text:
        # WebP has no checksums: zeros are as good a photo as any.
        content, missing = mutate_bytes(sound, number, zeros_show=sound[8:12] != b"WEBP")
        is_photo = target is TARGETS["photo"]
        return content, missing if is_photo else not target.may_pass and content != sound
    lines = sound.decode().splitlines()
    whole = len(lines) > 1 and lines[0] == "{"  # one object over several lines
    place = number % len(lines)
    text = mutate_json("\n".join(lines) if whole else lines[place], number)
    mutated = text if whole else "\n".join([*lines[:place], text, *lines[place + 1 :]]) + "\n"
    return mutated.encode("utf-8", errors="surrogateescape"), False


def read_mutant(kind: str, numbers: list[int], folder: Path, answers: Connection) -> None:
    """Read mutants one after the other; an outcome and a note are sent for each."""
    console.set_verbosity(console.QUIET)
    sys.stderr = io.StringIO()
    target = TARGETS[kind]
    import shutil

    for number in numbers:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = target.make(folder, number)
        sound = path.read_bytes()
        if number == numbers[0]:
            target.read(path)  # what is imported, and that the sound file is sound
            answers.send(("begun", ""))
        content, must_fail = _mutant(target, sound, number)
        path.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            target.read(path)
            outcome, note = ("accepted", "") if must_fail else ("read", "")
        except DpedkitError:
            outcome, note = "refused", ""
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            outcome, note = "traceback", f"{type(error).__name__}: {str(error)[:80]} ({place})"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > LIMIT_BYTES:
            outcome, note = "memory", f"{grown / 1e9:.1f} GB"
        answers.send((outcome, note))
