"""The numbers of a run in TensorBoard, Weights & Biases and MLflow."""

import importlib.util
import sys
import tomllib
import types
from pathlib import Path

import pytest
from fake_shards import make_patches, write_shards

from dpedkit import doctor, stages
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_jsonl
from dpedkit.training.config import TrainConfig
from dpedkit.training.trackers import SERVICES, Ending

VALIDATED = [0, 1, 2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    splits = {"train": make_patches(8, 32, 0), "val": make_patches(4, 32, 1)}
    return write_shards(tmp_path_factory.mktemp("trackers") / "shards", splits)


@pytest.fixture
def train(shards, tmp_path):
    def run(log_to, steps=2, **others):
        config = TrainConfig(
            generator="colour-residual",
            content="msssim-l1",
            steps=steps,
            batch=4,
            evaluate_every=1,
            log_to=log_to,
        )
        return stages.train(shards, config, name="mine", runs=tmp_path / "runs", **others).folder

    return run


class Service:
    """What a package was told, by its functions, which both fakes share."""

    def __init__(self):
        self.begun, self.logged, self.settings, self.ended = [], [], {}, []
        self.fails_at = None

    def log(self, values, step):
        if step == self.fails_at:
            raise ConnectionError("no route to host\nmore")
        self.logged.append((step, values))

    def end(self, ending):
        self.ended.append(ending)


@pytest.fixture
def wandb(monkeypatch):
    service = Service()
    module = types.ModuleType("wandb")
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)

    def init(*, project, name, dir, config, id, resume):
        service.begun.append({"project": project, "name": name, "id": id, "resume": resume})
        service.settings = config
        return types.SimpleNamespace(
            log=service.log, finish=lambda *, exit_code: service.end(exit_code), id=id or "abc123"
        )

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return service


@pytest.fixture
def mlflow(monkeypatch):
    service = Service()
    module = types.ModuleType("mlflow")
    module.__spec__ = importlib.util.spec_from_loader("mlflow", None)
    module.set_experiment = lambda name: service.begun.append({"experiment": name})

    def start_run(*, run_id, run_name):
        service.begun.append({"run_id": run_id, "run_name": run_name})
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "f00"))

    module.start_run, module.end_run = start_run, service.end
    module.log_params = service.settings.update
    module.log_metrics = lambda values, step: service.log(values, step)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return service


def expected(run):
    """The rows of the log, as trackers get them."""
    rows = read_jsonl(run / "log.jsonl")
    return [
        (row["step"], {name: v for name, v in row.items() if v is not None and name != "step"})
        for row in rows
    ]


def test_wandb_gets_every_number_and_goes_on_where_it_was(wandb, train):
    run = train("wandb")
    assert wandb.logged == expected(run) and [step for step, _ in wandb.logged] == VALIDATED
    assert wandb.begun == [{"project": "dpedkit", "name": "mine", "id": None, "resume": "allow"}]
    assert wandb.settings["generator"] == "colour-residual" and wandb.ended == [0]
    train("wandb", steps=3, resume=True, extend=True)
    assert wandb.begun[1]["id"] == "abc123"
    assert wandb.logged == expected(run)


def test_mlflow_gets_every_number_and_goes_on_where_it_was(mlflow, train):
    run = train("mlflow")
    assert mlflow.logged == expected(run) and mlflow.ended == ["FINISHED"]
    assert mlflow.begun == [{"experiment": "dpedkit"}, {"run_id": None, "run_name": "mine"}]
    assert mlflow.settings["steps"] == 2
    train("mlflow", steps=3, resume=True, extend=True)
    assert mlflow.begun[2:] == [{"run_id": "f00", "run_name": None}]
    assert mlflow.logged == expected(run)


def test_a_service_that_fails_does_not_end_the_run(wandb, train, caplog):
    wandb.fails_at = 1
    run = train("wandb")
    assert [step for step, _ in wandb.logged] == [0]
    assert len(read_jsonl(run / "log.jsonl")) == len(VALIDATED)
    assert caplog.text.count("Weights & Biases failed (no route to host)") == 1
    assert wandb.ended == [0]  # the run is finished; its service has only lost some numbers


