"""The dataset card of a shards folder: `README.md` for people, with a header for Hugging Face.

With it `datasets.load_dataset("shards/")` knows the splits, and a published folder explains itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dpedkit.core.atomic import write_text
from dpedkit.shards.format import SPLITS
from dpedkit.shards.hub import THUMBNAILS_CONFIG, hub_header
from dpedkit.shards.index import ShardIndex, read_index, read_pairs
from dpedkit.shards.splits import split_rule

CARD_FILE = "README.md"
UNKNOWN_LICENCE = "unknown"

_SIDES = {"phone": "phone", "dslr": "DSLR"}
_BODY = """\
# {title}

Pairs of {size} x {size} px patches of the same scene, one from a phone and one from a DSLR, aligned
to a fraction of a pixel, for training networks that enhance photos (after DPED, Ignatov et al.,
ICCV 2017). Made by dpedkit {version}.

{counts}

## Cameras
{cameras}

## Licence
Photos: {licence}

## Splits
By photo pair, never by patch: all patches of a photo are in one split. {split_rule}

## Files
Each shard is an HDF5 file with datasets of equal length:

- `phone`, `dslr` (N, {size}, {size}, 3) uint8: the patches, RGB in sRGB
- `ncc` (N,): normalised cross-correlation of the two
- `xy` (N, 2): corner of the window in the aligned phone photo, px
- `shift` (N, 2), `angle`, `shift_error` (N,): what the match added to the alignment
- `pair` (N,): number of the photo pair, its line in `pairs.jsonl` from 0
{thumbnails}
`index.json` has the SHA-256 of each shard.

```python
from datasets import load_dataset
patches = load_dataset("path/to/this/folder", split="train")

from torch.utils.data import DataLoader
import dpedkit
loader = DataLoader(dpedkit.DpedShards("path/to/this/folder", "train"), batch_size=32, shuffle=True)
```
"""

_THUMBNAILS = f"""\

For each photo pair of which it holds patches, a shard also has:

- `thumbnail_pair` (P,): number of the photo pair
- `thumbnail` (P, 256, 256, 3) uint8: the whole phone photo, RGB in sRGB, in the top left corner
- `thumbnail_size` (P, 2): width and height of the photo there, px
- `thumbnail_crop` (P, 4): x, y, width, height of the part that was cut into patches, px

**The thumbnails show the whole photos**, also what no patch shows: faces, number plates, screens.
`dpedkit shards filter --no-thumbnails` makes a copy without them.
`load_dataset("path/to/this/folder", "{THUMBNAILS_CONFIG}")` reads them, one row for each photo.
"""


@dataclass(frozen=True)
class Cameras:
    """The cameras that took the photos.

    Attributes
    ----------
    phone, dslr : dict of str to int
        Number of photos by the name of the camera; empty where the photos do not say.
    """

    phone: dict[str, int] = field(default_factory=dict)
    dslr: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, pairs: Iterable[Mapping[str, Any]]) -> Self:
        """The cameras of the photo pairs of which patches were kept (lines of `pairs.jsonl`)."""
        cameras = cls()
        for pair in pairs:
            names = pair.get("cameras", ("", "")) if pair.get("kept") else ("", "")
            for counts, name in zip((cameras.phone, cameras.dslr), names, strict=True):
                if name:
                    counts[name] = counts.get(name, 0) + 1
        return cameras


def write_card(folder: str | Path) -> Path:
    """Write the dataset card of a finished shards folder and return its path.

    Raises
    ------
    DpedkitError
        If it is not a finished shards folder, or cannot be written to.
    """
    index = read_index(folder)
    path = Path(folder) / CARD_FILE
    write_text(path, _card(index, Cameras.of(read_pairs(folder)), licence_of(index)))
    return path


def licence_of(index: ShardIndex) -> str:
    """Licence of the photos: one of Hugging Face's identifiers, such as "cc-by-4.0"."""
    return str(index.content["patch_config"].get("licence", UNKNOWN_LICENCE))


def _card(index: ShardIndex, cameras: Cameras, licence: str) -> str:
    title = "Patch pairs" + _between(cameras)
    unknown = " Ask the photographers before you use them." if licence == UNKNOWN_LICENCE else ""
    body = _BODY.format(
        title=title,
        size=index.patch_size,
        version=index.content.get("tool_version", ""),
        counts=_counts(index),
        cameras=_camera_lines(cameras),
        thumbnails=_THUMBNAILS if any(map(index.thumbnails, SPLITS)) else "",
        licence=f"{licence}.{unknown}",
        split_rule=split_rule(index.content.get("patch_config", {})),
    )
    settings = (
        _settings("Settings of the patches", index.content.get("patch_config")),
        _settings("Settings of the alignment", index.content.get("align_config")),
    )
    return "\n".join([hub_header(index, title, licence), body, *filter(None, settings)])


def _between(cameras: Cameras) -> str:
    phone, dslr = (_most_frequent(counts) for counts in (cameras.phone, cameras.dslr))
    return f": {phone} and {dslr}" if phone and dslr else ""


def _most_frequent(counts: Mapping[str, int]) -> str:
    return max(counts, key=lambda camera: counts[camera], default="")


def _counts(index: ShardIndex) -> str:
    described = index.content["splits"]
    rows = [
        (split, described[split].get("pairs", ""), index.thumbnails(split), index.count(split))
        for split in SPLITS
    ]
    return _table(("split", "photo pairs", "thumbnails", "patch pairs"), rows)


def _camera_lines(cameras: Cameras) -> str:
    lines = []
    for side, name in _SIDES.items():
        counts: dict[str, int] = getattr(cameras, side)
        known = [
            f"{camera} ({count} photo{'s' if count != 1 else ''})"
            for camera, count in sorted(counts.items())
        ]
        lines.append(f"- {name}: {', '.join(known) or 'not known'}")
    return "\n".join(lines)


def _settings(title: str, settings: Mapping[str, Any] | None) -> str:
    if not settings:
        return ""
    rows = [(name, json.dumps(value)) for name, value in settings.items()]
    return f"## {title}\n{_table(('setting', 'value'), rows)}\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
