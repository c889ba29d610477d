"""The log of a run's validations: `log.jsonl`, and a tracker beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from dpedkit.core.manifest import Journal
from dpedkit.shards.provenance import without_paths
from dpedkit.training.config import TrainConfig
from dpedkit.training.trackers import GuardedTracker, open_tracker


class MetricLog:
    """A line of a run's log for each validation, and the same numbers for a tracker.

    Parameters
    ----------
    file : Path or None
        The log; None writes nothing, as in all but the first of several processes.
    config : TrainConfig
        Settings of the run; `log_to` names the tracker.
    """

    def __init__(self, file: Path | None, config: TrainConfig) -> None:
        self._file, self._config = file, config
        self._open = ExitStack()
        self._journal: Journal | None = None
        self._tracker: GuardedTracker | None = None

    def append(self, row: Mapping[str, Any]) -> None:
        """One validation: its step under "step", and its numbers, None where there is none."""
        if self._journal is not None:
            self._journal.append(dict(row))
            self._journal.sync()  # before the checkpoint that counts on it
        if self._tracker is not None:
            values = {name: value for name, value in row.items() if value is not None}
            self._tracker.log(values.pop("step"), values)

    def __enter__(self) -> Self:
        if self._file is None:
            return self
        settings = without_paths(self._config.to_dict())
        with ExitStack() as opened:
            self._journal = opened.enter_context(Journal(self._file))
            self._tracker = open_tracker(self._config.log_to, self._file.parent, settings)
            if self._tracker is not None:
                opened.enter_context(self._tracker)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)
