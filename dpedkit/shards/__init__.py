"""The patch-pair format: HDF5 shards and their index, written, read, checked and converted.

>>> from dpedkit.shards import open_split                              # doctest: +SKIP
>>> train = open_split("shards", "train")                              # doctest: +SKIP
>>> phone, dslr = train.gather([0, 7, 4])  # (3, 100, 100, 3) uint8    # doctest: +SKIP
"""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "DpedShards": ".dataset",
    "open_split": ".reader",
    "SplitReader": ".reader",
    "Thumbnail": ".thumbnails",
    "split_counts": ".index",
    "pair_names": ".index",
    "read_index": ".index",
    "ShardIndex": ".index",
    "ShardEntry": ".index",
    "assign_splits": ".splits",
    "describe": ".description",
    "Description": ".description",
    "SplitDescription": ".description",
    "filter_shards": ".conversion",
    "merge_shards": ".conversion",
    "export_patches": ".export",
    "ExportSummary": ".export",
    "FilterConfig": ".config",
    "MergeConfig": ".config",
    "ExportConfig": ".config",
    "verify": ".verification",
    "Verification": ".verification",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
