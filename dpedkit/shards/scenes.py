"""Which patches show the same scene."""

from __future__ import annotations

from pathlib import Path

from dpedkit.shards.index import read_index, read_pairs


def scene_names(folder: str | Path) -> list[str | None]:
    """The scene of each photo pair of a shards folder, in the order of their numbers.

    A scene is a photo pair, or all pairs with the same DSLR photo, or with `dpedkit patches
    --group-file` all pairs of one group. Different scenes of the same name, as merged shards may
    have, are numbered. None stands for a pair of which the scene is not known: published patches
    are not said to be from the same photo or not, so each is listed as a photo of its own, no
    larger than the patch.

    Parameters
    ----------
    folder : str or Path
    """
    side = read_index(folder).patch_size
    names: list[str | None] = []
    known: dict[str, list[str]] = {}  # of each name, what tells its scenes apart
    for pair in read_pairs(folder):
        if pair.get("crop") == [0, 0, side, side]:
            names.append(None)
            continue
        group = pair.get("group")
        name = str(group or pair["name"])
        same_name = known.setdefault(name, [])
        identity = f"group {group}" if group else str(pair.get("dslr_id") or pair.get("dslr"))
        if identity not in same_name:
            same_name.append(identity)
        number = same_name.index(identity)
        names.append(f"{name} ({number + 1})" if number else name)
    return names