@pytest.mark.parametrize(
    ("error", "exit_code", "status"),
    [(DpedkitError("no longer finite"), 1, "FAILED"), (KeyboardInterrupt(), 255, "KILLED")],
)
def test_a_run_that_died_is_not_shown_as_finished(
    wandb, mlflow, train, monkeypatch, error, exit_code, status
):
    def die(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("dpedkit.training.loop.check_finite", die)
        with pytest.raises(type(error)):
            train("wandb")
        assert wandb.ended == [exit_code]
        with pytest.raises(type(error)):
            train("mlflow", overwrite=True)
        assert mlflow.ended == [status]
    train("mlflow", resume=True)
    assert mlflow.ended == [status, "FINISHED"]
    assert mlflow.begun[-1] == {"run_id": "f00", "run_name": None}


def test_a_service_that_refuses_to_begin_is_named_and_the_run_can_go_on(mlflow, train, monkeypatch):
    monkeypatch.setattr(sys.modules["mlflow"], "start_run", lambda **_: 1 / 0)
    with pytest.raises(DpedkitError, match=r"--log-to mlflow: MLflow cannot begin \(division"):
        train("mlflow")
    run = train("none", resume=True)
    assert [step for step, _ in expected(run)] == VALIDATED


def test_an_mlflow_run_without_its_settings_has_failed(mlflow, train, monkeypatch):
    monkeypatch.setattr(sys.modules["mlflow"], "log_params", lambda _: 1 / 0)
    with pytest.raises(DpedkitError, match="MLflow cannot begin"):
        train("mlflow")
    assert mlflow.ended == ["FAILED"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_package_is_told_before_anything_is_done(name, train, tmp_path, monkeypatch):
    monkeypatch.setattr("dpedkit.training.trackers.is_installed", lambda name: False)
    with pytest.raises(DpedkitError, match=rf"pip install 'dpedkit\[{name}\]'"):
        train(name)
    assert not (tmp_path / "runs").exists()


def test_auto_without_tensorboard_writes_the_log_alone(train, monkeypatch):
    monkeypatch.setattr("dpedkit.training.trackers.is_installed", lambda name: False)
    run = train("auto")
    assert len(expected(run)) == len(VALIDATED) and not (run / "tensorboard").exists()


@pytest.fixture
def broken(monkeypatch):
    """TensorBoard is there, but its packages do not fit together."""
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    monkeypatch.setattr("dpedkit.training.trackers.is_installed", lambda name: True)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)


@pytest.mark.usefixtures("broken")
def test_auto_goes_on_without_a_broken_tensorboard(train, caplog):
    run = train("auto")
    assert [step for step, _ in expected(run)] == VALIDATED
    warnings = [one.getMessage() for one in caplog.records if "TensorBoard" in one.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "TensorBoard is installed but does not work (import of tensorboard"
    )
    assert warnings[0].endswith("so the numbers of this run go to its log alone.")


@pytest.mark.usefixtures("broken")
def test_a_broken_tensorboard_that_was_asked_for_is_told_before_anything_is_done(train):
    kept = train("none")
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    with pytest.raises(DpedkitError, match="TensorBoard is installed but cannot be imported"):
        train("tensorboard", overwrite=True)
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def test_every_service_has_an_extra_that_installs_it():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for name, service in SERVICES.items():
        assert any(package.startswith(service.package) for package in extras[name])
        assert name in doctor._EXTRAS.values()


def test_tensorboard_reads_the_numbers(train):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("tensorboard")
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    found = [(one.step, one.value) for one in events.Scalars("psnr")]
    wanted = [(step, pytest.approx(values["psnr"], rel=1e-5)) for step, values in expected(run)]
    assert found == wanted


def test_tensorboard_sees_each_validation_at_once(tmp_path):
    """A thread that writes later would print a traceback if the disk is full."""
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = SERVICES["tensorboard"].begin(tmp_path, {})
    for step in (1, 2):
        tracker.log(step, {"psnr": 20.0 + step})
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [one.value for one in events.Scalars("psnr")] == [
            20.0 + n for n in range(1, step + 1)
        ]
    tracker.close(Ending.FINISHED)
