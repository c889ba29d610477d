"""How right alignment and patches are on scenes with depth: against the truth where it is known,
and by how well the parts of patch pairs fit where it is not.

    python benchmarks/depth.py --photos FOLDER          # two layers, and simulated scenes
    python benchmarks/depth.py --photos FOLDER --tune   # the seeds to tune on
    python benchmarks/depth.py --stereo FOLDER          # stereo pairs of known disparity
    python benchmarks/depth.py --pairs-of PHONE DSLR    # photo pairs: sub-blocks, and seconds
    python benchmarks/depth.py --shards SHARDS          # sub-blocks of patches that are there

Two layers: one photo is the background, an ellipse of another stands before it, displaced by the
parallax. Simulated: `dpedkit simulate` with photos as scenes and the parallax as its disparity.
Seeds are split once and for all: settings are tuned on the one half and reported on the other.
The stereo pairs are Middlebury's Aloe and Motorcycle, under the names in `depth_scenes.py`.

A map is judged over places where it claims to hold, a window by whether a tenth of its area or more
is more than 1 px off: "wrong" counts places of known truth alone, "or hidden" also those that the
DSLR photo does not show. Lengths are phone px. Neither sees what has no truth: of a stereo pair the
places without disparity, and of any pair the pixels that the edge of a thing mixes. The disparity
of Aloe is in whole px.

Sub-blocks of 32 px, 3 x 3 to a patch pair, are compared by normalised cross-correlation over shifts
of up to 4 px, with nothing of the way that patches are registered. That does not see: flat areas,
and lines without a second direction; blocks whose peak is low or ambiguous, such as repeated
texture, which are counted as unclear; faults that are smaller than a block. A shift of more than
4 px counts as 4 or as unclear. On 461 patch pairs of simulated photos that were cut at the exact
place the median was 0.04 px, the 95th percentile 0.20, none was off by more than 1 px, and 1.3% of
the sub-blocks were unclear; with the upper half of each moved by 1.5 px, 98% of those that have
texture there were found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from depth_measures import score_claims, score_windows
from depth_scenes import Photo, Scene, layered_scene, simulated_scene, stereo_scenes

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import Alignment, Clock, align_pair
from dpedkit.core.console import progress, table
from dpedkit.images import list_photos, read_photo
from dpedkit.patches import PatchConfig, Patches, match_windows
from dpedkit.report.subblocks import SubBlocks
from dpedkit.shards import open_split, pair_names
from dpedkit.shards.format import SPLITS

TUNE_SEED, REPORT_SEED = 0, 1000
SOURCES = {"layers": layered_scene, "simulated": simulated_scene}
GATHERED = 256  # patch pairs read at a time

CLAIMS = {
    "held": ("held", "{:.0%}"),
    "median": ("median", "{:.3f}"),
    "p95": ("p95", "{:.2f}"),
    "off": ("off > 1 px", "{:.1%}"),
    "hidden_claimed": ("hidden held", "{:.0%}"),
    "background": ("background", "{:.3f}"),
    "stated": ("stated", "{:.3f}"),
    "stated_ratio": ("stated / median", "{:.2f}"),
}
WINDOWS = {
    "tried": "tried",
    "kept": "kept",
    "wrong": "wrong",
    "wrong_or_hidden": "wrong or hidden",
}
LAYERS = {"one_layer": "one layer, kept", "near": "near one, kept"}
BLOCKS = {
    "patches": ("patch pairs", "{:.0f}"),
    "measured": ("sub-blocks", "{:.0f}"),
    "median": ("median", "{:.3f}"),
    "p95": ("p95", "{:.2f}"),
    "off": ("pairs off > 1 px", "{:.1%}"),
    "unclear": ("unclear", "{:.1%}"),
}
SPREAD = {"least": 0, "lower quartile": 25, "median": 50, "upper quartile": 75, "most": 100}

Row = dict[str, Any]


def cut(alignment: Alignment) -> Patches:
    """The windows of an accepted pair, matched as `dpedkit patches` does."""
    assert alignment.map is not None
    assert alignment.phone is not None
    assert alignment.dslr is not None
    surfaces = alignment.map.surfaces
    known = None if surfaces is None else surfaces.known(alignment.crop)
    return match_windows(alignment.phone, alignment.dslr, PatchConfig(), known)


def score(scene: Scene) -> Row:
    """Align the two photos of a scene, cut windows, and compare both with the truth."""
    alignment = align_pair(scene.phone, scene.dslr, AlignConfig())
    row = {"reason": alignment.reason, "model": alignment.evidence.get("model")}
    if not alignment.accepted:
        return row
    claims = score_claims(alignment, scene)
    return {**row, **claims, **score_windows(alignment, cut(alignment), scene)}


# ----------------------------------------------------------------------------- scenes of photos


def measure_scenes(options: argparse.Namespace) -> list[Row]:
    """Pairs of known truth that are made of photos, at each parallax."""
    every = []
    for source in options.sources:
        rows = []
        number = options.pairs * len(options.parallax)
        with progress(source, number, "pairs") as bar:
            for parallax in options.parallax:
                for pair in range(options.pairs):
                    rows.append(_measure_scene(source, parallax, pair, options))
                    bar.advance()
        used = sorted({name for row in rows for name in row["photos"]})
        print(f"{source}: seeds [{options.seed}, parallax x 100, 0 to {options.pairs - 1}]")
        print(f"photos: {', '.join(used)}")
        _report_scenes(rows)
        every += rows
    return every


def _measure_scene(source: str, parallax: float, pair: int, options: argparse.Namespace) -> Row:
    files = list_photos(options.photos)
    seed = [options.seed, round(parallax * 100), pair]
    chosen = np.random.default_rng([*seed, 1]).choice(len(files), 2, replace=False)
    far, near = (read_photo(files[n]) for n in chosen)
    scene = SOURCES[source](far, near, parallax, seed, options.megapixels)
    names = [files[n].name for n in chosen]
    given = {"part": source, "parallax": parallax, "seed": seed, "photos": names}
    return given | score(scene)


def _report_scenes(rows: list[Row]) -> None:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row['parallax']:g} px", []).append(row)
    groups["all"] = rows
    accepted = {title: [r for r in group if not r["reason"]] for title, group in groups.items()}
    claims = [
        (title, f"{len(good)}/{len(groups[title])}", *_claim_cells(good, np.median))
        for title, good in accepted.items()
    ]
    claims.append(("worst pair", "", *_claim_cells(accepted["all"], _worst)))
    header = ("map", "accepted", *(words for words, _ in CLAIMS.values()))
    note = "Medians over pairs, and of each column the worst pair; of the ratio it is the lowest."
    print(table(header, claims, note) + "\n")
    windows = [(title, *_window_cells(good)) for title, good in accepted.items()]
    if accepted["all"]:
        worst = max(accepted["all"], key=lambda row: (row["wrong"], row["wrong_or_hidden"]))
        windows.append(("worst pair", *_window_cells([worst])))
    print(table(("windows", *WINDOWS.values(), *LAYERS.values()), windows))
    for row in rows:
        if row["reason"]:
            print(f"refused: seed {row['seed']}, {' and '.join(row['photos'])}: {row['reason']}")
    print(flush=True)


def _worst(values: Sequence[float], column: str) -> float:
    return min(values) if column in ("held", "stated_ratio") else max(values)


def _claim_cells(rows: list[Row], reduced: Callable[..., Any]) -> list[str]:
    cells = []
    for column, (_, form) in CLAIMS.items():
        values = [row[column] for row in rows if row[column] is not None]
        arguments = (values, column) if reduced is _worst else (values,)
        cells.append(form.format(reduced(*arguments)) if values else "-")
    return cells


def _window_cells(rows: list[Row]) -> list[str]:
    total = {
        column: sum(row[column] for row in rows)
        for column in (*WINDOWS, *LAYERS, *(f"{layer}_kept" for layer in LAYERS))
    }
    cells = [str(total[column]) for column in WINDOWS]
    for layer in LAYERS:
        kept, there = total[f"{layer}_kept"], total[layer]
        cells.append(f"{kept}/{there} ({kept / there:.0%})" if there else "-")
    return cells


# ---------------------------------------------------------------------------------- stereo pairs


def measure_stereo(options: argparse.Namespace) -> list[Row]:
    """Stereo pairs whose disparity was measured."""
    shown, rows, cells = ("held", "median", "p95", "off", "stated"), [], []
    for name, scene in stereo_scenes(options.stereo):
        height, width = scene.phone.shape[:2]
        row = {"part": "stereo", "name": name, "width": width, **score(scene)}
        # Places without a disparity are not always hidden, and one label is not one surface.
        columns = ("part", "name", "width", "reason", "model", *shown, "tried", "kept", "wrong")
        rows.append({column: row[column] for column in columns if column in row})
        title = f"{name}, {width} x {height} px"
        if row["reason"]:
            print(f"refused: {title}: {row['reason']}")
            continue
        claims = ["-" if row[c] is None else CLAIMS[c][1].format(row[c]) for c in shown]
        cells.append((title, row["model"], *claims, row["tried"], row["kept"], row["wrong"]))
    header = ("stereo pair", "model", *(CLAIMS[column][0] for column in shown))
    print(table((*header, "tried", "kept", "wrong"), cells) + "\n", flush=True)
    return rows


# --------------------------------------------------------------------- patch pairs without a truth


def measure_pairs(options: argparse.Namespace) -> list[Row]:
    """Photo pairs of the same names: sub-blocks of their patches, and seconds by stage."""
    phones, dslrs = ({p.stem: p for p in list_photos(folder)} for folder in options.pairs_of)
    names = sorted(phones.keys() & dslrs.keys())
    rows, blocks = [], {}
    with progress("pairs", len(names), "pairs") as bar:
        for name in names:
            phone, dslr = read_photo(phones[name]), read_photo(dslrs[name])
            row, found = _measure_pair(_narrowed(phone, options.width), dslr)
            rows.append({"part": "pairs", "name": name, **row})
            if found is not None:
                blocks[name] = found
            bar.advance()
    _report_pairs(rows)
    _report_blocks(blocks)
    return rows


def _measure_pair(phone: Photo, dslr: Photo) -> tuple[Row, SubBlocks | None]:
    alignment = align_pair(phone, dslr, AlignConfig())
    row = {"reason": alignment.reason, "model": alignment.evidence.get("model")}
    if not alignment.accepted:
        return {**row, "seconds": alignment.seconds}, None
    clock = Clock()
    with clock.measuring("patches"):
        patches = cut(alignment)
    blocks = SubBlocks.of(patches.phone, patches.dslr)
    row |= {"stated": alignment.evidence.get("error"), "seconds": alignment.seconds | clock.seconds}
    return {**row, "tried": patches.tried, "kept": len(patches), "blocks": blocks.row()}, blocks


def _narrowed(photo: Photo, width: int) -> Photo:
    """A photo reduced to a width by area averaging; 0 leaves it as it is."""
    if not 0 < width < photo.shape[1]:
        return photo
    size = (width, round(photo.shape[0] * width / photo.shape[1]))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


def _report_pairs(rows: list[Row]) -> None:
    for row in rows:
        if row["reason"]:
            print(f"refused: {row['name']}: {row['reason']}")
    good = [row for row in rows if not row["reason"]]
    models = [row["model"] for row in good]
    counts = ", ".join(f"{models.count(model)} {model}" for model in sorted(set(models)))
    kept, tried = (sum(row[column] for row in good) for column in ("kept", "tried"))
    print(f"{len(good)} of {len(rows)} pairs accepted ({counts}); {kept} of {tried} windows kept")
    stages: dict[str, float] = {}
    for row in rows:
        for stage, seconds in row["seconds"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds / len(rows)
    each = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in stages.items())
    print(f"seconds a pair: {each}; together {sum(stages.values()):.3f}\n")


def measure_shards(options: argparse.Namespace) -> list[Row]:
    """The sub-blocks of all patch pairs of a shards folder."""
    names = pair_names(options.shards)
    parts: dict[str, list[SubBlocks]] = {}
    for split in SPLITS:
        reader = open_split(options.shards, split)
        for number in np.unique(reader.pair):
            own = np.flatnonzero(reader.pair == number)
            for start in range(0, len(own), GATHERED):
                found = SubBlocks.of(*reader.gather(own[start : start + GATHERED]))
                parts.setdefault(names[number], []).append(found)
    blocks = {name: SubBlocks.joined(part) for name, part in sorted(parts.items())}
    _report_blocks(blocks)
    return [{"part": "shards", "name": name, **found.row()} for name, found in blocks.items()]


def _report_blocks(blocks: dict[str, SubBlocks]) -> None:
    """A row for each scene, for their spread, and for all patch pairs together."""
    if not blocks:
        return
    rows: dict[str, Row] = {name: found.row() for name, found in blocks.items()}
    values = {c: [row[c] for row in rows.values() if row[c] is not None] for c in BLOCKS}
    for words, percent in SPREAD.items():
        spread = {c: np.percentile(v, percent) if v else None for c, v in values.items()}
        rows[f"scenes: {words}"] = spread
    rows["all patch pairs"] = SubBlocks.joined(list(blocks.values())).row()
    cells = [
        (name, *("-" if row[c] is None else form.format(row[c]) for c, (_, form) in BLOCKS.items()))
        for name, row in rows.items()
    ]
    print(table(("scene", *(words for words, _ in BLOCKS.values())), cells) + "\n", flush=True)


def main() -> None:
    """Measure what is asked for, and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photos to make scenes of")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--pairs", type=int, default=8, help="pairs of each source and parallax")
    parser.add_argument("--parallax", default="2,4,8,16,40", help="phone px, with commas between")
    parser.add_argument("--megapixels", type=float, default=2.0, help="of their phone photos")
    parser.add_argument("--tune", action="store_true", help="the seeds to tune on")
    parser.add_argument("--seed", type=int, help="another seed")
    parser.add_argument("--stereo", type=Path, help="folder of stereo pairs")
    parser.add_argument("--pairs-of", type=Path, nargs=2, metavar=("PHONE", "DSLR"))
    parser.add_argument("--width", type=int, default=1024, help="to reduce PHONE to; 0: as it is")
    parser.add_argument("--shards", type=Path, help="folder of patch pairs")
    parser.add_argument("--json", type=Path, help="write all rows there")
    options = parser.parse_args()
    options.parallax = [float(px) for px in options.parallax.split(",")]
    if options.seed is None:
        options.seed = TUNE_SEED if options.tune else REPORT_SEED
    parts = (
        (options.photos, measure_scenes),
        (options.stereo, measure_stereo),
        (options.pairs_of, measure_pairs),
        (options.shards, measure_shards),
    )
    if not any(asked for asked, _ in parts):
        parser.error("give --photos, --stereo, --pairs-of or --shards")
    cv2.setNumThreads(1)
    rows = [row for asked, measure in parts if asked for row in measure(options)]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
