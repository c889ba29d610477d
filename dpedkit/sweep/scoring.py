"""One run of a sweep: trained and measured, unless that was done before."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit import stages
from dpedkit.core import console
from dpedkit.core.atomic import make_folder, write_json
from dpedkit.core.errors import DpedkitError, OutputExistsError
from dpedkit.core.manifest import read_json
from dpedkit.core.methods import NETWORK, PHONE, POLYNOMIAL, START
from dpedkit.core.wording import decibel
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.driver import evaluate
from dpedkit.evaluation.evaluation import SplitScores
from dpedkit.models.files import find_model, model_hash
from dpedkit.shards.index import fingerprint
from dpedkit.sweep.grid import Variant
from dpedkit.sweep.scores import MEASURES, Measured, Score
from dpedkit.training.config import TrainConfig


@dataclass(frozen=True)
class Run:
    """One training of a sweep, and what its network is measured on."""

    variant: Variant
    config: TrainConfig
    fold: int | None
    shards: Path
    split: str

    @property
    def name(self) -> str:
        """Of its folder."""
        fold = "" if self.fold is None else f"-fold-{self.fold}"
        return f"{self.variant.file_name}-seed-{self.config.seed}{fold}"

    @property
    def result_name(self) -> str:
        """Of the file of its result: one training can be measured on the val and the test split."""
        on_test = self.fold is None and self.split == "test"
        return f"{self.name}-test.json" if on_test else f"{self.name}.json"

    def setting(self) -> dict[str, str]:
        """Hashes of all that decides the result."""
        files = {"train": self.config.fingerprint(), "shards": fingerprint(self.shards)}
        if self.config.init is not None:
            files["init"] = model_hash(find_model(self.config.init))
        return files


class Scorer:
    """Does the runs of a sweep in its folder.

    Parameters
    ----------
    output : Path
        The folder of the sweep; what is done already is found there again.
    """

    def __init__(self, output: Path) -> None:
        self._results = make_folder(output / "results")
        self._runs = output / "runs"
        self._starts: dict[tuple[str, Path], Measured] = {}

    def folder_of(self, run: Run) -> Path:
        """Where the run is trained."""
        return self._runs / run.name

    def score(self, run: Run) -> Score:
        """Train and measure, unless that was done before.

        Raises
        ------
        DpedkitError
            If the folder has a run of this name with other patches, settings or weights, or
            training fails.
        """
        file, setting = self._results / run.result_name, run.setting()
        if file.is_file():
            known = read_json(file)
            before = known.get("setting")  # earlier versions left out the network to start from
            if not isinstance(before, dict) or {**setting, **before} != setting:
                raise OutputExistsError(
                    f"{file} is of other patches, of another number of folds, or of a recipe with "
                    "other settings or another network to start from; give another folder with -o."
                )
            if (score := _read_score(file, known, run.variant.label)) is not None:
                return score
        clock = file.with_suffix(".training.json")
        with _processor_time(clock, begun=self.folder_of(run).exists()):
            stages.train(
                run.shards,
                run.config,
                name=run.name,
                runs=self._runs,
                resume=True,
                measured_after=True,
            )
        found = self._measure(run)
        score = Score(
            run.variant.label,
            run.config.seed,
            run.fold,
            patches=found.patches,
            methods={name: _measured(found, name) for name in (PHONE, POLYNOMIAL, NETWORK)}
            | self._start(run),
            shards=setting["shards"],
            init=setting.get("init"),
            cpu_seconds=read_json(clock)["cpu_seconds"],
        )
        write_json(file, {"setting": setting, "score": score.to_dict()})
        clock.unlink()
        network = score.methods[NETWORK]
        console.say(f"sweep: {run.name}: {decibel(network.psnr)} dB, {network.ms_ssim:.4f}")
        return score

    def _measure(self, run: Run) -> SplitScores:
        config = EvaluateConfig(split=run.split, device=run.config.device)
        (found,) = stages.evaluate(self.folder_of(run), run.shards, config).splits
        return found

    def _start(self, run: Run) -> dict[str, Measured]:
        """The network that training started from, if any; the same for all seeds."""
        init = run.config.init
        if init is None:
            return {}
        if (init, run.shards) not in self._starts:
            config = EvaluateConfig(split=run.split, device=run.config.device)
            # It may hold no polynomial, which does not matter here: the run's own is measured.
            with console.collected(logging.ERROR):
                (found,) = evaluate(init, run.shards, config).splits
            self._starts[init, run.shards] = _measured(found, NETWORK)
        return {START: self._starts[init, run.shards]}


def _measured(found: SplitScores, method: str) -> Measured:
    scores = found.scores[method]
    scenes = found.by_scene.scenes if found.by_scene else []
    return Measured(
        scores.psnr,
        scores.ms_ssim,
        {one.scene: {key: one.scores[method][key] for key in MEASURES} for one in scenes},
    )


def _read_score(file: Path, content: dict[str, Any], label: str) -> Score | None:
    """The score that a file holds; None if an earlier version wrote it, without baselines.

    Raises
    ------
    DpedkitError
        If the file is damaged.
    """
    found = content.get("score")
    if isinstance(found, dict) and "polynomial_psnr" in found:
        return None
    try:
        return Score.from_dict({**content["score"], "variant": label})
    except (KeyError, TypeError):
        raise DpedkitError(
            f"{file} is damaged; delete it, and the network is measured again."
        ) from None


@contextmanager
def _processor_time(file: Path, *, begun: bool) -> Iterator[None]:
    """Add the processor time of the block to that in a file, where earlier blocks are all known.

    On a machine with other work, it says more than the time of a clock. It is not known, None, if
    a block was killed, or if it was begun without the file.
    """
    known = read_json(file) if file.is_file() else {"cpu_seconds": None if begun else 0.0}
    before = None if known.get("running") else known.get("cpu_seconds")
    write_json(file, {"cpu_seconds": before, "running": True})
    start = time.process_time()
    try:
        yield
    finally:
        spent = time.process_time() - start
        total = None if before is None else before + spent
        write_json(file, {"cpu_seconds": total, "running": False})
