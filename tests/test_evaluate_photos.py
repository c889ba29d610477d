"""Networks judged on whole photos: which ones, which pixels, and what is made of the result."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import tomli_w
import torch
from fake_shards import make_patches, write_shards

from dpedkit import stages
from dpedkit.cli import execute
from dpedkit.colourmap import ColourMap, fit_colour_map
from dpedkit.core.atomic import write_json
from dpedkit.core.details import DETAILS, PairDetails, details_file
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.core.methods import NETWORK, ORACLE, PHONE, POLYNOMIAL
from dpedkit.core.records import ACCEPTED, ALIGNED_FORMAT, PairRecord, SourcePhoto
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.evaluation.config import EvaluateConfig, PhotoEvaluateConfig
from dpedkit.evaluation.perceptual import squares_to_compare
from dpedkit.images import read_photo, write_photo
from dpedkit.models import build_generator, save_model
from dpedkit.models import files as model_files
from dpedkit.photometrics import score_photo
from dpedkit.report import write_report
from dpedkit.shards.index import fingerprint
from dpedkit.shards.provenance import photo_id
from dpedkit.surfaces import NOT_FOUND, Surfaces

WIDTH, HEIGHT = 320, 260  # of the phone photos
CROP = (12, 20, 300, 230)
COUNT = 7
CELL = 20.0
MISSING = np.s_[:, 8:]  # cells, those from x = 160 px of the phone photo on
QUICK = PhotoEvaluateConfig(perceptual=False, device="cpu")


def scene(number):
    """A phone photo of smooth blobs, and the DSLR's, darker the higher the number."""
    rng = np.random.default_rng(number)
    phone = cv2.resize(rng.random((14, 17, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    phone = np.clip(0.15 + 0.6 * phone + 0.01 * rng.standard_normal(phone.shape), 0, 1)
    dslr = phone * (1.1 - 0.08 * number) * [1.0, 0.95, 0.9]
    return [np.clip(255 * x, 0, 255).astype(np.uint8) for x in (phone, dslr)]


def cropped(photo):
    x, y, width, height = CROP
    return np.ascontiguousarray(photo[y : y + height, x : x + width])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with `aligned` and its originals; of 0002, the right half was not found."""
    here = tmp_path_factory.mktemp("photos")
    records = []
    for number in range(COUNT):
        name = f"{number:04d}"
        phone, dslr = scene(number)
        sources = []
        for side, photo in (("phone", phone), ("dslr", dslr)):
            original = here / "raw" / side / f"{name}.png"
            original.parent.mkdir(parents=True, exist_ok=True)
            write_photo(original, photo)
            (here / "aligned" / side).mkdir(parents=True, exist_ok=True)
            write_photo(here / "aligned" / side / f"{name}.png", cropped(photo))
            state = original.stat()
            sources.append(
                SourcePhoto(str(original), state.st_size, state.st_mtime_ns, WIDTH, HEIGHT)
            )
        labels = np.ones((13, 16), np.uint8)
        if number == 2:
            labels[MISSING] = NOT_FOUND
        surfaces = Surfaces.of(CELL, labels, np.zeros((*labels.shape, 2)))
        (here / "aligned" / DETAILS).mkdir(exist_ok=True)
        written = PairDetails(map={"surfaces": surfaces.to_dict()}).write(
            details_file(here / "aligned", name)
        )
        records.append(
            PairRecord(number, name, ACCEPTED, "", *sources, CROP, files={DETAILS: written})
        )
    write_jsonl(here / "aligned" / "pairs.jsonl", [record.to_dict() for record in records])
    write_json(
        here / "aligned" / "dataset.json",
        {
            "format": ALIGNED_FORMAT,
            "kind": "aligned",
            "config": {"image_format": "png"},
            "complete": True,
        },
    )
    return here


def lively(generator):
    """With weights that change every photo, and see its thumbnail if the network does."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in generator.parameters():
            weight += 0.03 * torch.randn_like(weight)
    return generator


@pytest.fixture
def run(photos, tmp_path):
    """A run that was trained on 0000 to 0002, chosen by 0003, and has never seen 0004 and 0005."""
    patches = make_patches(COUNT - 1, 20, 0)
    splits = {"train": range(3), "val": [3], "test": [4, 5]}
    shards = write_shards(
        tmp_path / "shards",
        {
            split: tuple(np.array(part)[list(own)] for part in patches)
            for split, own in splits.items()
        },
    )
    lines = []
    for number in range(COUNT - 1):
        (split,) = [split for split, own in splits.items() if number in own]
        dslr = photos / "raw" / "dslr" / f"{number:04d}.png"
        lines.append(
            {
                "name": f"{number:04d}",
                "split": split,
                "phone": f"phone/{number:04d}.png",
                "dslr": f"dslr/{number:04d}.png",
                "dslr_id": photo_id(dslr),
            }
        )
    write_jsonl(shards / "pairs.jsonl", lines)
    colours = ColourMap.identity()
    colours.coefficients[0] += 0.05
    return make_run(tmp_path / "runs" / "001", shards, colours)


def make_run(folder, shards, colours=None, generator="colour-residual"):
    folder.mkdir(parents=True)
    model = lively(build_generator(generator, channels=4, blocks=1))
    training = {"shards": [fingerprint(shards)], "step": 1, "psnr": 20.0, "ms_ssim": 0.9}
    card = {"training": training}
    if colours is not None:
        card["colour_polynomial"] = colours.to_dict()
    save_model(folder / "model.safetensors", model, card)
    (folder / "log.jsonl").write_text("")
    record = {
        "tool_version": "0.1.0",
        "train": {"generator": generator, "steps": 1, "batch": 1},
        "data": {"shards": str(shards), "fingerprint": fingerprint(shards)},
        "content": {"loss": "msssim-l1"},
    }
    (folder / "config.toml").write_text(tomli_w.dumps(record))
    return folder


def counted(number):
    counts = np.ones((CROP[3], CROP[2]), bool)
    if number == 2:
        counts[:, 160 - CROP[0] :] = False
    return counts


@pytest.mark.parametrize("generator", ["colour-residual", "photo-aware"])
def test_the_scores_are_those_of_what_enhance_writes(photos, run, tmp_path, generator):
    run = make_run(tmp_path / "runs" / "other", run.parents[1] / "shards", generator=generator)
    stages.enhance(
        run, photos / "raw" / "phone", tmp_path / "enhanced", EnhanceConfig(device="cpu")
    )
    config = PhotoEvaluateConfig(scenes="all", perceptual=False, device="cpu")
    found = stages.evaluate_photos(run, photos / "aligned", config).by_scene.scenes
    assert [one.scene for one in found] == [f"{number:04d}" for number in range(COUNT)]
    for number, one in enumerate(found):
        enhanced = cropped(read_photo(tmp_path / "enhanced" / f"{number:04d}.png"))
        phone, dslr = map(cropped, scene(number))
        counts = counted(number)
        assert one.scores[NETWORK] == vars(score_photo(enhanced, dslr, counts))
        assert one.scores[PHONE] == vars(score_photo(phone, dslr, counts))
        own = fit_colour_map([(phone[counts], dslr[counts])]).apply(phone).clip(0, 1)
        mapped = (own * 255).round().astype(np.uint8)
        assert one.scores[ORACLE] == vars(score_photo(mapped, dslr, counts))
        assert one.scores[NETWORK]["psnr"] != one.scores[PHONE]["psnr"]


def test_photos_of_the_training_are_left_out_unless_asked_for(photos, run):
    found = stages.evaluate_photos(run, photos / "aligned", QUICK)
    splits = {name: facts.split for name, facts in found.photos.items()}
    assert splits == {"0003": "val", "0004": "test", "0005": "test", "0006": None}
    assert found.trained_on == 3
    words = found.verdict()
    assert "4 whole photos that it was not trained on (1 of them in the val split" in words
    assert "That is 4 scenes, too few" in words

    def splits_by(**settings):
        config = PhotoEvaluateConfig(perceptual=False, device="cpu", **settings)
        found = stages.evaluate_photos(run, photos / "aligned", config)
        return [facts.split for facts in found.photos.values()], found.verdict()

    assert splits_by(split="test")[0] == ["test", "test"]
    assert "that training never saw" in splits_by(split="test")[1]
    splits, words = splits_by(scenes="all")
    assert splits.count("train") == 3 and len(splits) == COUNT
    assert "It was trained on 3 of them, so that says little" in words
    assert splits_by(split="train")[0] == ["train"] * 3


def test_photos_that_moved_since_do_not_pass_as_new(photos, run):
    file = run.parents[1] / "shards" / "pairs.jsonl"
    lines = [json.loads(line) | {"dslr_id": "0" * 16} for line in file.read_text().splitlines()]
    write_jsonl(file, lines)
    found = stages.evaluate_photos(run, photos / "aligned", QUICK)
    assert list(found.photos) == ["0003", "0004", "0005", "0006"]


def test_where_the_training_is_not_known_all_are_measured_and_that_is_said(photos, run, caplog):
    model = run.parent / "alone.safetensors"
    model.write_bytes((run / "model.safetensors").read_bytes())
    found = stages.evaluate_photos(model, photos / "aligned", QUICK)
    assert len(found.photos) == COUNT and found.trained_on is None
    assert "not known on which photos" in caplog.text
    assert "it is not known whether training saw these scenes" in found.verdict()
    with pytest.raises(DpedkitError, match="leave --split out"):
        config = PhotoEvaluateConfig(split="test", perceptual=False)
        stages.evaluate_photos(model, photos / "aligned", config)
    assert POLYNOMIAL in found.by_scene.means


def test_a_pair_whose_original_is_gone_is_left_out_with_the_reason(photos, run, tmp_path):
    moved = photos / "raw" / "phone" / "0004.png"
    moved.rename(tmp_path / "moved.png")
    try:
        found = stages.evaluate_photos(run, photos / "aligned", QUICK)
        assert list(found.photos) == ["0003", "0005", "0006"]
        assert "missing or has changed" in found.left_out["0004"]
        assert "1 pair could not be measured (0004)" in found.as_text()
    finally:
        (tmp_path / "moved.png").rename(moved)


def test_the_command_prints_and_the_page_of_the_run_shows(photos, run, capsys):
    command = ["evaluate", str(run), "--photos", str(photos / "aligned"), "--no-perceptual"]
    assert execute([*command, "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained_on"] == 3
    assert found["photos"]["0004"] == {"split": "test", "counted": 1.0, "width": 300, "height": 230}
    assert set(found["by_scene"]["means"]["network"]) == {"psnr", "ssim", "ms_ssim", "ciede2000"}
    assert execute([*command, "-q"]) == 0
    assert "mean of 4 scenes" in capsys.readouterr().out
    page = write_report(run).path.read_text()
    assert found["verdict"] in page
    section = page[page.index("Whole photos") :]
    rows = re.findall(r'data-words="(\w+): [^"]*"', section)
    psnr = {one["scene"]: one["scores"]["network"]["psnr"] for one in found["by_scene"]["scenes"]}
    order = sorted(psnr, key=psnr.get)
    assert rows == [*order[:2], *order[:1:-1]]
    names = re.findall(r"<figcaption>(.*?)</figcaption>", section)[:5]
    assert names[:4] == ["untouched phone", "colour polynomial", "network", "DSLR itself"]
    kept = run / "evaluations"
    assert len(list(kept.glob("photos-*.json"))) == 1
    assert len(list(kept.glob("photos-*.jpg"))) == 4 * 5


def test_evaluations_are_told_apart_by_what_they_hold_and_named(photos, run):
    shards = run.parents[1] / "shards"
    for name in ("photos-mine", "last"):
        (run / f"{name}.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    stages.evaluate(run / "photos-mine.safetensors", shards, EvaluateConfig(device="cpu"))
    for network in ("model", "last"):
        stages.evaluate_photos(run / f"{network}.safetensors", photos / "aligned", QUICK)
    assert len(list((run / "evaluations").glob("photos-*.json"))) == 3
    on_patches, on_photos = write_report(run).path.read_text().split("<h2>Whole photos</h2>")
    assert re.findall(r"<h3>(\S+ on .*?)</h3>", on_patches) == [
        f"photos-mine.safetensors on {shards}"
    ]
    assert re.findall(r"<h3>(\S+ on .*?)</h3>", on_photos) == [
        f"{network}.safetensors on {photos / 'aligned'}" for network in ("last", "model")
    ]
    # The card of the network has the scores on patches alone.
    assert execute(["card", str(run), "-q"]) == 0
    assert "test split (2 patch pairs)" in (run / "README.md").read_text()


def test_photos_that_were_aligned_anew_are_said_to_be_others(photos, run, tmp_path):
    aligned = tmp_path / "aligned"
    shutil.copytree(photos / "aligned", aligned)
    stages.evaluate_photos(run, aligned, QUICK)
    warning = "The photos have been aligned anew since."
    assert warning not in write_report(run).path.read_text()
    records = read_jsonl(aligned / "pairs.jsonl")
    records[-1]["crop"][0] += 1
    write_jsonl(aligned / "pairs.jsonl", records)
    assert warning in write_report(run).path.read_text()
    shutil.rmtree(aligned)  # what it would show now is not known
    assert warning not in write_report(run).path.read_text()


def test_the_network_is_loaded_once(photos, run, monkeypatch):
    read, loaded = model_files._load_file, []
    monkeypatch.setattr(model_files, "_load_file", lambda path: loaded.append(path) or read(path))
    stages.evaluate_photos(run, photos / "aligned", QUICK)
    assert loaded == [run / "model.safetensors"]


def test_what_is_refused(photos, run, tmp_path, capsys):
    assert execute(["evaluate", str(run)]) == 2
    assert "either the folder of the shards, or --photos" in capsys.readouterr().err
    both = ["evaluate", str(run), "shards", "--photos", "aligned"]
    assert execute(both) == 2
    capsys.readouterr()
    for given, option in (
        (["shards", "--scenes", "all"], "--scenes changes nothing without --photos"),
        (["shards", "--no-perceptual"], "--no-perceptual changes nothing without --photos"),
        (["--photos", "aligned", "--train-patches", "9"], "--train-patches changes nothing with"),
    ):
        assert execute(["evaluate", str(run), *given]) == 2
        assert option in capsys.readouterr().err
    with pytest.raises(DpedkitError, match="does not exist"):
        stages.evaluate_photos(run, tmp_path / "none", QUICK)
    lines = (run.parents[1] / "shards" / "pairs.jsonl").read_text().splitlines()
    seen = [json.loads(line) | {"split": "train"} for line in lines]
    seen.append(seen[-1] | {"dslr": "dslr/0006.png", "phone": "phone/0006.png", "dslr_id": "0"})
    write_jsonl(run.parents[1] / "shards" / "pairs.jsonl", seen)
    with pytest.raises(DpedkitError, match="trained on 7 of 7 pairs"):
        stages.evaluate_photos(run, photos / "aligned", QUICK)


def test_squares_for_the_perceptual_distance_count_and_do_not_overlap():
    counts = np.ones((500, 960), bool)
    counts[:230, :300] = False
    squares = squares_to_compare(counts)
    assert len(squares) == 4
    for x, y in squares:
        assert counts[y : y + 224, x : x + 224].mean() >= 0.95
    assert all(
        abs(a[0] - b[0]) >= 224 or abs(a[1] - b[1]) >= 224
        for n, a in enumerate(squares)
        for b in squares[:n]
    )
    assert squares_to_compare(counts[:200]) == []
    assert squares_to_compare(np.zeros_like(counts)) == []
