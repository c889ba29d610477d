"""Comparisons of runs: what belongs together, what differs, how sure that is, and the files."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import tomli_w
from fake_shards import make_patches, write_shards

from dpedkit.cli import execute
from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import write_jsonl
from dpedkit.images import write_photo
from dpedkit.models import build_generator, save_model
from dpedkit.models.files import model_hash
from dpedkit.report import compare, figures
from dpedkit.report.compared import NOT_COMPARED, Comparison
from dpedkit.report.exports import Table, latex
from dpedkit.training.config import TrainConfig

SCENES = {"a": 20.0, "b": 24.0, "c": 30.0, "d": 22.0, "e": 27.0, "f": 25.0}
PATCH = 100


def interval(values):
    return {"mean": float(np.mean(values)), "low": min(values), "high": max(values), "scenes": 6}


def evaluation(psnr_of, patches="beef", split="test"):
    """What `dpedkit evaluate` keeps of a network with this PSNR on each scene."""

    def measures(psnr):
        known = {"psnr": psnr, "ms_ssim": psnr / 40, "ssim": psnr / 50}
        return known | {"colour_error": 40 - psnr}

    untouched = dict.fromkeys(psnr_of, 16.0)
    methods = {"network": psnr_of, "untouched phone": untouched}
    scenes = [
        {
            "scene": scene,
            "images": 3,
            "scores": {name: measures(own[scene]) for name, own in methods.items()},
        }
        for scene in psnr_of
    ]
    means = {
        name: {key: interval([measures(x)[key] for x in own.values()]) for key in measures(0)}
        for name, own in methods.items()
    }
    scores = {
        name: {key: measures(np.mean(list(own.values())))[key] for key in measures(0)}
        for name, own in methods.items()
    }
    found = {"split": split, "patches": 18, "pairs": 6, "scores": scores}
    found["by_scene"] = {"scenes": scenes, "means": means, "differences": {}}
    return f"model-{patches}-{split}", {"verdict": "", "splits": [found]}


def make_run(folder, settings, gain=0.0, *, evaluations=None, sample=0):
    """A run whose network is `gain` dB better than `SCENES` says, on every scene."""
    (folder / "samples").mkdir(parents=True)
    (folder / "evaluations").mkdir()
    generator = build_generator("colour-residual", channels=4, blocks=1)
    card = {"training": {"step": 20, "psnr": 25.0, "ms_ssim": 0.9, "gain": gain}}
    save_model(folder / "model.safetensors", generator, card)
    log = [{"step": step, "psnr": 20 + gain + step / 10, "ms_ssim": 0.9} for step in (0, 10, 20)]
    write_jsonl(folder / "log.jsonl", log)
    record = {
        "tool_version": "0.1.0",
        "train": {"generator": "colour-residual", "steps": 20, "batch": 4, "seed": 0} | settings,
        "data": {"shards": "/nowhere", "fingerprint": "beef"},
        "content": {"loss": "msssim-l1"},
    }
    (folder / "config.toml").write_text(tomli_w.dumps(record))
    picture = np.full((2 * PATCH + 4, 3 * PATCH + 8, 3), 40 + sample, np.uint8)
    picture[:, PATCH + 4 : 2 * PATCH + 4] = 128 + int(10 * gain)
    write_photo(folder / "samples" / "step-000020.png", picture)
    if evaluations is None:
        evaluations = [evaluation({scene: psnr + gain for scene, psnr in SCENES.items()})]
    for name, content in evaluations:
        model = {"model_file": "model.safetensors"}
        model["model_hash"] = model_hash(folder / "model.safetensors")
        write_json(folder / "evaluations" / f"{name}.json", content | model)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two settings with two seeds each; the second is half a dB better."""
    folder = tmp_path / "runs"
    make_run(folder / "small-seed-0", {"seed": 0}, 0.0)
    make_run(folder / "small-seed-1", {"seed": 1}, 0.2)
    make_run(folder / "large-seed-0", {"batch": 8, "seed": 0}, 0.5)
    make_run(folder / "large-seed-1", {"batch": 8, "seed": 1, "device": "cuda"}, 0.7)
    return folder


def in_order(folder, *names):
    return Comparison.of([folder / name for name in names])


SMALL_FIRST = ("small-seed-0", "small-seed-1", "large-seed-0", "large-seed-1")


