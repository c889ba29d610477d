"""Splits that people state: of all pairs, of each pair, and of pairs that belong together."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from test_patches import CONFIG, SIZE, make_aligned

from dpedkit.core.errors import DpedkitError, OutputExistsError, UsageError
from dpedkit.core.manifest import read_jsonl
from dpedkit.patches import PatchConfig, cut_patches
from dpedkit.patches.splitting import Splitting
from dpedkit.shards import MergeConfig, merge_shards, split_counts
from dpedkit.shards.card import write_card

NAMES = [f"{number:04d}" for number in range(4)]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_aligned(tmp_path_factory.mktemp("data") / "aligned", len(NAMES))


def write(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def splits_of(shards: Path) -> dict[str, str]:
    return {pair["name"]: pair["split"] for pair in read_jsonl(shards / "pairs.jsonl")}


def test_a_file_gives_each_pair_its_split(aligned: Path, tmp_path: Path) -> None:
    stated = dict(zip(NAMES, ("test", "train", "val", "test"), strict=True))
    lines = "".join(f"{name},{split}\n" for name, split in stated.items())
    # A header, and a pair that another folder has.
    file = write(tmp_path / "splits.csv", f"name,split\n{lines}9999,train\n")
    shards = tmp_path / "shards"
    cut_patches(aligned, shards, replace(CONFIG, split_file=file), jobs=1)
    assert splits_of(shards) == stated
    text = (shards / "index.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["patch_config"]["split_file"] == "splits.csv"
    card = write_card(shards).read_text()
    assert "was stated in a list (splits.csv)" in card and "hash of its name" not in card
    merged = merge_shards([shards], tmp_path / "merged", MergeConfig()) and tmp_path / "merged"
    assert "was stated in a list (splits.csv)" in write_card(merged).read_text()


def test_another_list_is_refused_and_the_same_one_elsewhere_is_not(
    aligned: Path, tmp_path: Path
) -> None:
    lines = "".join(f"{name},test\n" for name in NAMES)
    config = replace(CONFIG, split_file=write(tmp_path / "splits.csv", lines))
    cut_patches(aligned, tmp_path / "shards", config, jobs=1)
    moved = replace(CONFIG, split_file=write(tmp_path / "same.csv", f"# all\n{lines}"))
    assert cut_patches(aligned, tmp_path / "shards", moved, jobs=1).resumed_complete
    write(tmp_path / "splits.csv", lines.replace("0001,test", "0001,train"))
    with pytest.raises(OutputExistsError, match=r"other settings \(split file: was \w+, now \w+\)"):
        cut_patches(aligned, tmp_path / "shards", config, jobs=1)
    with pytest.raises(OutputExistsError, match=r"split file: was \w+, now None"):
        cut_patches(aligned, tmp_path / "shards", CONFIG, jobs=1)
    cut_patches(aligned, tmp_path / "shards", config, jobs=1, overwrite=True)
    assert splits_of(tmp_path / "shards")["0001"] == "train"


def test_a_folder_can_be_all_test(aligned: Path, tmp_path: Path) -> None:
    cut_patches(aligned, tmp_path / "s", PatchConfig(size=SIZE, split="test"), jobs=1)
    counts = split_counts(tmp_path / "s")
    assert counts["test"] > 0 == counts["train"] == counts["val"]
    assert "All photo pairs are in the test split." in write_card(tmp_path / "s").read_text()
    with pytest.raises(UsageError, match="--split test"):
        cut_patches(aligned, tmp_path / "t", PatchConfig(size=SIZE, test_pairs=4), jobs=1)


def test_pairs_of_a_group_are_never_divided(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(90)]
    group_of = {name: f"scene {number // 3}" for number, name in enumerate(names[:60])}
    lines = "".join(f"{name};{group}\n" for name, group in group_of.items())
    file = write(tmp_path / "groups.csv", f"name;group\n{lines}")
    config = PatchConfig(group_file=file, test_pairs=8, val_pairs=5, seed=1)
    assigned = Splitting.of(config, names).assign(names)
    together = defaultdict(set)
    for name, split in assigned.items():
        together[group_of.get(name, name)].add(split)
    assert all(len(splits) == 1 for splits in together.values())
    # 50 groups: 20 scenes of three pairs, and 30 pairs by themselves.
    per_split = [next(iter(splits)) for splits in together.values()]
    assert (per_split.count("test"), per_split.count("val"), per_split.count("train")) == (8, 5, 37)
    assert set(assigned) == set(names)
    alone = Splitting.of(replace(config, group_file=None), names).assign(names)
    divided = defaultdict(set)
    for name, split in alone.items():
        divided[group_of.get(name, name)].add(split)
    assert max(map(len, divided.values())) > 1  # which is what the groups are for


def test_the_groups_of_shards_are_in_their_card(aligned: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "groups.csv", "0000,a\n0001,a\n0002,a\n")
    config = replace(CONFIG, group_file=file, test_pairs=1, val_pairs=0)
    cut_patches(aligned, tmp_path / "s", config, jobs=1)
    splits = splits_of(tmp_path / "s")
    assert len({splits[name] for name in NAMES[:3]}) == 1 != len(set(splits.values()) - {None})
    assert "belong together (groups.csv)" in write_card(tmp_path / "s").read_text()
    write(tmp_path / "groups.csv", "0000,a\n0001,b\n0002,a\n")
    with pytest.raises(OutputExistsError, match="group file: was"):
        cut_patches(aligned, tmp_path / "s", config, jobs=1)
    with pytest.raises(UsageError, match="reserve 2 of 2 groups"):
        write(tmp_path / "groups.csv", "0000,a\n0001,a\n0002,a\n")
        Splitting.of(replace(config, val_pairs=1), NAMES)


@pytest.mark.parametrize(
    ("splits", "groups", "words"),
    [
        ("0000,test\n", None, "does not name 3 photo pairs (0001, 0002, 0003): give each pair"),
        ("0000,trian\n", None, "line 1: 'trian' is not a split; write train, val or test."),
        ("0000\n", None, "line 1: '' is not a split"),
        ("0000,test\n0000,val\n", None, "line 2: 0000 has the split 'val' here, but 'test'"),
        (None, "0000\n", "line 1: '' is not the name of a group"),
        (None, "0000,a\n0000,b\n", "line 2: 0000 has the group 'b' here, but 'a'"),
        (
            "0000,test\n0001,val\n0002,val\n0003,val\n",
            "0002,a\n0000,a\n",
            "puts 0002 into val and 0000 into test, but by ",
        ),
    ],
)
def test_faulty_lists_are_named_before_any_work(
    aligned: Path, tmp_path: Path, splits: str | None, groups: str | None, words: str
) -> None:
    files = {
        name: write(tmp_path / f"{name}.csv", text)
        for name, text in (("split_file", splits), ("group_file", groups))
        if text is not None
    }
    with pytest.raises(DpedkitError, match=r"_file\.csv") as caught:
        cut_patches(aligned, tmp_path / "shards", replace(CONFIG, **files), jobs=1)
    assert words in str(caught.value)
    assert not (tmp_path / "shards").exists()


def test_misspelt_pairs_of_groups_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "groups.csv", "0000,a\n00001,a\n")
    Splitting.of(PatchConfig(group_file=file), NAMES)
    assert "names pairs that do not exist: 00001." in caplog.text


@pytest.mark.parametrize(
    "settings",
    [{"split": "test", "split_file": "x"}, {"split": "val", "test_pairs": 1},
     {"split_file": "x", "val_pairs": 0}],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be used together"):
        PatchConfig(**settings)  # type: ignore[arg-type]
