"""Finish a shards folder: `pairs.jsonl`, then `index.json`, which says that all is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NotRequired, TypedDict, cast

from dpedkit.core.manifest import write_jsonl
from dpedkit.core.workfolder import WorkFolder
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import PAIRS_FILE, ShardEntry
from dpedkit.shards.statistics import window_totals


class SplitContent(TypedDict):
    """What `index.json` says of a split."""

    patches: int
    shards: list[dict[str, Any]]  # file, patches, sha256: a `ShardEntry`
    pairs: int  # photo pairs
    thumbnails: int  # photo pairs with a thumbnail of the whole phone photo


class IndexContent(TypedDict):
    """What `index.json` says besides what every folder of work says of itself.

    See docs/formats.md; `dpedkit.shards.index.read_index` reads it.
    """

    patch_size: int  # px
    splits: dict[str, SplitContent]
    pairs: int  # photo pairs, also those of which nothing was kept
    failed: dict[str, str]  # by the pair's name, why it could not be read
    windows: dict[str, Any]  # `statistics.window_totals`
    patch_config: dict[str, Any]  # at least min_corr, correlate and size
    aligned: NotRequired[str]  # the aligned folder that the patches were cut from
    align_config: dict[str, Any]


def finish_shards(
    work: WorkFolder,
    entries: Mapping[str, Sequence[ShardEntry]],
    pairs: Iterable[dict[str, Any]],
    *,
    patch_size: int,
    patch_config: Mapping[str, Any],
    align_config: Mapping[str, Any],
    aligned: str | None = None,
    windows: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `pairs.jsonl` and `index.json`.

    Parameters
    ----------
    work : WorkFolder
        The folder, with its shards in it.
    entries : mapping of str to sequence of ShardEntry
        The shards of each split, in order.
    pairs : iterable of dict
        The lines of `pairs.jsonl`; gone through several times.
    patch_size : int
        Side of a patch in px.
    patch_config, align_config : mapping
        Settings of `patches` and of `align` that made them.
    aligned : str, optional
        The aligned folder that the patches were cut from.
    windows : dict, optional
        What became of the windows, where the lines of `pairs` do not say it.

    Returns
    -------
    dict
        All of `index.json`.
    """
    write_jsonl(work.path / PAIRS_FILE, pairs)
    content: IndexContent = {
        "patch_size": patch_size,
        "splits": describe_splits(entries, pairs),
        "pairs": sum(1 for _ in pairs),
        "failed": {pair["name"]: pair["error"] for pair in pairs if "error" in pair},
        "windows": windows if windows is not None else window_totals(list(pairs)),
        "patch_config": dict(patch_config),
        **({} if aligned is None else {"aligned": aligned}),  # type: ignore[typeddict-item]
        "align_config": dict(align_config),
    }
    results = cast(dict[str, Any], content)
    work.finish(**results)
    return {**work.description, **results}


def restated(work: WorkFolder, statements: Mapping[str, str | None]) -> dict[str, Any]:
    """The index of finished shards, rewritten where licence, authors, citation or DOI are new."""
    before = work.description["patch_config"]
    settings = {**before, **statements}
    if settings != before:
        work.finish(patch_config=settings)
    return {**work.description, "patch_config": settings}


def describe_splits(
    entries: Mapping[str, Sequence[ShardEntry]], pairs: Iterable[Mapping[str, Any]]
) -> dict[str, SplitContent]:
    """The value of `splits` in `index.json`, from the shards and the lines of `pairs.jsonl`."""
    return {
        split: {
            "patches": sum(entry.patches for entry in entries[split]),
            "shards": [asdict(entry) for entry in entries[split]],
            "pairs": sum(pair.get("split") == split for pair in pairs),
            "thumbnails": sum(
                pair.get("split") == split and pair.get("thumbnail", False) for pair in pairs
            ),
        }
        for split in SPLITS
    }
