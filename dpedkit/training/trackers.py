"""Where the numbers of a run are shown besides its log: TensorBoard, Weights & Biases, MLflow.

None of them is needed: `log.jsonl` has every number. `SERVICES` is their only list: the choices of
``--log-to`` and its help are made from it. To add a service, write a class with the methods of
`Tracker` and add an entry.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from dpedkit.core.atomic import make_folder, write_json
from dpedkit.core.console import warn
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json
from dpedkit.core.wording import first_line

AUTO, NONE = "auto", "none"  # the choices of --log-to that are no service
_OF_AUTO = "tensorboard"
_PROJECT = "dpedkit"
_IDENTITY = "tracking.json"  # in the run's folder: which run of a service it is


class Ending(Enum):
    """How a run, or the part of it since it was last resumed, ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # by Ctrl-C or SIGTERM; it can be resumed
    FAILED = "failed"

    @classmethod
    def by(cls, error: type[BaseException] | None) -> Ending:
        """The ending of a block that was left by this kind of exception, or by none."""
        if error is None:
            return cls.FINISHED
        return cls.FAILED if issubclass(error, Exception) else cls.STOPPED


class Tracker(Protocol):
    """Something that shows the numbers of a run while it goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one validation."""

    def close(self, ending: Ending) -> None:
        """Pass on all that was logged, and how the run ended."""


def open_tracker(name: str, run: Path, settings: Mapping[str, Any]) -> GuardedTracker | None:
    """The tracker of a run.

    Parameters
    ----------
    name : str
        A key of `SERVICES`, "none", or "auto": TensorBoard, if it is installed and works.
    run : Path
        The run's folder. A resumed run continues the same run of the service.
    settings : mapping
        All settings of the run.

    Returns
    -------
    GuardedTracker or None
        None if nothing besides the log is to be written.

    Raises
    ------
    DpedkitError
        If a service that was named is not installed, or cannot begin.
    """
    service = SERVICES.get(_OF_AUTO if name == AUTO else name)
    if service is None or (name == AUTO and not is_installed(service.package)):
        return None
    require_tracker(name)
    try:
        return GuardedTracker(service.begin(run, settings), service.title)
    except Exception as error:  # those of the packages share no other base class
        if name == AUTO:
            warn(
                f"{service.title} is installed but does not work ({first_line(error)}), so the "
                "numbers of this run go to its log alone."
            )
            return None
        raise DpedkitError(
            f"--log-to {name}: {service.title} cannot begin ({first_line(error)}). Continue with "
            f"--name {run.name} --resume once that is cured, or add --log-to {NONE} to do without."
        ) from error


def require_tracker(name: str) -> None:
    """Check that the package of a service can be used, before anything is done for a run.

    Raises
    ------
    DpedkitError
        If a service that was named is not installed, with the command that installs it, or if
        its package cannot be imported.
    """
    if name in (AUTO, NONE):
        return
    service = SERVICES[name]
    if not is_installed(service.package):
        raise DpedkitError(f"--log-to {name} needs a package: pip install 'dpedkit[{name}]'")
    try:
        importlib.import_module(service.module)
    except Exception as error:  # packages whose versions do not match raise errors of any kind
        raise DpedkitError(
            f"--log-to {name}: {service.title} is installed but cannot be imported "
            f"({first_line(error)}). Install it again (pip install --force-reinstall "
            f"'{service.package}'), or train with --log-to {NONE}."
        ) from error


def is_installed(package: str) -> bool:
    """Whether there is a package of this name, even if it cannot be imported."""
    return importlib.util.find_spec(package) is not None


class GuardedTracker:
    """A tracker whose failure, such as a lost connection, does not end the run.

    Leaving it as a context manager closes the tracker.
    """

    def __init__(self, tracker: Tracker, title: str) -> None:
        self._tracker, self._title = tracker, title
        self._failed = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if not self._failed:
            self._attempt(lambda: self._tracker.log(step, values))

    def __enter__(self) -> GuardedTracker:
        return self

    def __exit__(
        self,
        error: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Even after a failure: otherwise the service would not learn how the run ended.
        self._attempt(lambda: self._tracker.close(Ending.by(error)))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if not self._failed:
                warn(f"{self._title} failed ({first_line(error)}); the run goes on without it.")
            self._failed = True


class TensorBoard:
    """A file of events for each start of the run, in `tensorboard/` in its folder.

    Events are written at once. `SummaryWriter` writes them in a thread, which prints a traceback if
    the disk is full.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        file = make_folder(run / "tensorboard") / f"events.out.tfevents.{time.time_ns()}"
        self._writer: Any = RecordWriter(file.open("xb"))
        self._write(file_version="brain.Event:2")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            scalar = self._summary.Value(tag=name, simple_value=value)
            self._write(step=step, summary=self._summary(value=[scalar]))

    def close(self, ending: Ending) -> None:
        self._writer.close()

    def _write(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._writer.flush()


class WeightsAndBiases:
    """A run of the project dpedkit; wandb's variables (WANDB_PROJECT, WANDB_MODE) have priority."""

    # 255 is wandb's own code of a run that Ctrl-C stopped.
    _EXIT_CODES: Mapping[Ending, int] = {
        Ending.FINISHED: 0,
        Ending.FAILED: 1,
        Ending.STOPPED: 255,
    }

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        known = _identity(run).get("wandb")
        self._run: Any = wandb.init(
            project=None if "WANDB_PROJECT" in os.environ else _PROJECT,
            name=run.name,
            dir=run,
            config=dict(settings),
            id=known,
            resume="allow",
        )
        _remember(run, "wandb", self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=self._EXIT_CODES[ending])


class MLflow:
    """A run of the experiment dpedkit; mlflow's variables (MLFLOW_TRACKING_URI) have priority."""

    _STATUSES: Mapping[Ending, str] = {
        Ending.FINISHED: "FINISHED",
        Ending.FAILED: "FAILED",
        Ending.STOPPED: "KILLED",
    }

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        known = _identity(run).get("mlflow")
        if known is None and "MLFLOW_EXPERIMENT_NAME" not in os.environ:
            mlflow.set_experiment(_PROJECT)
        started = mlflow.start_run(run_id=known, run_name=None if known else run.name)
        if known is None:
            try:
                mlflow.log_params(dict(settings))
                _remember(run, "mlflow", started.info.run_id)
            except BaseException:
                self.close(Ending.FAILED)
                raise

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        self._mlflow.end_run(self._STATUSES[ending])


@dataclass(frozen=True)
class Service:
    """A program or website that shows the numbers of runs.

    Attributes
    ----------
    title : str
        Its name for people.
    package : str
        The Python package that it needs; the extra of dpedkit with the service's name installs it.
    module : str
        What is imported to see whether the package works.
    begin : callable
        Takes the folder of a run and all its settings; returns its `Tracker`.
    """

    title: str
    package: str
    module: str
    begin: Callable[[Path, Mapping[str, Any]], Tracker]


# By the name that --log-to takes.
SERVICES: Mapping[str, Service] = {
    "tensorboard": Service(
        "TensorBoard", "tensorboard", "tensorboard.summary.writer.record_writer", begin=TensorBoard
    ),
    "wandb": Service("Weights & Biases", "wandb", "wandb", begin=WeightsAndBiases),
    "mlflow": Service("MLflow", "mlflow", "mlflow", begin=MLflow),
}


def _identity(run: Path) -> dict[str, Any]:
    file = run / _IDENTITY
    return read_json(file) if file.is_file() else {}


def _remember(run: Path, service: str, identity: str) -> None:
    write_json(run / _IDENTITY, {**_identity(run), service: identity})
