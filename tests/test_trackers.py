"""The numbers of a run in TensorBoard, Weights & Biases and MLflow."""

import importlib.util
import sys
import types

import pytest
from fake_shards import make_patches, write_shards

from dpedkit import stages
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_jsonl
from dpedkit.training.config import TrainConfig

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
        self.begun, self.logged, self.settings, self.ended = [], [], {}, 0
        self.fails_at = None

    def log(self, values, step):
        if step == self.fails_at:
            raise ConnectionError("no route to host\nmore")
        self.logged.append((step, values))

    def end(self):
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch):
    service = Service()
    module = types.ModuleType("wandb")
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)

    def init(*, project, name, dir, config, id, resume):
        service.begun.append({"project": project, "name": name, "id": id, "resume": resume})
        service.settings = config
        return types.SimpleNamespace(log=service.log, finish=service.end, id=id or "abc123")

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
    assert wandb.settings["generator"] == "colour-residual" and wandb.ended == 1
    train("wandb", steps=3, resume=True, extend=True)
    assert wandb.begun[1]["id"] == "abc123"
    assert wandb.logged == expected(run)


def test_mlflow_gets_every_number_and_goes_on_where_it_was(mlflow, train):
    run = train("mlflow")
    assert mlflow.logged == expected(run) and mlflow.ended == 1
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
    assert caplog.text.count("wandb failed (no route to host)") == 1


def test_a_service_that_refuses_to_begin_is_named(mlflow, train, monkeypatch):
    monkeypatch.setattr(sys.modules["mlflow"], "start_run", lambda **_: 1 / 0)
    with pytest.raises(DpedkitError, match=r"--log-to mlflow: it cannot begin.*--log-to none"):
        train("mlflow")


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_told_before_anything_is_done(name, train, tmp_path, monkeypatch):
    monkeypatch.setattr("dpedkit.training.trackers.is_installed", lambda name: False)
    with pytest.raises(DpedkitError, match=rf"pip install 'dpedkit\[{name}\]'"):
        train(name)
    assert not (tmp_path / "runs").exists()


def test_auto_without_tensorboard_writes_the_log_alone(train, monkeypatch):
    monkeypatch.setattr("dpedkit.training.trackers.is_installed", lambda name: False)
    run = train("auto")
    assert len(expected(run)) == len(VALIDATED) and not (run / "tensorboard").exists()


def test_tensorboard_reads_the_numbers(train):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("tensorboard")
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    found = [(one.step, one.value) for one in events.Scalars("psnr")]
    wanted = [(step, pytest.approx(values["psnr"], rel=1e-5)) for step, values in expected(run)]
    assert found == wanted
