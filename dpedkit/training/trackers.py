"""Where the numbers of a run are shown besides its log: TensorBoard, Weights & Biases, MLflow.

Each is a `Tracker`, and none is needed: `log.jsonl` has every number.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dpedkit.core.atomic import write_json
from dpedkit.core.console import warn
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json

_PROJECT = "dpedkit"
_IDENTITY = "tracking.json"  # in the run's folder: which run of a service it is


class Tracker(Protocol):
    """Something that shows the numbers of a run while it goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one validation."""

    def close(self) -> None:
        """Pass on all that was logged, at the end of the run or of a part of it."""


def open_tracker(name: str, run: Path, settings: Mapping[str, Any]) -> Tracker | None:
    """The tracker of a run.

    Parameters
    ----------
    name : str
        One of `config.TRACKERS`; "auto" is TensorBoard where that is installed.
    run : Path
        The run's folder. A run that is resumed goes on in the same place of the service.
    settings : mapping
        All settings of the run.

    Returns
    -------
    Tracker or None
        None if nothing besides the log is to be written.

    Raises
    ------
    DpedkitError
        If the package is not installed, or refuses to begin.
    """
    if name == "auto":
        name = "tensorboard" if is_installed("tensorboard") else "none"
    if name == "none":
        return None
    require_tracker(name)
    kinds: dict[str, Any] = {
        "tensorboard": TensorBoard,
        "wandb": WeightsAndBiases,
        "mlflow": MLflow,
    }
    try:
        tracker: Tracker = kinds[name](run, settings)
    except Exception as error:  # those of the packages share no other base class
        raise DpedkitError(
            f"--log-to {name}: it cannot begin ({_first_line(error)}). With --log-to none the run "
            "goes on without it."
        ) from error
    return _Forgiving(tracker, name)


class _Forgiving:
    """A tracker whose failure, such as a lost connection, does not end the run."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker, self._name = tracker, name
        self._failed = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._attempt(lambda: self._tracker.log(step, values))

    def close(self) -> None:
        self._attempt(self._tracker.close)

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self._failed = True
            warn(f"{self._name} failed ({_first_line(error)}); the run goes on without it.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def require_tracker(name: str) -> None:
    """Raise DpedkitError with the command that installs it if the package is missing."""
    if name not in ("auto", "none") and not is_installed(name):
        raise DpedkitError(f"--log-to {name} needs a package: pip install 'dpedkit[{name}]'")


def is_installed(name: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


class TensorBoard:
    """Event files in `tensorboard/` in the run's folder."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(run / "tensorboard")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project dpedkit; wandb's own variables (WANDB_PROJECT, WANDB_MODE) hold."""

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

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of the experiment dpedkit; mlflow's own variables (MLFLOW_TRACKING_URI) hold."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        known = _identity(run).get("mlflow")
        if known is None and "MLFLOW_EXPERIMENT_NAME" not in os.environ:
            mlflow.set_experiment(_PROJECT)
        started = mlflow.start_run(run_id=known, run_name=None if known else run.name)
        if known is None:
            mlflow.log_params(dict(settings))
            _remember(run, "mlflow", started.info.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


def _identity(run: Path) -> dict[str, Any]:
    file = run / _IDENTITY
    return read_json(file) if file.is_file() else {}


def _remember(run: Path, service: str, identity: str) -> None:
    write_json(run / _IDENTITY, {**_identity(run), service: identity})
