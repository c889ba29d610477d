"""How well training does on unseen scenes, by cross-validation over the scenes of a shards folder.

    python benchmarks/cross_validation.py SHARDS --recipe NAME|FILE [--seeds 0 1] [--set KEY=VALUE]

The scenes of the train and val splits are divided into four folds. The patches of the test split
are never read, so settings may be chosen by what is printed here without having seen them. For each
fold and seed a network is trained on the other folds, by the [train] table of a recipe, and
measured on the fold as `dpedkit evaluate` does it, each patch by itself. No patch of the fold
decides anything in that: the network after the last step counts. Beside it stands the colour
polynomial fitted to the other folds. --set changes settings, each as it would stand in the recipe:
--set steps=300 'generator="srcnn"'.

A stopped benchmark goes on where it was, with the same command: what is done lies in --output.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from synthetic_shards import Origins, Patches, write_shards

from dpedkit import stages
from dpedkit.core import console
from dpedkit.core.atomic import write_json
from dpedkit.core.methods import NETWORK, POLYNOMIAL
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.recipe import read_settings
from dpedkit.shards.index import INDEX_FILE, read_pairs
from dpedkit.shards.reader import open_split
from dpedkit.training.config import TrainConfig

_TEST = EvaluateConfig(split="test", device="cpu")
_NOTE = (
    "PSNR in dB and MS-SSIM of each patch by itself, the mean of a fold's patches, then the mean "
    "over the\nfolds; gain: over the colour polynomial of the same folds. +-: standard deviation "
    "over the folds of\nthat mean over the seeds."
)


@dataclass(frozen=True)
class Scenes:
    """Patch pairs, where they are from, and the lines of `pairs.jsonl`."""

    patches: Patches
    origins: Origins
    lines: list[dict[str, Any]]

    @classmethod
    def for_training(cls, shards: Path) -> Scenes:
        """Those of the train and val splits."""
        readers = [open_split(shards, split) for split in ("train", "val")]
        parts = [reader.gather(range(len(reader))) for reader in readers]
        phone, dslr = (np.concatenate(side) for side in zip(*parts, strict=True))
        thumbnails = {
            pair: thumbnail
            for reader in readers
            if reader.has_thumbnails
            for pair in np.unique(reader.pair).tolist()
            for thumbnail in reader.thumbnails([pair])
        }
        pair, xy = (
            np.concatenate([reader.column(name) for reader in readers]) for name in ("pair", "xy")
        )
        return cls((phone, dslr), Origins(pair, xy, thumbnails), read_pairs(shards))

    def write_fold(self, folder: Path, fold: int, folds: int) -> None:
        """Scene k of those that there are, in order of their numbers, is in fold k mod `folds`."""
        _, rank = np.unique(self.origins.pair, return_inverse=True)
        tested = rank % folds == fold
        phone, dslr = self.patches
        patches, origins, lines = {}, {}, list(self.lines)
        for split, chosen in (("train", ~tested), ("test", tested)):
            pair = self.origins.pair[chosen]
            own = set(pair.tolist())
            patches[split] = phone[chosen], dslr[chosen]
            thumbnails = {k: one for k, one in self.origins.thumbnails.items() if k in own}
            origins[split] = Origins(pair, self.origins.xy[chosen], thumbnails)
            for number in own:
                lines[number] = {**lines[number], "split": split}
        write_shards(folder, patches, origins, lines)

    def digest(self) -> str:
        """Of what the folds are made from."""
        thumbnails = [one.pixels for _, one in sorted(self.origins.thumbnails.items())]
        content = (*self.patches, self.origins.pair, self.origins.xy, *thumbnails)
        return hashlib.sha256(b"".join(part.tobytes() for part in content)).hexdigest()


@dataclass(frozen=True)
class FoldScores:
    """Mean PSNR (dB) and MS-SSIM of a fold's patches, for the network and for the polynomial."""

    psnr: float
    ms_ssim: float
    polynomial_psnr: float
    polynomial_ms_ssim: float