def test_runs_that_differ_in_their_seed_alone_are_one_entry(runs):
    found = in_order(runs, *SMALL_FIRST)
    assert [entry.name for entry in found.entries] == ["small (2 seeds)", "large (2 seeds)"]
    assert found.differing == ["batch"]
    base = np.mean(list(SCENES.values()))
    mean, deviation = found.entries[1].score(found.patches, "psnr")
    assert mean == pytest.approx(base + 0.6)
    assert deviation == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert found.entries[0].curve("psnr")[-1] == pytest.approx((20, 22.1, np.std([0, 0.2], ddof=1)))
    twice = in_order(runs, "small-seed-0", "small-seed-0", "large-seed-0")
    assert [len(entry.runs) for entry in twice.entries] == [1, 1]


def test_settings_that_do_not_change_what_is_learnt_are_not_compared():
    unimportant = {one.name for one in fields(TrainConfig) if not one.metadata["affects_output"]}
    assert unimportant | {"seed"} == NOT_COMPARED


def test_differences_are_paired_by_scene(runs):
    (difference,) = in_order(runs, *SMALL_FIRST).differences
    assert (difference.name, difference.other) == ("large (2 seeds)", "small (2 seeds)")
    psnr, error = difference.values["psnr"], difference.values["colour_error"]
    assert (psnr.mean, psnr.low, psnr.high) == pytest.approx((0.5, 0.5, 0.5))
    assert psnr.scenes == len(SCENES)
    assert error.mean == pytest.approx(-0.5)


def test_networks_are_compared_where_most_were_measured_and_least_was_seen(tmp_path):
    level = [evaluation(SCENES, split=split) for split in ("val", "test")]
    first = make_run(tmp_path / "1", {}, evaluations=level)
    second = make_run(tmp_path / "2", {"batch": 2}, 1.0, evaluations=level)
    third = make_run(tmp_path / "3", {"batch": 3}, 2.0, evaluations=level[:1])
    assert Comparison.of([first, second]).patches == ("beef", "test")
    found = Comparison.of([first, second, third])
    assert found.patches == ("beef", "val")
    assert "The networks were chosen by it" in found.described()
    alone = make_run(tmp_path / "4", {"batch": 4}, 3.0, evaluations=[evaluation(SCENES, "cafe")])
    found = Comparison.of([first, second, alone])
    assert [run.name for run in found.not_measured] == ["4"]
    assert "Not measured there with their present network: 4" in found.described()
    file = third / "evaluations" / "model-beef-val.json"
    content = json.loads(file.read_text()) | {"model_hash": "0" * 64}
    write_json(file, content)
    assert Comparison.of([first, third]).not_measured[0].name == "3"


def test_differences_of_few_scenes_are_told_with_a_caution(tmp_path):
    few = "too few to tell how the networks compare on others"
    for scenes, told in ((SCENES, False), (dict(list(SCENES.items())[:2]), True)):
        folder = tmp_path / str(told)
        for number in (1, 2):
            patches = [evaluation(scenes)]
            make_run(folder / str(number), {"batch": number}, number, evaluations=patches)
        summary = compare([folder])
        assert (few in summary.as_text()) == told
        assert (few in summary.path.read_text()) == told


def test_runs_without_evaluations_are_compared_by_their_curves(tmp_path):
    for number in (1, 2):
        make_run(tmp_path / "runs" / str(number), {"batch": number}, evaluations=[])
    summary = compare([tmp_path / "runs"])
    assert "No run was measured" in summary.as_text()
    assert summary.to_dict()["differences"] == []
    assert "PSNR on validation patches" in summary.path.read_text()


def test_evaluations_of_earlier_versions_have_no_scenes_and_that_is_said(runs):
    for file in (runs / "small-seed-0").glob("evaluations/*.json"):
        content = json.loads(file.read_text())
        del content["splits"][0]["by_scene"]
        write_json(file, content)
    found = in_order(runs, "small-seed-0", "large-seed-0")
    assert found.differences == []
    assert "Without scores over scenes: small-seed-0" in found.described()
    assert found.baselines["untouched phone"]["means"]["psnr"].mean == 16


