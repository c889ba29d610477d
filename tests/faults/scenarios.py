"""What is disturbed: six commands on small inputs, and what each must leave in the end."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

# The tests are modules beside each other, made for pytest.
sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Scenario:
    """A command that is killed and given again.

    Attributes
    ----------
    prepare : callable
        Makes the input in a folder.
    arguments : tuple of str
        The command, given there.
    outputs : tuple of str
        Folders that are compared.
    jobs : bool
        Whether it can be done by several workers.
    """

    prepare: Callable[[Path], None]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    jobs: bool = False

    def result(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every file that the command left, without what tells the time of day.

        Left out are the seconds that the making of a pair took, in `pairs.jsonl` and in the
        report, the lock, and TensorBoard's files, which have the time of day in their names and
        repeat what the log of the run has. Of checkpoints the values are compared: the same state
        takes other bytes in a resumed run, whose tensors lie otherwise in memory.
        """
        found = {}
        for output in self.outputs:
            for path in sorted((folder / output).rglob("*")):
                name = path.relative_to(folder).as_posix()
                if not path.is_file() or path.name == ".dpedkit.lock" or "tensorboard/" in name:
                    continue
                if name.endswith("report/index.html"):
                    found[name] = "there"
                    continue
                if path.suffix == ".pt":
                    found[name] = _values(path)
                    continue
                content = path.read_bytes()
                if path.name == "pairs.jsonl":
                    records = [json.loads(line) for line in content.splitlines()]
                    for record in records:
                        record.pop("seconds", None)
                        for side in ("phone", "dslr"):  # times of files that were simulated anew
                            if isinstance(record.get(side), dict):
                                record[side].pop("mtime_ns", None)
                    content = json.dumps(records).encode()
                content = content.replace(str(folder).encode(), b"FOLDER")
                found[name] = hashlib.sha256(content).hexdigest()
        return found


def _values(checkpoint: Path) -> str:
    """SHA-256 of all that a checkpoint holds, bit by bit."""
    import torch

    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for part in value:
                add(part)
        else:
            digest.update(repr(value).encode())

    add(torch.load(checkpoint, map_location="cpu", weights_only=True))
    return digest.hexdigest()


def _raw(folder: Path) -> None:
    from test_align_pair import SCENE, photograph, true_map

    for side in ("phone", "dslr"):
        (folder / side).mkdir()
    for number in range(3):
        corner = 40 * number
        phone = photograph(SCENE, true_map(0.004 * number), seed=number)
        Image.fromarray(phone).save(folder / "phone" / f"{number}.png")
        dslr = np.ascontiguousarray(SCENE[:, corner : corner + 820])
        Image.fromarray(dslr).save(folder / "dslr" / f"{number}.jpg", quality=95)


def _aligned(folder: Path) -> None:
    from test_patches import make_aligned

    make_aligned(folder / "aligned", 16)


def _dped(folder: Path) -> None:
    from test_import_patches import write_dped

    write_dped(folder / "iphone", {"training_data": 300, "test_data/patches": 60})


def _shards(folder: Path) -> None:
    from fake_shards import make_patches, write_shards

    write_shards(
        folder / "shards", {"train": make_patches(12, 20, 0), "val": make_patches(6, 20, 1)}
    )


def _photos(folder: Path) -> None:
    import torch
    from fake_shards import make_patches

    from dpedkit.models import build_generator, save_model

    torch.manual_seed(0)
    save_model(folder / "model.safetensors", build_generator("srcnn"), {})
    (folder / "photos").mkdir()
    phone, _, _ = make_patches(12, 120, 3)
    for number, photo in enumerate(phone):
        Image.fromarray(photo).save(folder / "photos" / f"{number:02}.png")


def _recipe(folder: Path) -> None:
    from small_recipe import SMALL_RECIPE

    (folder / "chain.toml").write_text(f'folder = "."\n{SMALL_RECIPE}size = 32\n')


TRAIN = (
    *("train", "shards", "--generator", "colour-residual", "--steps", "20", "--batch", "4"),
    *("--content", "msssim-l1", "--evaluate-every", "5", "--device", "cpu", "--augment"),
    *("--checkpoint-seconds", "0", "--name", "run", "--resume"),
)

SCENARIOS = {
    "align": Scenario(_raw, ("align", "phone", "dslr", "--field", "off"), ("aligned",), jobs=True),
    "patches": Scenario(_aligned, ("patches", "--size", "32"), ("shards",), jobs=True),
    "import-patches": Scenario(_dped, ("import-patches", "iphone"), ("shards",), jobs=True),
    "train": Scenario(_shards, TRAIN, ("runs",)),
    "enhance": Scenario(_photos, ("enhance", "model.safetensors", "photos", "-o", "out"), ("out",)),
    "run": Scenario(_recipe, ("run", "chain.toml"), ("aligned", "shards", "raw"), jobs=True),
}
