"""How well training does on a folder of patch pairs, by cross-validation.

    python benchmarks/five_folds.py PHONE_FOLDER DSLR_FOLDER --recipe NAME|FILE [--init MODEL]

The two folders hold patches of the same names, as those of DPED's test set do. Pair k, in the order
of the names, is in fold k modulo 5. For each fold a network is trained on the other four, by the
[train] table of a recipe, and measured on the fold as `dpedkit evaluate` does it, one image at a
time. No patch of the fold decides anything in that: there is no val split, so the network after the
last step counts. Beside it stand the untouched phone patches, a colour polynomial fitted to the
other four folds, and with --init the network that training started from.

A stopped benchmark goes on where it was, with the same command: what is done lies in --output.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dpedkit import stages
from dpedkit.core import console
from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.methods import NETWORK, PHONE, POLYNOMIAL
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.import_patches.config import ImportPatchesConfig
from dpedkit.import_patches.layout import PatchFiles, find_patches
from dpedkit.models.files import find_model, load_model, model_hash
from dpedkit.recipe import read_settings
from dpedkit.shards.dped import DSLR_FOLDER
from dpedkit.training.config import TrainConfig

START = "network at the start"
_TEST = EvaluateConfig(split="test", device="cpu")


@dataclass(frozen=True)
class Score:
    """Mean PSNR (dB) and MS-SSIM of some images, and over how many of them each mean is."""

    psnr: float
    psnr_images: int  # those equal to the DSLR's have none
    ms_ssim: float
    images: int

    @classmethod
    def over_all(cls, scores: list[Score]) -> Score:
        """The means over the images of all folds."""
        psnr_images = sum(score.psnr_images for score in scores)
        images = sum(score.images for score in scores)
        return cls(
            sum(score.psnr * score.psnr_images for score in scores) / psnr_images,
            psnr_images,
            sum(score.ms_ssim * score.images for score in scores) / images,
            images,
        )

    def __str__(self) -> str:
        return f"{self.psnr:.2f} {self.ms_ssim:.4f}"


@dataclass(frozen=True)
class FoldResult:
    """The scores of each method on one fold, and the processor seconds that training took."""

    scores: dict[str, Score]
    seconds: float


class CrossValidation:
    """All folds of a folder of patch pairs, done one by one in a folder of their own.

    Parameters
    ----------
    patches : PatchFiles
    config : TrainConfig
        With `init` as the absolute path of the network to start from, or None.
    folds : int
    output : Path
        What is done already is found there again.
    """

    def __init__(self, patches: PatchFiles, config: TrainConfig, folds: int, output: Path) -> None:
        self.patches, self.config, self.folds, self.output = patches, config, folds, output
        self.setting = {
            "phone": str(patches.phone),
            "dslr": str(patches.dslr),
            "folds": folds,
            "train": config.fingerprint(),
            "init": model_hash(find_model(Path(config.init))) if config.init else None,
        }

    def run(self, fold: int) -> FoldResult:
        """Train for a fold and measure on it, unless that was done before.

        Raises
        ------
        DpedkitError
            If the folder has folds of other patches or settings.
        """
        result_file = self.output / f"fold-{fold}.json"
        if not result_file.is_file():
            self._do(fold, result_file)
        content = json.loads(result_file.read_text(encoding="utf-8"))
        if content["setting"] != self.setting:
            raise DpedkitError(
                f"{result_file} is of other patches, settings or weights; give another --output."
            )
        scores = {name: Score(**values) for name, values in content["scores"].items()}
        return FoldResult(scores, content["seconds"])

    def _do(self, fold: int, result_file: Path) -> None:
        folder, runs, name = self.output / f"fold-{fold}", self.output / "runs", f"fold-{fold}"
        shards = folder / "shards"
        stages.import_patches(self._split(fold), None, shards, ImportPatchesConfig(), jobs=1)
        with _stopwatch(folder / "seconds.json") as clock:
            stages.train(shards, self.config, name=name, runs=runs, resume=True)
        measured = {NETWORK: runs / name}
        if self.config.init:
            measured[START] = Path(self.config.init)
        scores: dict[str, Any] = {}
        for method, model in measured.items():
            (split,) = stages.evaluate(model, shards, _TEST).splits
            for told in {PHONE, POLYNOMIAL, NETWORK} & split.scores.keys():
                found = split.scores[told]
                differing = split.patches - found.identical
                score = Score(found.psnr or 0.0, differing, found.ms_ssim, split.patches)
                scores[method if told == NETWORK else told] = vars(score)
        content = {"setting": self.setting, "seconds": sum(clock), "scores": scores}
        write_json(result_file, content)

    def _split(self, fold: int) -> Path:
        """Links to the patches in the folders of DPED, the fold's for testing."""
        home = self.output / f"fold-{fold}" / "phone"
        for number in range(len(self.patches)):
            of_fold = number % self.folds == fold
            place = home / ("test_data/patches" if of_fold else "training_data")
            for side, path in zip(("phone", DSLR_FOLDER), self.patches.paths(number), strict=True):
                link = place / side / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(path.absolute())
        return home


