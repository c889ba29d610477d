"""What is in a shards folder, from its index alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.console import table
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import read_index, read_pairs


@dataclass(frozen=True)
class SplitDescription:
    """Patch pairs, photo pairs, shards and bytes of one split.

    `thumbnails` is the number of photo pairs with a thumbnail of the whole phone photo.
    """

    patches: int
    pairs: int
    shards: int
    bytes: int
    thumbnails: int = 0


@dataclass(frozen=True)
class Description:
    """Numbers that describe a shards folder.

    Attributes
    ----------
    folder : str
    patch_size : int
        Side of a patch in px.
    tool_version : str
        The version of dpedkit that wrote the folder.
    splits : dict of str to SplitDescription
    windows : dict
        Tried, kept, and dropped by reason, as `patches` recorded it.
    config : dict
        Settings of `patches`.
    """

    folder: str
    patch_size: int
    tool_version: str
    splits: dict[str, SplitDescription]
    windows: dict[str, Any]
    config: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
        return asdict(self)

    def as_text(self) -> str:
        """The description for people."""
        rows = [
            (
                name,
                split.patches,
                split.pairs,
                split.thumbnails,
                split.shards,
                f"{split.bytes / 1e6:.1f} MB",
            )
            for name, split in self.splits.items()
        ]
        size = f"{self.patch_size}x{self.patch_size}"
        settings = ", ".join(f"{name} {value}" for name, value in self.config.items())
        return "\n".join(
            [
                f"{self.folder}: patches of {size} px, written by dpedkit {self.tool_version}",
                table(
                    ("split", "patch pairs", "photo pairs", "thumbnails", "shards", "size"), rows
                ),
                f"settings: {settings}",
            ]
        )


def describe(folder: str | Path) -> Description:
    """Describe a shards folder.

    Raises
    ------
    DpedkitError
        If it is not a complete shards folder.
    """
    index = read_index(folder)
    pairs = read_pairs(folder)
    splits = {}
    for split in SPLITS:
        files = [index.folder / entry.file for entry in index.shards[split]]
        splits[split] = SplitDescription(
            patches=index.count(split),
            pairs=sum(pair.get("split") == split for pair in pairs),
            shards=len(files),
            bytes=sum(file.stat().st_size for file in files if file.exists()),
            thumbnails=index.thumbnails(split),
        )
    content = index.content
    return Description(
        folder=str(folder),
        patch_size=index.patch_size,
        tool_version=str(content.get("tool_version")),
        splits=splits,
        windows=content.get("windows", {}),
        config=content["patch_config"],
    )
