"""`align_folders`: bad input, resuming, any number of workers, the records it leaves."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_align_pair import SCENE, photograph, true_map

from dpedkit.align.config import AlignFoldersConfig
from dpedkit.align.folder import align_folders
from dpedkit.align.ledger import PAIRS
from dpedkit.align.tones import TONES
from dpedkit.core import workfolder
from dpedkit.core.details import SAMPLES, PairDetails
from dpedkit.core.errors import DpedkitError, OutputExistsError, TooManyRejectedError
from dpedkit.core.manifest import read_json, read_jsonl
from dpedkit.core.records import PairRecord, SourcePhoto, rejected_by_reason
from dpedkit.geometry import PairMap
from dpedkit.images import read_photo

FAST = AlignFoldersConfig(field="off")


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="session")
def scene_photos():
    """Three good pairs: the same scene, seen from three places."""
    pairs = []
    for number in range(3):
        corner = 60 * number
        truth = true_map(0.005 * number)
        dslr = np.ascontiguousarray(SCENE[:, corner : corner + 820])
        pairs.append((photograph(SCENE, truth, seed=number), dslr))
    return pairs


@pytest.fixture
def raw(tmp_path, scene_photos):
    for number, (phone, dslr) in enumerate(scene_photos):
        save(tmp_path / "phone" / f"{number}.png", phone)
        save(tmp_path / "dslr" / f"{number}.jpg", dslr, quality=95)
    return tmp_path


def run(raw, config=FAST, output="aligned", **options):
    options.setdefault("jobs", 1)
    return align_folders(raw / "phone", raw / "dslr", raw / output, config, **options)


def contents(folder):
    """Every file's bytes; the records without the seconds that their making took."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != PAIRS
    }
    records = read_jsonl(folder / PAIRS)
    for record in records:
        del record["seconds"]
    return found, records


def test_leaves_images_of_one_size_and_a_record_a_pair(raw):
    summary = run(raw)
    assert (summary.pairs, summary.accepted, summary.rejected) == (3, 3, 0)
    records = [PairRecord.from_dict(r, raw) for r in read_jsonl(raw / "aligned" / PAIRS)]
    assert [record.name for record in records] == ["0", "1", "2"]
    for record in records:
        phone = read_photo(raw / "aligned" / "phone" / f"{record.name}.png")
        dslr = read_photo(raw / "aligned" / "dslr" / f"{record.name}.png")
        x, y, width, height = record.crop
        assert phone.shape == dslr.shape == (height, width, 3)
        original = read_photo(raw / "phone" / f"{record.name}.png")
        assert np.array_equal(phone, original[y : y + height, x : x + width])
        details = PairDetails.of(raw / "aligned", record)
        assert PairMap.from_dict(details.map).phone_size == (640, 480)
        assert len(details.inlier_matches) > 50 and len(details.residuals) > 50
        levels = np.linspace(0, 255, TONES)
        toned = [np.interp(dslr[..., n], levels, details.tones[n]) for n in range(3)]
        for one, other in zip(toned, np.moveaxis(phone, 2, 0), strict=True):
            assert np.allclose(*(np.quantile(x, (0.1, 0.5, 0.9)) for x in (one, other)), atol=8)
        assert "map" not in record.to_dict() and not record.evidence.keys() & set(SAMPLES)
        assert (record.phone.width, record.dslr.width) == (640, 820)
        for key in ("matches", "inliers", "verified", "coverage", "residual_median", "ncc"):
            assert record.evidence[key] > 0
    description = read_json(raw / "aligned" / "dataset.json")
    assert description["complete"] and description["counts"]["accepted"] == 3
    assert not (raw / "aligned" / "journal.jsonl").exists()