@contextmanager
def _stopwatch(file: Path) -> Iterator[list[float]]:
    """The processor seconds of each go at something that may be stopped, the earlier from `file`.

    On a machine with other work they say more than those of a clock. A go that is killed at once
    is not counted.
    """
    goes: list[float] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    start = time.process_time()
    try:
        yield goes
    finally:
        goes.append(time.process_time() - start)
        write_json(file, goes)


def table(results: dict[str, FoldResult]) -> str:
    """A row for each fold and one for the images of all of them."""
    together = list(results.values())
    methods = [name for name in (PHONE, POLYNOMIAL, START) if name in together[0].scores]
    before = methods[-1]
    overall = {
        name: Score.over_all([result.scores[name] for result in together])
        for name in (*methods, NETWORK)
    }
    total = FoldResult(overall, sum(result.seconds for result in together))
    rows = []
    for title, result in {**results, "all": total}.items():
        scores, ours = result.scores, result.scores[NETWORK]
        rows.append(
            (
                title,
                str(ours.images),
                *(str(scores[name]) for name in methods),
                str(ours),
                f"{ours.psnr - scores[before].psnr:+.2f} "
                f"{ours.ms_ssim - scores[before].ms_ssim:+.4f}",
                f"{result.seconds / 60:.1f}",
            )
        )
    note = (
        "PSNR in dB and MS-SSIM, of each image by itself, then the mean. The polynomial and the "
        "network have\nseen none of the fold's images. "
        f"gain: of the network over the {before}. minutes: processor\ntime of training."
    )
    return console.table(("fold", "images", *methods, NETWORK, "gain", "minutes"), rows, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("phone", type=Path)
    parser.add_argument("dslr", type=Path)
    parser.add_argument("--recipe", required=True, help="its [train] table is what is measured")
    parser.add_argument("--init", type=Path, help="start from this model, of whatever generator")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, help="do this fold alone: to choose settings by")
    parser.add_argument("--output", type=Path, default=Path("five-folds"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (patches,) = find_patches(arguments.phone, arguments.dslr, "test").values()
    config = TrainConfig(**read_settings(arguments.recipe, "train", TrainConfig))
    if arguments.init is not None:
        init = arguments.init.absolute()
        start = load_model(init)
        norm = start.options.get("norm", config.norm)
        config = replace(config, init=str(init), generator=start.architecture, norm=norm)
    if arguments.seed is not None:
        config = replace(config, seed=arguments.seed)
    validation = CrossValidation(patches, config, arguments.folds, arguments.output)
    folds = range(arguments.folds) if arguments.only is None else [arguments.only]
    results = {str(fold): validation.run(fold) for fold in folds}
    print(table(results))


if __name__ == "__main__":
    main()
