"""Random batches of patch pairs: from memory, from shards, and as others store and load them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from comparison.effort import Effort
from comparison.random_batches import compare_gathering
from comparison.stores import write_stores
from comparison.tables import Table
from comparison.training_batches import compare_for_training
from dpedkit.core.console import QUIET, set_verbosity

TITLE = "Loading"
NOTE = (
    "Patch pairs of 100 px, as dpedkit stores them in shards, and as the JPEG files of `dpedkit "
    "shards export`, alone and in tar files."
)


def compare(effort: Effort) -> Iterator[Table]:
    """A table of batches as they are stored, and one of batches for training."""
    set_verbosity(QUIET)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_stores(home, effort.patches)
        yield compare_gathering(home, effort)
        yield compare_for_training(home, effort)