def run_fold(
    scenes: Scenes, config: TrainConfig, fold: int, folds: int, output: Path
) -> FoldScores:
    """Train for a fold and measure on it, unless that was done before."""
    data = output / f"{scenes.digest()[:12]}-fold-{fold}-of-{folds}"
    name = f"{config.fingerprint()}-{data.name}"
    result_file = output / f"{name}.json"
    if not result_file.is_file():
        if not (data / INDEX_FILE).is_file():
            shutil.rmtree(data, ignore_errors=True)  # what a stopped benchmark left half written
            scenes.write_fold(data, fold, folds)
        stages.train(data, config, name=name, runs=output / "runs", resume=True)
        (split,) = stages.evaluate(output / "runs" / name, data, _TEST).splits
        network, polynomial = split.scores[NETWORK], split.scores[POLYNOMIAL]
        write_json(
            result_file,
            {
                "psnr": network.psnr,
                "ms_ssim": network.ms_ssim,
                "polynomial_psnr": polynomial.psnr,
                "polynomial_ms_ssim": polynomial.ms_ssim,
            },
        )
    return FoldScores(**json.loads(result_file.read_text(encoding="utf-8")))


def table(results: dict[int, dict[int, FoldScores]]) -> str:
    """A row for each fold, of the mean over its seeds, and one for the mean over the folds.

    Parameters
    ----------
    results : dict
        Scores by fold, then by seed.
    """
    columns = []
    for scores in results.values():
        runs = [vars(score) for score in scores.values()]
        columns.append({key: mean(run[key] for run in runs) for key in runs[0]})
    header = ("fold", "polynomial", "", "network", "", "gain", "", "spread of seeds")
    rows = [
        (str(fold), *_cells(column), _spread([score.psnr for score in scores.values()]))
        for (fold, scores), column in zip(results.items(), columns, strict=True)
    ]
    overall = {key: mean(column[key] for column in columns) for key in columns[0]}
    seeds = {seed for scores in results.values() for seed in scores}
    by_seed = [mean(scores[seed].psnr for scores in results.values()) for seed in sorted(seeds)]
    rows.append(("all", *_cells(overall), _spread(by_seed)))
    gains = [
        (
            column["psnr"] - column["polynomial_psnr"],
            column["ms_ssim"] - column["polynomial_ms_ssim"],
        )
        for column in columns
    ]
    if len(gains) > 1:
        psnr, ms_ssim = (stdev(values) for values in zip(*gains, strict=True))
        rows.append(("+-", "", "", "", "", f"{psnr:.2f}", f"{ms_ssim:.4f}", ""))
    return console.table(header, rows, _NOTE)


def _cells(scores: dict[str, float]) -> tuple[str, ...]:
    psnr, ms_ssim = scores["psnr"], scores["ms_ssim"]
    before = scores["polynomial_psnr"], scores["polynomial_ms_ssim"]
    return (
        *(f"{before[0]:.2f}", f"{before[1]:.4f}", f"{psnr:.2f}", f"{ms_ssim:.4f}"),
        *(f"{psnr - before[0]:+.2f}", f"{ms_ssim - before[1]:+.4f}"),
    )


def _spread(values: list[float]) -> str:
    return f"{stdev(values):.2f} dB" if len(values) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--recipe", required=True, help="its [train] table is what is measured")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings beside the recipe's"
    )
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", type=int, nargs="+", help="do these folds alone")
    parser.add_argument("--output", type=Path, default=Path("cross-validation"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scenes = Scenes.for_training(arguments.shards)
    settings = read_settings(arguments.recipe, "train", TrainConfig)
    settings |= tomllib.loads("\n".join(arguments.set))
    folds = range(arguments.folds) if arguments.only is None else arguments.only
    results = {}
    for fold in folds:
        results[fold] = {
            seed: run_fold(
                scenes,
                TrainConfig.from_mapping({**settings, "seed": seed}, "--set"),
                fold,
                arguments.folds,
                arguments.output,
            )
            for seed in arguments.seeds
        }
    print(table(results))


if __name__ == "__main__":
    main()
