"""Where the patches of a shards folder come from: photos, cameras, settings, terms of use.

The card of the folder tells it, and so does the file of every network that is trained on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dpedkit.core.publication import statements_of
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import ShardIndex, read_index, read_pairs
from dpedkit.shards.provenance import dslr_id, without_paths

SIDES = ("phone", "dslr")


@dataclass
class Photos:
    """The photos of one side, phone or DSLR, of which patches were kept.

    Attributes
    ----------
    count : int
        Different photos, however many pairs each is in.
    folders : list of str
        The names of the folders that they were in, without the path above.
    cameras : dict of str to int
        Number of photos by the name of the camera; without those that do not say.
    """

    count: int = 0
    folders: list[str] = field(default_factory=list)
    cameras: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set, repr=False)

    def add(self, identity: str, file: str, camera: str) -> None:
        """Count a photo, unless it was counted before."""
        if identity in self._seen:
            return
        self._seen.add(identity)
        self.count += 1
        folder, slash, _ = file.replace("\\", "/").rstrip("/").rpartition("/")
        folder = folder.rpartition("/")[2]  # earlier versions recorded whole paths
        if slash and folder not in self.folders:
            self.folders.append(folder)
        if camera:
            self.cameras[camera] = self.cameras.get(camera, 0) + 1

    def most_frequent_camera(self) -> str:
        """The camera of most photos; empty where none says."""
        return max(self.cameras, key=lambda camera: self.cameras[camera], default="")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"count": self.count, "folders": self.folders, "cameras": self.cameras}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; what is missing is not known."""
        return cls(
            int(values.get("count", 0)),
            [str(folder) for folder in values.get("folders", [])],
            {str(camera): int(count) for camera, count in values.get("cameras", {}).items()},
        )


def photos_of(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Photos]:
    """The "phone" and "dslr" photos of the lines of `pairs.jsonl` of which patches were kept.

    Lines of imported patches are left out: which photos they were cut from is not known.
    """
    photos = {side: Photos() for side in SIDES}
    for pair in pairs:
        if not pair.get("kept") or "cameras" not in pair:
            continue
        for side, camera in zip(SIDES, pair["cameras"], strict=True):
            photos[side].add(_identity(pair, side), str(pair.get(side, "")), camera)
    return photos


def _identity(pair: Mapping[str, Any], side: str) -> str:
    if side == "dslr" and "dslr" in pair:
        return dslr_id(pair)
    # Earlier versions recorded no identity of the phone's photo: each pair has its own.
    return str(pair.get("phone_id") or (pair["name"], pair.get("dslr_id"), pair.get("phone")))


def origin_of(folder: str | Path) -> dict[str, Any]:
    """What the file of a network says of the patches that it was trained on, JSON-ready.

    Returns
    -------
    dict
        `shards` (hash of all patches), `tool_version`, `splits` (per split: `pairs` and
        `patches`), `photos` (per side: `count`, `folders`, `cameras`), `patch_config`,
        `align_config`, and the statements that were made: `licence`, `authors`, `citation`, `doi`.

    Raises
    ------
    DpedkitError
        If it is not a complete shards folder.
    """
    index = read_index(folder)
    settings = index.content["patch_config"]
    return {
        "shards": index.fingerprint(),
        "tool_version": str(index.content.get("tool_version", "")),
        "splits": split_sizes(index),
        "photos": {side: own.to_dict() for side, own in photos_of(read_pairs(folder)).items()},
        "patch_config": without_paths(settings),
        "align_config": without_paths(index.content.get("align_config", {})),
        **statements_of(settings),
    }


def split_sizes(index: ShardIndex) -> dict[str, dict[str, int]]:
    """Photo pairs and patch pairs of each split."""
    return {
        split: {
            "pairs": int(index.content["splits"][split].get("pairs", 0)),
            "patches": index.count(split),
        }
        for split in SPLITS
    }