def test_leaves_a_thumbnail_of_every_pair_that_could_be_read(raw):
    (raw / "dslr" / "1.jpg").write_bytes(b"")
    run(raw, decide(raw, "2,rejected"))
    run(raw, decide(raw))
    thumbnails = sorted((raw / "aligned" / "report" / "thumbnails").iterdir())
    assert [path.name for path in thumbnails] == ["0.jpg", "2.jpg"]
    phone = read_photo(raw / "phone" / "0.png")
    both = read_photo(thumbnails[0]).astype(float)
    assert both.shape == (120, 160 + 2 + round(820 * 120 / SCENE.shape[0]), 3)
    means = phone.reshape(120, 4, 160, 4, 3).mean(axis=(1, 3, 4))
    shown = both[:, :160].mean(axis=2)
    assert np.corrcoef(shown.ravel(), means.ravel())[0, 1] > 0.95
    run(raw, decide(raw, "2,rejected"))
    assert thumbnails[1].exists()


def test_bad_photos_reject_their_pair_and_the_rest_goes_on(raw, scene_photos):
    phone, dslr = scene_photos[0]
    whole = (raw / "dslr" / "0.jpg").read_bytes()
    bad = {
        "cut": ("cut short", whole[: len(whole) // 2]),
        "empty": ("empty", b""),
        "text": ("not a photo", b"dear diary"),
    }
    for name, (_, content) in bad.items():
        save(raw / "phone" / f"{name}.png", phone)
        (raw / "dslr" / f"{name}.jpg").write_bytes(content)
    save(raw / "phone" / "tiny.png", np.zeros((1, 1, 3), np.uint8))
    save(raw / "dslr" / "tiny.jpg", dslr)
    save(raw / "phone" / "other.png", np.ascontiguousarray(255 - phone))
    save(raw / "dslr" / "other.jpg", dslr)
    summary = run(raw, AlignFoldersConfig(field="off", max_rejected=0.9))
    assert (summary.accepted, summary.rejected) == (3, 5)
    reasons = {r["name"]: r["reason"] for r in read_jsonl(raw / "aligned" / PAIRS)}
    for name, (words, _) in bad.items():
        assert words in reasons[name] and f"{name}.jpg" in reasons[name]
    assert "1 x 1 px" in reasons["tiny"] and "in common" in reasons["other"]
    assert sorted(path.stem for path in (raw / "aligned" / "phone").iterdir()) == ["0", "1", "2"]
    assert summary.as_text().startswith("3 of 8 pairs aligned")


def test_too_many_rejected_is_said_when_all_is_written(raw, scene_photos):
    (raw / "dslr" / "1.jpg").write_bytes(b"")
    with pytest.raises(TooManyRejectedError, match="1 of 3 pairs"):
        run(raw, AlignFoldersConfig(field="off", max_rejected=0.1))
    assert read_json(raw / "aligned" / "dataset.json")["complete"]
    assert len(read_jsonl(raw / "aligned" / PAIRS)) == 3


def test_any_number_of_workers_gives_the_same_bytes(raw):
    run(raw, AlignFoldersConfig(), output="one", jobs=1)
    run(raw, AlignFoldersConfig(), output="two", jobs=2)
    assert contents(raw / "one") == contents(raw / "two")


def test_a_second_run_does_nothing_and_a_changed_photo_is_done_again(raw, scene_photos):
    run(raw)
    before = contents(raw / "aligned")
    images = {path: path.stat().st_mtime_ns for path in (raw / "aligned").rglob("*.png")}
    assert run(raw).reused == 3
    assert contents(raw / "aligned") == before
    assert images == {path: path.stat().st_mtime_ns for path in images}
    save(raw / "phone" / "1.png", scene_photos[1][0][:400])
    assert run(raw).reused == 2
    assert read_photo(raw / "aligned" / "phone" / "1.png").shape[0] <= 400


def test_added_and_removed_pairs(raw, scene_photos):
    run(raw)
    (raw / "phone" / "0.png").unlink()
    save(raw / "phone" / "3.png", scene_photos[2][0])
    shutil.copy(raw / "dslr" / "2.jpg", raw / "dslr" / "3.jpg")
    summary = run(raw)
    assert (summary.pairs, summary.reused, summary.unpaired_dslr) == (3, 2, 1)
    records = read_jsonl(raw / "aligned" / PAIRS)
    assert [(r["index"], r["name"]) for r in records] == [(0, "1"), (1, "2"), (2, "3")]
    assert not (raw / "aligned" / "dslr" / "0.png").exists()


def test_other_settings_are_refused_until_overwrite(raw):
    run(raw)
    with pytest.raises(DpedkitError, match=r"min_verified: was 40, now 41.*--overwrite"):
        run(raw, AlignFoldersConfig(field="off", min_verified=41))
    assert run(raw, AlignFoldersConfig(field="off", min_verified=41), overwrite=True).reused == 0


def test_jpeg_and_tiff_output(raw):
    run(raw, AlignFoldersConfig(field="off", image_format="tiff"), output="tiff")
    run(raw, AlignFoldersConfig(field="off"), output="png")
    run(raw, AlignFoldersConfig(field="off", image_format="jpg"), output="jpg")
    png, tiff, jpg = (
        read_photo(raw / kind / "dslr" / f"1.{kind}") for kind in ("png", "tiff", "jpg")
    )
    assert np.array_equal(png, tiff)
    assert 0 < np.abs(png.astype(int) - jpg).mean() < 3


RUN = """
import sys
from pathlib import Path
from dpedkit.align.config import AlignFoldersConfig
from dpedkit.align.folder import align_folders
raw = Path(sys.argv[1])
align_folders(raw / "phone", raw / "dslr", raw / "killed", AlignFoldersConfig(field="off"), jobs=1)
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(raw):
    run(raw, output="whole")
    start = time.monotonic()
    delay = 0.3
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(raw)],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            delay *= 1.17
            continue
        break
    assert process.returncode == 0 and kills >= 3, f"{kills} kills in {time.monotonic() - start}"
    whole, killed = contents(raw / "whole"), contents(raw / "killed")
    assert whole == killed


def test_no_shared_name_lists_the_first_few_of_each(tmp_path):
    for number in range(5):
        save(tmp_path / "phone" / f"IMG_{number}.jpg", np.zeros((8, 8, 3), np.uint8))
        save(tmp_path / "dslr" / f"DSC_{number}.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DpedkitError, match=r"IMG_0\.jpg, IMG_1\.jpg.*5 in total.*DSC_0\.jpg"):
        align_folders(tmp_path / "phone", tmp_path / "dslr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pairs_from_a_list_take_the_name_of_the_dslr_photo(raw):
    for number in range(3):
        (raw / "phone" / f"{number}.png").rename(raw / "phone" / f"IMG_{number}.png")
    (raw / "pairs.csv").write_text("IMG_2.png,2.jpg\nIMG_0.png,0.jpg\n")
    config = AlignFoldersConfig(field="off", pair_by="csv", csv=str(raw / "pairs.csv"))
    summary = run(raw, config)
    assert (summary.accepted, summary.unpaired_phone, summary.unpaired_dslr) == (2, 1, 1)
    records = read_jsonl(raw / "aligned" / PAIRS)
    assert [(r["name"], Path(r["phone"]["file"]).name) for r in records] == [
        ("2", "IMG_2.png"),
        ("0", "IMG_0.png"),
    ]


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DpedkitError, match="there is no such folder"):
        align_folders(tmp_path / "nowhere", tmp_path / "empty", tmp_path / "out")
    save(tmp_path / "phone" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DpedkitError, match="holds no photos"):
        align_folders(tmp_path / "phone", tmp_path / "empty", tmp_path / "out")


CITY100 = Path(__file__).parents[2] / "shared" / "data" / "city100"


@pytest.mark.slow
@pytest.mark.skipif(not CITY100.is_dir(), reason=f"needs the City100 photos in {CITY100}")
@pytest.mark.parametrize("phone", ["iphone", "iphone_far"])
def test_all_of_city100_aligns(phone, tmp_path):
    summary = align_folders(CITY100 / phone, CITY100 / "nikon", tmp_path / "aligned")
    assert summary.accepted == 50


def test_without_images_it_finds_the_same_geometry_and_writes_no_image(raw):
    run(raw)
    summary = run(raw, dataclasses.replace(FAST, images=False), output="geometry")
    assert summary.accepted == 3
    with_images, without = (read_jsonl(raw / name / PAIRS) for name in ("aligned", "geometry"))
    for one, other in zip(with_images, without, strict=True):
        assert one["crop"] == other["crop"]
        assert one["files"]["details"] == other["files"]["details"]  # the map is in there
        assert one["files"]["thumbnails"] == other["files"]["thumbnails"]
    assert {path.parent.name for path in (raw / "geometry").rglob("*.png")} == {"thumbnails"}
    again = run(raw, dataclasses.replace(FAST, images=False), output="geometry")
    assert again.reused == 3


def decide(raw, *lines):
    (raw / "decisions.csv").write_text("name,decision,note\n" + "".join(f"{x}\n" for x in lines))
    return dataclasses.replace(FAST, decisions=str(raw / "decisions.csv"))


def names_of_images(folder):
    return sorted(path.stem for side in ("phone", "dslr") for path in (folder / side).iterdir())


def test_pairs_rejected_by_hand_are_left_out_and_come_back(raw):
    run(raw)
    before = contents(raw / "aligned")
    summary = run(raw, decide(raw, '1,rejected,"a tram, passing"'))
    assert (summary.accepted, summary.rejected) == (2, 1)
    assert summary.reasons == {"rejected by hand: a tram, passing": ["1"]}
    record = read_jsonl(raw / "aligned" / PAIRS)[1]
    assert (record["status"], record["reason"]) == ("rejected", "rejected by hand: a tram, passing")
    assert record["evidence"] == before[1][1]["evidence"]
    assert names_of_images(raw / "aligned") == ["0", "0", "2", "2"]
    assert run(raw, decide(raw)).reused == 2
    images, records = contents(raw / "aligned")
    assert images.pop("decisions.csv").decode() == "name,decision,note\n"
    assert (images, records) == before


def test_the_summary_says_which_pairs_to_check_and_why(raw):
    assert "please check" not in run(raw).as_text()
    dslr = read_photo(raw / "dslr" / "1.jpg")
    save(raw / "dslr" / "1.jpg", cv2.resize(dslr, None, fx=0.4, fy=0.4), quality=95)
    summary = run(raw)
    assert summary.warned == ["1"]
    words = "please check 1 pair with a warning (1); the first: the DSLR photo had to be enlarged "
    assert words in summary.as_text()
    assert summary.to_dict()["first_warning"] in read_jsonl(raw / "aligned" / PAIRS)[1]["warnings"]


def test_pairs_rejected_by_hand_are_not_aligned_at_all(raw):
    summary = run(raw, decide(raw, "0,rejected", "2;rejected;blurred"))
    assert (summary.accepted, summary.rejected, summary.reused) == (1, 2, 0)
    assert names_of_images(raw / "aligned") == ["1", "1"]
    assert read_jsonl(raw / "aligned" / PAIRS)[0]["evidence"] == {}
    assert run(raw).accepted == 1  # as decided, though the file is not given again
    assert run(raw, overwrite=True).accepted == 1
    assert run(raw, decide(raw)).accepted == 3
    run(raw, output="at once")
    (images, records), (expected_images, expected_records) = (
        contents(raw / name) for name in ("aligned", "at once")
    )
    for folder in (images, expected_images):
        del folder["dataset.json"]  # the settings of the first run stay recorded there
        folder.pop("decisions.csv", None)
    assert (images, records) == (expected_images, expected_records)


STRICT = {"min_verified": 100_000, "max_rejected": 1.0}  # rejects every pair, for its evidence


def test_a_pair_can_be_accepted_against_its_evidence(raw):
    run(raw)
    config = dataclasses.replace(decide(raw, '1,accepted,"looked (well)"'), **STRICT)
    summary = run(raw, config, output="strict")
    assert (summary.accepted, summary.accepted_by_hand, summary.warned) == (1, ["1"], [])
    assert "1 accepted by hand (1)" in summary.as_text()
    record = PairRecord.from_dict(read_jsonl(raw / "strict" / PAIRS)[1], raw)
    assert (record.status, record.reason) == ("accepted", "")
    assert record.warnings[0].startswith(
        "accepted by hand: looked (well) (would have been rejected: only "
    )
    assert record.accepted_by_hand and record.note == "looked (well)"
    assert names_of_images(raw / "strict") == ["1", "1"]
    for side in ("phone", "dslr"):
        # All keypoint matches are tried before a pair is rejected, so the map is another one.
        found, wanted = (
            read_photo(raw / folder / side / "1.png") for folder in ("strict", "aligned")
        )
        height, width = np.minimum(found.shape, wanted.shape)[:2]
        away = np.abs(found[:height, :width] - wanted[:height, :width].astype(float))
        assert away.mean() < 2, side
    without = dataclasses.replace(config, decisions=None)
    assert run(raw, without, output="strict").reused == 3  # still accepted
    changed = dataclasses.replace(decide(raw, "1,accepted"), **STRICT)
    assert run(raw, changed, output="strict").reused == 2
    record = PairRecord.from_dict(read_jsonl(raw / "strict" / PAIRS)[1], raw)
    assert record.warnings[0].startswith("accepted by hand (would") and record.note == ""
    with pytest.raises(TooManyRejectedError):
        run(raw, dataclasses.replace(decide(raw), **STRICT), output="strict")
    assert names_of_images(raw / "strict") == []


def test_a_pair_that_needs_no_decision_is_accepted_as_ever(raw):
    run(raw)
    before = contents(raw / "aligned")
    assert run(raw, decide(raw, "1,accepted,fine")).reused == 3
    images, records = contents(raw / "aligned")
    assert images.pop("decisions.csv").decode() == "name,decision,note\n1,accepted,fine\n"
    assert (images, records) == before


def test_a_pair_without_a_map_cannot_be_accepted(raw, caplog):
    save(raw / "phone" / "1.png", np.full((300, 400, 3), 90, np.uint8))
    expected = "the phone photo is blank"
    config = decide(raw, "1,accepted")
    for reused in (0, 3):
        caplog.clear()
        summary = run(raw, config)
        assert (summary.accepted, summary.reused) == (2, reused)
        cannot = f"{expected}; it cannot be accepted by hand, since no map was found"
        assert summary.reasons == {cannot: ["1"]}
        assert f"1 stays rejected: {cannot}." in caplog.text
    assert run(raw, decide(raw)).reasons == {expected: ["1"]}


def test_decisions_do_not_count_towards_the_limit_of_rejected_pairs(raw):
    config = decide(raw, "0,rejected", "1,rejected")
    assert run(raw, dataclasses.replace(config, max_rejected=0.1)).accepted == 1


def test_decisions_about_unknown_pairs_are_named(raw, caplog):
    assert run(raw, decide(raw, "7,rejected", "1,rejected", "8,rejected")).rejected == 1
    assert "decisions.csv names pairs that do not exist: 7, 8." in caplog.text


@pytest.mark.parametrize(
    ("line", "words"),
    [("1,maybe", "line 2: 'maybe' is not a decision"), ("1", "'' is not a decision")],
)
def test_a_line_that_is_no_decision_is_refused_before_anything_is_done(raw, line, words):
    with pytest.raises(DpedkitError, match=words):
        run(raw, decide(raw, line))
    assert not (raw / "aligned").exists()


def test_pairs_are_counted_by_reason_whatever_the_numbers():
    source = SourcePhoto("0.jpg", 1, 1)

    def record(index, reason):
        status = "rejected" if reason else "accepted"
        return PairRecord(index, str(index), status, reason, source, source)

    reasons = ["blank", "", "of 14 points 3.5 fit", "of 9 points 0 fit", "only 8 x 8 px"]
    records = [record(index, reason) for index, reason in enumerate(reasons)]
    records += [record(5, "only 8 x 8 px"), record(6, "of 1 points 2 fit")]
    assert rejected_by_reason(records) == [
        ("of 1 to 14 points 0 to 3.5 fit", ["2", "3", "6"]),
        ("only 8 x 8 px", ["4", "5"]),
        ("blank", ["0"]),
    ]


def cut_short(image):
    image.write_bytes(image.read_bytes()[:500])


def flip_a_bit(image):
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 4
    image.write_bytes(content)


def empty(image):
    image.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink, empty])
def test_damaged_images_are_made_again(raw, damage):
    run(raw)
    before = contents(raw / "aligned")
    damage(raw / "aligned" / "phone" / "1.png")
    assert run(raw).reused == 2
    assert contents(raw / "aligned") == before


def test_decisions_that_only_the_records_of_an_earlier_version_hold_are_kept(raw):
    run(raw, decide(raw, "1,rejected,a tram"))
    (raw / "aligned" / "decisions.csv").unlink()
    assert run(raw).reasons == {"rejected by hand: a tram": ["1"]}
    assert "1,rejected,a tram" in (raw / "aligned" / "decisions.csv").read_text()


def test_a_folder_is_one_however_it_is_spelt(raw, monkeypatch):
    run(raw)
    (raw / "elsewhere").mkdir()
    (raw / "link").symlink_to(raw / "dslr")
    monkeypatch.chdir(raw / "elsewhere")
    phones = Path("..") / "phone"
    again = align_folders(phones, Path("..") / "link", raw / "aligned", FAST, jobs=1)
    assert again.reused == 3


def test_a_pair_whose_process_died_is_rejected_and_tried_again(raw, monkeypatch):
    from dpedkit.align import folder

    def dying(function, items, jobs, *, lost):
        for item in items:
            yield lost(item, "its process died (SIGSEGV)") if item.name == "1" else function(item)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "ordered_map", dying)
        summary = run(raw, dataclasses.replace(FAST, max_rejected=0.5))
    assert summary.reasons == {"not aligned: its process died (SIGSEGV)": ["1"]}
    again = run(raw)
    assert (again.accepted, again.reused) == (3, 2)


def test_a_folder_is_not_complete_while_images_of_pairs_that_are_gone_are_removed(raw, monkeypatch):
    run(raw)
    (raw / "phone" / "2.png").unlink()
    states = []
    remove = Path.unlink

    def watched(path, *arguments, **settings):
        if path.stem == "2":
            states.append(read_json(raw / "aligned" / "dataset.json")["complete"])
        remove(path, *arguments, **settings)

    monkeypatch.setattr(Path, "unlink", watched)
    assert run(raw).pairs == 2
    assert states == [False] * 5  # both images, the details and both thumbnails
    assert read_json(raw / "aligned" / "dataset.json")["complete"]
    run(raw)
    assert len(states) == 5


def test_another_version_adds_nothing_to_a_complete_folder(raw, monkeypatch):
    run(raw)
    monkeypatch.setattr(workfolder, "__version__", "9.8.7")
    before = contents(raw / "aligned")
    assert run(raw).reused == 3
    assert contents(raw / "aligned") == before
    shutil.copy(raw / "phone" / "2.png", raw / "phone" / "3.png")
    shutil.copy(raw / "dslr" / "2.jpg", raw / "dslr" / "3.jpg")
    with pytest.raises(OutputExistsError, match=r"this is dpedkit 9\.8\.7"):
        run(raw)
    assert contents(raw / "aligned") == before