def test_the_page_the_tables_and_the_json(runs, capsys):
    assert execute(["report", str(runs), "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = (runs / "report" / "index.html").read_text()
    assert found["report"] == str(runs / "report" / "index.html")
    assert found["patches"] == ["beef", "test"]
    with (runs / "report" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["entry"] for row in rows] == [
        "large (2 seeds)", "small (2 seeds)", "untouched phone"
    ]  # fmt: skip
    base = np.mean(list(SCENES.values()))
    assert [row["batch"] for row in rows] == ["8", "4", ""]
    assert float(rows[0]["psnr"]) == pytest.approx(base + 0.6)
    assert float(rows[0]["psnr_over_scenes"]) == pytest.approx(base + 0.6)
    assert float(rows[0]["psnr_over_scenes_low"]) < base < float(rows[0]["psnr_over_scenes_high"])
    assert found["scores"][0]["psnr"] == float(rows[0]["psnr"])
    assert float(rows[2]["psnr_over_scenes"]) == 16
    with (runs / "report" / "differences.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["entry"], row["less"]) == ("small (2 seeds)", "large (2 seeds)")
    assert float(row["psnr"]) == pytest.approx(-0.5)
    tex = (runs / "report" / "scores.tex").read_text()
    assert r"\toprule" in tex and tex.count(r"\textbf") == 6
    best = f"{base + 0.6:.2f} ± 0.14"
    assert f"<b>{best}</b>" in page
    assert r"\textbf{" + best.replace("±", r"$\pm$") + "}" in tex
    assert "<b>-0.50" not in page
    assert "-0.50 [-0.50, -0.50]" in page


def test_the_same_patches_of_all_runs_stand_side_by_side(runs, tmp_path):
    odd = make_run(runs / "odd", {"batch": 2}, sample=5)
    page = compare([runs]).path.read_text()
    first = re.findall(r"<button.*?</button>", page)[0]
    names = re.findall(r"<figcaption>(.*?)</figcaption>", first)
    assert names == ["phone", *sorted(SMALL_FIRST), "DSLR"]
    assert f"Runs without samples of the same patches are left out: {odd.name}." in page


def test_many_settings_have_a_table_of_their_own(tmp_path):
    many = {"batch": 9, "steps": 9, "ema": 0.9, "clip": 1.0, "precision": "bfloat16"}
    make_run(tmp_path / "1", {})
    make_run(tmp_path / "2", many, 1.0)
    summary = compare([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
    rows = summary.to_dict()["settings"]
    assert {row["setting"] for row in rows} == set(many)
    assert {"setting": "batch", "1": "4", "2": "9"} in rows
    assert "batch" not in summary.to_dict()["scores"][0]
    assert (tmp_path / "out" / "report" / "settings.tex").is_file()


@pytest.mark.skipif(not figures.can_draw(), reason="matplotlib is not installed")
def test_figures_are_written_in_three_formats_and_always_the_same(runs):
    compare([runs])
    files = [runs / "report" / f"{name}{suffix}"
             for name in ("curves", "differences") for suffix in figures.SUFFIXES]  # fmt: skip
    heads = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    contents = {}
    for file in files:
        contents[file] = file.read_bytes()
        assert contents[file].startswith(heads[file.suffix])
    assert "large (2 seeds)" in contents[files[0]].decode() or "<use" in contents[files[0]].decode()
    compare([runs])
    assert {file: file.read_bytes() for file in files} == contents


def test_without_matplotlib_the_command_that_installs_it_is_named(runs, monkeypatch, caplog):
    find = importlib.util.find_spec
    absent = lambda name: None if name == "matplotlib" else find(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    summary = compare([runs])
    assert "pip install 'dpedkit[figures]'" in caplog.text
    assert {file.suffix for file in summary.files} == {".csv", ".tex"}


def test_names_mean_nothing_to_latex():
    assert latex(r"50%_a&b\x{y}~^#$") == (
        r"50\%\_a\&b\textbackslash{}x\{y\}\textasciitilde{}\textasciicircum{}\#\$"
    )
    assert latex("-0.50 [-0.70, +0.10]") == "$-$0.50 [$-$0.70, +0.10]"
    assert latex("small-2 0.1-0.2") == "small-2 0.1-0.2"
    table = Table(
        ("", "x"), [("a", "1"), ("b", "2")], ("n", "x"), [("a", 1), ("b", None)], {(1, 1)}
    )
    assert table.latex().splitlines()[1:] == [
        *(r"\begin{tabular}{lr}", r"\toprule", r" & x \\", r"\midrule"),
        *(r"a & 1 \\", r"b & \textbf{2} \\", r"\bottomrule", r"\end{tabular}"),
    ]
    assert table.csv() == "n,x\na,1\nb,\n"


def test_what_is_refused(runs, tmp_path, capsys):
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([runs / "small-seed-0", runs / "small-seed-0"])
    shards = write_shards(tmp_path / "shards", {"train": make_patches(2, 20, 0)})
    with pytest.raises(DpedkitError, match="not the folder of a run"):
        compare([runs / "small-seed-0", shards])
    for words in (["--losses"], ["--photos", "x"]):
        assert execute(["report", str(runs), *words]) == 2
    assert execute(["report", str(shards), "-o", "x"]) == 2
    assert "-o can only be used" in capsys.readouterr().err


def test_the_report_of_shards_still_does_not_load_torch(tmp_path):
    shards = write_shards(tmp_path / "shards", {"train": make_patches(2, 20, 0)})
    code = (
        "import sys; from pathlib import Path; from dpedkit import report;"
        "assert not report.holds_runs(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, shards], check=False).returncode == 0
