"""The dataset card of a shards folder: `README.md` for people, with a header for Hugging Face.

With it `datasets.load_dataset("shards/")` knows the splits, and a published folder explains itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpedkit.core import markdown
from dpedkit.core.atomic import write_text
from dpedkit.core.publication import UNKNOWN_LICENCE, statements_of
from dpedkit.core.wording import counted
from dpedkit.shards.format import SPLITS
from dpedkit.shards.hub import THUMBNAILS_CONFIG, hub_header
from dpedkit.shards.index import ShardIndex, read_index, read_pairs
from dpedkit.shards.origin import Photos, photos_of
from dpedkit.shards.splits import split_rule

CARD_FILE = "README.md"

_ASK = "Ask the photographers before you use them."
_BODY = """\
# {title}

Pairs of {size} x {size} px patches of the same scene, one from a phone and one from a DSLR, aligned
to a fraction of a pixel, for training networks that enhance photos (after DPED, Ignatov et al.,
ICCV 2017). Made by dpedkit {version}.

{counts}

## Photos
{photos}

{statements}
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
patches = patches.with_format("numpy", columns=["phone", "dslr"], dtype="uint8")

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


def write_card(folder: str | Path) -> Path:
    """Write the dataset card of a finished shards folder and return its path.

    Raises
    ------
    DpedkitError
        If it is not a finished shards folder, or cannot be written to.
    """
    path = Path(folder) / CARD_FILE
    write_text(path, dataset_card(folder))
    return path


def dataset_card(folder: str | Path) -> str:
    """The card of a finished shards folder, as it would be written.

    Raises
    ------
    DpedkitError
        If it is not a finished shards folder.
    """
    index = read_index(folder)
    photos = photos_of(read_pairs(folder))
    told = statements_of(index.content["patch_config"])
    title = "Patch pairs" + _between(photos)
    body = _BODY.format(
        title=title,
        size=index.patch_size,
        version=index.content.get("tool_version", ""),
        counts=_counts(index),
        photos=_photo_lines(photos),
        thumbnails=_THUMBNAILS if any(map(index.thumbnails, SPLITS)) else "",
        statements=markdown.statements("Photos", told, _ASK),
        split_rule=split_rule(index.content.get("patch_config", {})),
    )
    settings = (
        markdown.settings_table("Settings of the patches", index.content.get("patch_config")),
        markdown.settings_table("Settings of the alignment", index.content.get("align_config")),
    )
    licence = told.get("licence", UNKNOWN_LICENCE)
    return "\n".join([hub_header(index, title, licence), body, *filter(None, settings)])


def _between(photos: Mapping[str, Photos]) -> str:
    phone, dslr = (photos[side].most_frequent_camera() for side in ("phone", "dslr"))
    return f": {phone} and {dslr}" if phone and dslr else ""


def _counts(index: ShardIndex) -> str:
    described = index.content["splits"]
    rows = [
        (split, described[split].get("pairs", ""), index.thumbnails(split), index.count(split))
        for split in SPLITS
    ]
    return markdown.table(("split", "photo pairs", "thumbnails", "patch pairs"), rows)


def _photo_lines(photos: Mapping[str, Photos]) -> str:
    cameras = markdown.camera_lines({side: own.cameras for side, own in photos.items()})
    counts = [
        f"{counted(photos[side].count, f'{name} photo')} from {', '.join(photos[side].folders)}"
        for side, name in (("phone", "phone"), ("dslr", "DSLR"))
        if photos[side].folders
    ]
    return f"{'; '.join(counts)}.\n\n{cameras}" if counts else cameras
