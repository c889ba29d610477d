"""Measures a network on the splits of a shards folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.colourmap import ColourMap, fit_colour_map, fit_colour_map_to
from dpedkit.core import console
from dpedkit.core.device import beside, choose_device, full_float32
from dpedkit.core.errors import DpedkitError
from dpedkit.core.methods import DSLR, NETWORK, ORACLE, PHONE, POLYNOMIAL, SHOWN
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.evaluation import Evaluation, SplitScores
from dpedkit.evaluation.limitations import LimitationSheet
from dpedkit.evaluation.scenes import PatchScores, extremes, group_by_scene
from dpedkit.evaluation.scores import ScoreSheet, through_float16
from dpedkit.metrics import AUTHORS_BATCH, MIN_SIDE
from dpedkit.models.files import COLOUR_POLYNOMIAL, find_model, load_model
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import guides_for, warn_without_thumbnails
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import fingerprint
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.shards.sampling import spread_indices
from dpedkit.shards.scenes import scene_names

Images = NDArray[np.floating[Any]]  # (N, S, S, 3) in [0, 1]
Pairs = NDArray[np.int32]  # (N,) the photo pair that each image is from
Numbers = NDArray[np.int64]  # (N,) of patch pairs in their split
Methods = dict[str, Callable[[Images, Numbers], Tensor]]
Pictures = dict[str, NDArray[np.uint8]]  # "worst" and "best": (rows, columns, S, S, 3)

_PATCHES_AT_ONCE = 10  # through the network: on CPUs as fast as any number, in little memory


@full_float32
def evaluate(
    model: str | Path, shards: str | Path, config: EvaluateConfig | None = None
) -> Evaluation:
    """Measure a network, the untouched phone patches and two colour polynomials.

    Parameters
    ----------
    model : str or Path
        A model file, the folder of a run, or the prefix of an authors' checkpoint.
    shards : str or Path
        From `dpedkit patches`. One polynomial is that of the patches that the network was trained
        on, which a run keeps in its model files; the oracle's is fitted to each scene that it is
        measured on.
    config : EvaluateConfig, optional

    Raises
    ------
    DpedkitError
        If the model or the shards cannot be read, or there is nothing to measure.
    """
    config = config or EvaluateConfig()
    model, shards = find_model(model), Path(shards)
    device = choose_device(config.device)
    generator = load_model(model).to(device)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained_on = generator.card.get("training", {}).get("shards") or []
    trained_here = trained_on == [fingerprint(shards)]
    saw_train = fingerprint(shards) in trained_on
    kept = generator.card.get(COLOUR_POLYNOMIAL)
    used = list(SPLITS) if config.split == "all" else [config.split]
    if kept is None and trained_here:
        used.append("train")  # the polynomial comes from it
    check_shards(shards, dict.fromkeys(used), verify=config.verify)
    readers = {split: open_split(shards, split) for split in SPLITS}
    chosen = _choose_patches(shards, readers, config)
    for split in chosen:
        warn_without_thumbnails(generator, readers[split])
    colour_map = None
    if kept is not None:
        colour_map = ColourMap.from_dict(kept)
    elif trained_here and len(readers["train"]):
        colour_map = fit_colour_map_to(readers["train"])
    else:
        console.warn(
            f"{model} holds no colour polynomial, and it is not known that the network was trained "
            f"on the train split of {shards}, so there is none to compare with."
        )
    with console.progress("evaluate", sum(map(len, chosen.values())), "patches") as bar:
        found = [
            _measure(split, readers[split], indices, generator, colour_map, device, bar)
            for split, indices in chosen.items()
        ]
    splits = [scores for scores, _ in found]
    pictures = {scores.split: shown for scores, shown in found}
    return Evaluation(
        model, shards, generator.architecture, splits, trained_here, saw_train, pictures
    )


def _choose_patches(
    shards: Path, readers: dict[str, SplitReader], config: EvaluateConfig
) -> dict[str, NDArray[np.int64]]:
    """Numbers of the patches to measure, for each split that has some."""
    chosen = {}
    for split, reader in readers.items():
        if len(reader) and config.split in ("all", split):
            limit = config.train_patches if split == "train" else 0
            chosen[split] = spread_indices(len(reader), limit or len(reader))
    if not chosen:
        named = "" if config.split == "all" else f"'{config.split}' "
        raise DpedkitError(f"{shards} has no {named}patches to measure.")
    if readers["train"].patch_size < MIN_SIDE:
        raise DpedkitError(f"{shards} has patches below {MIN_SIDE} px, too small for MS-SSIM.")
    return chosen


def _measure(
    split: str,
    reader: SplitReader,
    indices: NDArray[np.int64],
    generator: Generator,
    colour_map: ColourMap | None,
    device: torch.device,
    bar: console.Progress,
) -> tuple[SplitScores, Pictures]:
    methods, pairs = _methods(reader, indices, generator, colour_map, device)
    sheets = {name: ScoreSheet() for name in methods}
    limits = {name: LimitationSheet() for name in (*methods, DSLR)}
    for batch in _in_batches(indices):
        levels = reader.gather(batch)
        phone, dslr = (patches / np.float32(255) for patches in levels)
        rounded_phone, rounded_dslr = map(through_float16, levels)
        with torch.inference_mode():
            before, wanted = _tensor(phone, device), _tensor(dslr, device)
            for name, method in methods.items():
                after = method(phone, batch)
                sheets[name].add(after, wanted)
                limits[name].add(after, before, wanted)
                after = method(rounded_phone, batch)
                sheets[name].add_batch(after, _tensor(rounded_dslr, device))
            limits[DSLR].add(wanted, before, wanted)
        bar.advance(len(batch))
    values = {
        name: {**sheet.of_images(), "colour_error": limits[name].colour_errors()}
        for name, sheet in sheets.items()
    }
    names = scene_names(reader.folder)
    scene_of = [names[pair] for pair in reader.pair[indices]]
    scenes = None if None in scene_of else [str(name) for name in scene_of]
    ends = extremes(scenes, values)
    told = {end: _told(indices, scenes, values, places) for end, places in ends.items()}
    scores = SplitScores(
        split,
        len(indices),
        pairs,
        {name: sheet.result() for name, sheet in sheets.items()},
        {name: sheet.result() for name, sheet in limits.items()},
        None if scenes is None else group_by_scene(scenes, values),
        **told,
    )
    with torch.inference_mode():
        pictures = {
            end: _picture(methods, reader, indices[places])
            for end, places in ends.items()
            if len(places)
        }
    return scores, pictures


def _methods(
    reader: SplitReader,
    indices: NDArray[np.int64],
    generator: Generator,
    colour_map: ColourMap | None,
    device: torch.device,
) -> tuple[Methods, int]:
    """What is measured, the network and its rivals; and the number of photo pairs."""
    guides = guides_for(generator, reader)

    def enhance(phone: Images, numbers: Numbers) -> Tensor:
        photos = _tensor(phone, device)
        if guides is not None:
            photos = beside(photos, guides(numbers))
        return torch.cat([generator(part).float() for part in photos.split(_PATCHES_AT_ONCE)])

    methods: Methods = {
        NETWORK: enhance,
        PHONE: lambda phone, numbers: _tensor(phone, device),
    }
    if colour_map is not None:
        methods[POLYNOMIAL] = lambda phone, numbers: _tensor(colour_map.apply(phone), device)
    own_maps = _fit_to_each_pair(reader, indices)
    methods[ORACLE] = lambda phone, numbers: _tensor(
        _apply_own(own_maps, phone, reader.pair[numbers]), device
    )
    return methods, len(own_maps)


def _told(
    indices: NDArray[np.int64],
    scenes: list[str] | None,
    values: dict[str, dict[str, NDArray[np.float64]]],
    places: NDArray[np.int64],
) -> list[PatchScores]:
    """The network's scores of some patches, by their places among those that were measured."""
    return [
        PatchScores(
            int(indices[place]),
            None if scenes is None else scenes[place],
            {name: float(array[place]) for name, array in values[NETWORK].items()},
        )
        for place in places
    ]


def _picture(
    methods: Methods, reader: SplitReader, numbers: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Some patches by each method of `SHOWN` that is measured, the DSLR's own last."""
    phone, dslr = reader.gather(numbers)
    columns = [
        _levels(methods[name](phone / np.float32(255), numbers))
        for name in SHOWN
        if name in methods
    ]
    return np.stack([*columns, dslr], axis=1)


def _levels(images: Tensor) -> NDArray[np.uint8]:
    """(N, 3, H, W) in [0, 1] -> (N, H, W, 3) uint8."""
    levels = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def _fit_to_each_pair(reader: SplitReader, indices: NDArray[np.int64]) -> dict[int, ColourMap]:
    """The polynomial that each scene's own patches would have chosen, by the number of its pair."""
    pairs = reader.pair[indices]
    return {
        int(pair): fit_colour_map([reader.gather(indices[pairs == pair])])
        for pair in np.unique(pairs)
    }


def _apply_own(maps: dict[int, ColourMap], phone: Images, pairs: Pairs) -> Images:
    return np.stack([maps[int(pair)].apply(x) for x, pair in zip(phone, pairs, strict=True)])


def _tensor(images: Images, device: torch.device) -> Tensor:
    """(N, H, W, 3) in [0, 1] -> (N, 3, H, W) float32, in channels-last memory."""
    return torch.from_numpy(images).to(device, torch.float32).permute(0, 3, 1, 2)


def _in_batches(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """In index order, as many at a time as the authors' per-batch procedure has."""
    for start in range(0, len(indices), AUTHORS_BATCH):
        yield indices[start : start + AUTHORS_BATCH]
